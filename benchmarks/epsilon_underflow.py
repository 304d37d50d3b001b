"""Epsilon underflow made visible: the reference Transformer in mean-field, where gradients fall as n^(-3/2), by width.

    PYTHONPATH=src python benchmarks/epsilon_underflow.py     trains, writes its record under benchmarks/results

    with --figure DIR    draws a written record again: PNG and SVG into a folder
    with --smoke         two small widths, a few steps, nothing written

Three ways to train the same models on the same batches: Adam with one epsilon for all tensors and widths, Adam with an
epsilon that follows each tensor's gradient from the base width on, and Adam-atan2, which has none. The paper has this
with epsilon 1e-9 at widths of thousands; here the constant is larger, so that it bites within a CPU's reach.

Everything is absolute, as in the paper: multipliers n^(-a) in the forward pass, rates relative to the base width. The
baseline of each loss is the constant epsilon's at that width.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from _record import RESULTS, Record, Row, machine, make_record, row, versions, write_json
from torch import nn
from torch.optim import Adam, Optimizer

from widthwise import ADAM, MEAN_FIELD, AdamAtan2
from widthwise.measure import EpsilonMonitor
from widthwise.models import Transformer, member_cross_entropy
from widthwise.optim import scale_for_unit_ratios
from widthwise.scaling import TRANSFORMER_ROLES, assign_roles, make_reference_plan
from widthwise.scaling.reference_plan import Anchor, EpsilonPolicy, Gauge, ReferencePlan
from widthwise.theory import FULL_RATES
from widthwise.train import PYTHON_STDLIB, Corpus, load_corpus
from widthwise.train.batches import Batches, validation_windows

WIDTHS = (32, 64, 128, 256, 512)
BASE_WIDTH = WIDTHS[0]
CONTEXT, BATCH, STEPS = 32, 8, 60
EVERY = 10
EPSILON = 3e-6
LEARNING_RATE = 2.0**-3
SEEDS = (0, 1)
KEPT = (
    "run", "width", "seed", "step", "kind", "name", "role", "exponent", "epsilon", "coordinates", "counted", "zeros",
    "fraction", "median", "median_ratio", "verdict",
)  # fmt: skip
NOTE = "The last panel's optimizer has no epsilon: shown is what the constant would be to it."
RESULT = RESULTS / "epsilon_underflow.json"

CONSTANT, PER_LAYER, ATAN2 = "Adam, constant epsilon", "Adam, epsilon per layer", "Adam-atan2, no epsilon"


class Model(nn.Module):
    """The reference Transformer of one member as a module whose parameters have its tensors' names.

    Shape legend: B sequences, T positions.
    """

    def __init__(self, plan: ReferencePlan, seed: int) -> None:
        super().__init__()
        self.reference = reference(plan.width)
        generator = torch.Generator().manual_seed(seed)
        self.names = list(self.reference.tensors())
        self.multipliers = {name: torch.tensor([plan.rows[name].multiplier]) for name in self.names}
        for name, tensor in self.reference.tensors().items():
            draw = (
                torch.randn(tensor.shape, generator=generator) if tensor.drawn else torch.ones(tensor.shape)
            )
            self.register_parameter(_key(name), nn.Parameter((plan.rows[name].init * draw)[None]))

    def named(self) -> dict[str, nn.Parameter]:
        """The parameters by the reference model's names, which have dots."""
        return {name: self.get_parameter(_key(name)) for name in self.names}

    def loss(self, tokens_BxT1: torch.Tensor) -> torch.Tensor:
        """The mean next-token cross-entropy in nats."""
        logits = self.reference.logits(self.named(), tokens_BxT1[None, :, :-1], multipliers=self.multipliers)
        return member_cross_entropy(logits, tokens_BxT1[None, :, 1:].flatten(1)).sum()


def _key(name: str) -> str:
    return name.replace(".", "_")


def reference(width: int) -> Transformer:
    """Two blocks, heads of 16, bytes."""
    return Transformer(width=width, depth=2, head_dim=16, vocabulary=256, context=CONTEXT)


def plan_of(width: int, epsilon: EpsilonPolicy) -> ReferencePlan:
    """Mean-field, Adam, full alignment, as in the paper."""
    return make_reference_plan(
        assign_roles(reference(width).tensors(), TRANSFORMER_ROLES),
        width=width,
        base_width=BASE_WIDTH,
        parameterization=MEAN_FIELD,
        optimizer=ADAM,
        prescription=FULL_RATES,
        anchor=Anchor.ABSOLUTE,
        gauge=Gauge.EXPLICIT,
        epsilon=epsilon,
    )


@dataclass(frozen=True)
class Arm:
    """One way to train."""

    name: str
    policy: EpsilonPolicy
    make: Callable[[list[dict[str, Any]]], Optimizer]
    has_epsilon: bool = True


ARMS = (
    Arm(CONSTANT, EpsilonPolicy.CONSTANT, lambda groups: Adam(groups, betas=(0.9, 0.98))),
    Arm(PER_LAYER, EpsilonPolicy.PER_LAYER, lambda groups: Adam(groups, betas=(0.9, 0.98))),
    Arm(
        ATAN2,
        EpsilonPolicy.CONSTANT,
        lambda groups: AdamAtan2(groups, betas=(0.9, 0.98), a=scale_for_unit_ratios(1.0)),
        has_epsilon=False,
    ),
)


