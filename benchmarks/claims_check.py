"""Two of the paper's claims on small models: what is the same up to gauge, and how weights are aligned at the start.

    PYTHONPATH=src python benchmarks/claims_check.py          both parts, in a minute or two; writes its record

    --parts gauge alignment     --out FILE
    --smoke       smaller models, nothing written

  gauge       Standard beside NTK and muP beside mean-field, with their multipliers in the forward pass, the same draw
              and the same tokens, at a width whose ratio to the base width, 6, has no exact root: a hundred steps of
              Adam-atan2, and of Adam with the paper's epsilon of 1e-9, in float64. How far their losses come apart,
              relative, over two seeds. Per-layer rates of full alignment, relative to the base width.
  alignment   ln( ||W z|| / (||W|| ||z||) ) of every matrix at initialization, standard parameterization, two seeds.

`widthwise study claims STORE --evidence FILE` judges the record's cases.
"""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _record import RESULTS, Row, attempted, machine, make_record, row, versions, write_json
from torch import Tensor
from torch.nn import functional as F

from widthwise.models import PLAIN, Transformer, Weights
from widthwise.optim import AdamAtan2Update, AdamUpdate, MemberUpdate
from widthwise.scaling import (
    TRANSFORMER_ROLES,
    Anchor,
    Gauge,
    TensorNumbers,
    assign_roles,
    make_reference_plan,
    resolve,
)
from widthwise.theory import ADAM, FULL_RATES, PARAMETERIZATIONS, STANDARD, Parameterization

RESULT = RESULTS / "claims_check.json"
PAIRS = (("standard", "ntk"), ("mup", "mean-field"))
SEEDS = (0, 1)
EPSILON = 1e-9
ADAM_UPDATE = AdamUpdate(beta1=0.9, beta2=0.98)
ATAN2_UPDATE = AdamAtan2Update(beta1=0.9, beta2=0.98, a=1.0, b=1.0)
UPDATES: Mapping[str, tuple[MemberUpdate, float]] = {
    "adam-atan2": (ATAN2_UPDATE, 0.0),
    "adam": (ADAM_UPDATE, EPSILON),
}
Cases = list[dict[str, Any]]


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    base_width: int = 16
    width: int = 96
    head_dim: int = 8
    depth: int = 2
    vocabulary: int = 64
    context: int = 32
    sequences: int = 8
    steps: int = 100
    rate: float = 3e-3
    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: int = 8

    def model(self, width: int, depth: int) -> Transformer:
        """The reference Transformer."""
        return Transformer(
            width=width,
            depth=depth,
            head_dim=self.head_dim,
            vocabulary=self.vocabulary,
            context=self.context,
        )


SMALL = Sizes(depth=1, context=8, sequences=2, steps=4, widths=(16, 32, 64), blocks=1)


def tokens(sizes: Sizes, seed: int, step: int) -> Tensor:
    """Sequences [1, B, T + 1] in which every token is the last one plus one of two numbers: something to learn."""
    generator = torch.Generator().manual_seed(1000 * seed + step)
    shape = (1, sizes.sequences, sizes.context + 1)
    jumps = 1 + 4 * torch.randint(2, shape, generator=generator)
    first = torch.randint(sizes.vocabulary, (*shape[:2], 1), generator=generator)
    return (first + jumps.cumsum(-1)) % sizes.vocabulary


def numbers_of(
    sizes: Sizes, model: Transformer, parameterization: Parameterization, epsilon: float
) -> Mapping[str, TensorNumbers]:
    """Every tensor's numbers, with the multipliers in the forward pass."""
    plan = make_reference_plan(
        assign_roles(model.tensors(), TRANSFORMER_ROLES),
        width=model.width,
        base_width=sizes.base_width,
        parameterization=parameterization,
        optimizer=ADAM,
        prescription=FULL_RATES,
        anchor=Anchor.RELATIVE,
        gauge=Gauge.EXPLICIT,
    )
    return resolve(plan, learning_rate=sizes.rate, epsilon=epsilon)


def start(model: Transformer, numbers: Mapping[str, TensorNumbers], seed: int) -> dict[str, Tensor]:
    """The weights of one member at initialization, [1, ...], float64: every tensor's own draw times its init."""
    found: dict[str, Tensor] = {}
    for place, (name, tensor) in enumerate(model.tensors().items()):
        generator = torch.Generator().manual_seed(1000 * seed + place)
        draw = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        found[name] = (draw if tensor.drawn else torch.ones_like(draw))[None] * numbers[name].init
    return found