@cache
def text() -> Corpus:
    """What all runs train on."""
    return load_corpus(PYTHON_STDLIB)


def run(arm: Arm, width: int, seed: int, steps: int, rate: float) -> tuple[float, list[dict[str, Any]]]:
    """The validation loss after training, in nats, and every role's epsilon rows on the way."""
    plan = plan_of(width, arm.policy)
    model = Model(plan, seed)
    groups = []
    for name, parameter in model.named().items():
        group: dict[str, Any] = {
            "params": [parameter],
            "param_names": [name],
            "lr": rate * plan.rows[name].rate,
        }
        if arm.has_epsilon:
            group["eps"] = EPSILON * plan.rows[name].epsilon
        groups.append(group)
    optimizer = arm.make(groups)
    corpus = text()
    cpu = torch.device("cpu")
    batches = Batches(corpus, [seed], steps=steps, batch=BATCH, context=CONTEXT, device=cpu)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / (0.1 * steps)) * (1 - step / steps)
    )
    asked = None if arm.has_epsilon else EPSILON
    with EpsilonMonitor(optimizer, every=EVERY, plan=plan, epsilon=asked, base_epsilon=EPSILON) as monitor:
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            model.loss(batches.at(step)[0]).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        windows = validation_windows(corpus, windows=64, context=CONTEXT, device=cpu)
        loss = model.loss(windows).item()
    rows = [found | {"run": arm.name, "seed": seed} for found in monitor.rows() if found["kind"] == "role"]
    return loss, [{key: found[key] for key in KEPT} for found in rows]


def loss_rows(losses: Mapping[tuple[str, int], Sequence[float]]) -> list[Row]:
    """Losses as the benchmarks' rows: the baseline is the constant epsilon at the same width."""
    means = {key: sum(found) / len(found) for key, found in losses.items()}
    return [
        row(
            f"validation loss; {arm}; width {width}",
            round(mean, 4),
            "nats",
            round(means[CONSTANT, width], 4),
            round(mean / means[CONSTANT, width], 4),
        )
        for (arm, width), mean in means.items()
    ]


def underflow_rows(measured: Sequence[Mapping[str, Any]]) -> list[Row]:
    """What the hidden tensors' report says of each width at the first measurement; the baseline is the base width's."""
    first: dict[tuple[str, int], list[float]] = {}
    for found in measured:
        if found["role"] == "hidden" and found["step"] == EVERY:
            first.setdefault((found["run"], found["width"]), []).append(found["median_ratio"])
    means = {key: sum(found) / len(found) for key, found in first.items()}
    return [
        row(
            f"median sqrt(v_hat) / epsilon of hidden tensors, step {EVERY}; {arm}; width {width}",
            round(mean, 4),
            "ratio",
            round(means[arm, BASE_WIDTH], 4),
            round(mean / means[arm, BASE_WIDTH], 5),
            "1" if arm == PER_LAYER else f"{(width / BASE_WIDTH) ** -1.5:.4g} = (n / {BASE_WIDTH})^(-3/2)",
        )
        for (arm, width), mean in means.items()
    ]


def record_of(rows: list[Row], epsilon: list[dict[str, Any]], steps: int) -> Record:
    """The one JSON form, with every report."""
    setting = {
        "parameterization": "mean-field", "epsilon": EPSILON, "base_width": BASE_WIDTH, "steps": steps,
        "batch": BATCH, "context": CONTEXT, "learning_rate": LEARNING_RATE, "seeds": SEEDS,
    }  # fmt: skip
    head = make_record(
        "epsilon_underflow", rows, machine=machine(), versions=versions("torch"), setting=setting
    )
    return {**head, "epsilon": epsilon}


def draw(source: Path, folder: Path) -> None:
    """The figures of a written record."""
    from widthwise.report.epsilon_figure import write_epsilon_figures

    record = json.loads(source.read_text(encoding="utf-8"))
    for path in write_epsilon_figures(record["epsilon"], folder, note=NOTE):
        print(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and write, or draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULT, help="where the record goes")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--figure", type=Path, metavar="DIR", help="draw the record into a folder instead")
    parser.add_argument("--smoke", action="store_true", help="two small widths, a few steps; writes nothing")
    options = parser.parse_args(arguments)
    if options.smoke:
        options.widths, options.steps = WIDTHS[:2], EVERY
    if options.figure:
        draw(options.out, options.figure)
        return
    torch.set_num_threads(1)  # as the record was made: sums depend on it
    losses: dict[tuple[str, int], list[float]] = {}
    rows: list[dict[str, Any]] = []
    for width in options.widths:
        for arm in ARMS:
            for seed in SEEDS[:1] if options.smoke else SEEDS:
                start = time.perf_counter()
                loss, found = run(arm, width, seed, options.steps, LEARNING_RATE)
                losses.setdefault((arm.name, width), []).append(loss)
                rows += found
                print(
                    f"{arm.name}; width {width}; seed {seed}: loss {loss:.4f}, {time.perf_counter() - start:.0f} s",
                    flush=True,
                )
    found_rows = [*loss_rows(losses), *underflow_rows(rows)]
    if not options.smoke:
        write_json(options.out, record_of(found_rows, rows, options.steps), indent=None)


if __name__ == "__main__":
    main()