def losses(sizes: Sizes, parameterization: Parameterization, optimizer: str, seed: int) -> list[float]:
    """The training losses of a run, in float64 from end to end."""
    update, epsilon = UPDATES[optimizer]
    model = sizes.model(sizes.width, sizes.depth)
    numbers = numbers_of(sizes, model, parameterization, epsilon)
    weights = start(model, numbers, seed)
    state = {name: update.initial_state(w) for name, w in weights.items()}

    def each(field: str) -> dict[str, Tensor]:
        return {name: torch.tensor([getattr(n, field)], dtype=torch.float64) for name, n in numbers.items()}

    multipliers, rates, epsilons = each("multiplier"), each("rate"), each("epsilon")
    found: list[float] = []
    for step in range(1, sizes.steps + 1):
        batch_1xBxT1 = tokens(sizes, seed, step)
        leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
        logits = model.forward(Weights(leaves, multipliers, torch.float64, PLAIN), batch_1xBxT1[..., :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), batch_1xBxT1[..., 1:].flatten())
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        found.append(float(loss.detach()))
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
            weights[name], state[name] = update.step(
                leaf.detach(), gradient, state[name], step=step, rate=rates[name], epsilon=epsilons[name]
            )
    return found


def apart(first: Sequence[float], second: Sequence[float]) -> float:
    """The largest relative difference of two runs' losses.

    Example:
        >>> apart([2.0, 1.0], [2.0, 1.5])
        0.5
    """
    return max(abs(a - b) / abs(a) for a, b in zip(first, second, strict=True))


def gauge(sizes: Sizes, cases: Cases) -> Iterator[Row]:
    """How far the runs of each pair come apart."""
    for pair in PAIRS:
        for optimizer, (_, epsilon) in UPDATES.items():
            for seed in SEEDS:
                runs = [losses(sizes, PARAMETERIZATIONS[name], optimizer, seed) for name in pair]
                case = {
                    "part": "gauge",
                    "pair": list(pair),
                    "optimizer": optimizer,
                    "epsilon": epsilon,
                    "seed": seed,
                    "steps": sizes.steps,
                    "relative difference": apart(*runs),
                    "losses": [runs[0][0], runs[0][-1]],
                }
                cases.append(case)
                name = f"{pair[0]} and {pair[1]}, {optimizer}, seed {seed}: losses come apart"
                yield row(name, case["relative difference"], "relative", baseline="rounding, 1.1e-16")


def alignment(sizes: Sizes, cases: Cases) -> Iterator[Row]:
    """The log gain of every matrix at initialization."""
    for width in sizes.widths:
        model = sizes.model(width, sizes.blocks)
        roles = assign_roles(model.tensors(), TRANSFORMER_ROLES)
        for seed in SEEDS:
            numbers = numbers_of(sizes, model, STANDARD, 0.0)
            layers: list[dict[str, Any]] = []

            def seen(
                name: str, x: Tensor, w: Tensor, y: Tensor, layers: Any = layers, roles: Any = roles
            ) -> None:
                gain = math.log(rms(y) / (rms(w) * rms(x)))
                layers.append(
                    {"name": name, "role": roles[name].role.value, "fan in": w.shape[1], "log gain": gain}
                )

            weights = Weights(start(model, numbers, seed), None, torch.float64, PLAIN, seen=seen)
            with torch.no_grad():
                model.forward(weights, tokens(sizes, seed, 0)[..., :-1])
            cases.append(
                {"part": "alignment at initialization", "width": width, "seed": seed, "layers": layers}
            )
            ratios = [one["log gain"] / math.log(one["fan in"]) for one in layers]
            yield row(
                f"width {width}, seed {seed}: mean log alignment ratio", sum(ratios) / len(ratios), "", "1/2"
            )


def rms(x: Tensor) -> float:
    """The root mean square of all entries."""
    return float(x.square().mean().sqrt())


PARTS = {"gauge": gauge, "alignment": alignment}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts; 1 if one failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--smoke", action="store_true")
    asked = parser.parse_args(argv)
    sizes, cases, rows = SMALL if asked.smoke else Sizes(), Cases(), list[Row]()
    for part in asked.parts:
        rows.extend(attempted(part, lambda part=part: PARTS[part](sizes, cases)))
    if not asked.smoke:
        record = make_record(
            "claims_check", rows, machine=machine(), versions=versions("torch", "numpy"), cases=cases
        )
        write_json(asked.out, record)
    return int(any("error" in item for item in rows))


if __name__ == "__main__":
    raise SystemExit(main())
