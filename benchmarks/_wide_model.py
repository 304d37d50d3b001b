"""The paper's models at its fourteen widths, as `wide_check.py` trains them: plans, tokens, and what is read off them.

Everything is absolute, as in the paper: multipliers in the forward pass, rates relative to width 1024 by the largest
stable exponents under full alignment.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import exp, fsum, log

import torch
from torch import Tensor

from widthwise.models import Transformer
from widthwise.optim import (
    AdafactorUpdate,
    AdamAtan2Update,
    AdamUpdate,
    MemberUpdate,
    SgdUpdate,
    scale_for_unit_ratios,
)
from widthwise.optim.bias_correction import root_correction
from widthwise.scaling import TRANSFORMER_ROLES, assign_roles, make_reference_plan, resolve
from widthwise.scaling.reference_plan import Anchor, EpsilonPolicy, Gauge, ReferencePlan
from widthwise.theory import ADAFACTOR, ADAM, ADAM_ATAN2, FULL_RATES, PARAMETERIZATIONS, SGD, OptimizerRule
from widthwise.train import Member, Precision, Recipe, WarmupCosine
from widthwise.wide import LayerMajor, Storage

WIDTHS = (128, 256, 512, 768, 1024, 1536, 2048, 2560, 3072, 4096, 6144, 8192, 12288, 16384)
BETAS = (0.9, 0.98)
EPSILON = 1e-15
"""Adam's in the runs: the paper's safe one. What others would have been to the same gradients is computed."""

EPSILONS = (1e-9, 1e-15)
SAMPLES = 64
"""Pieces of a tensor whose second moments are looked at."""

PARAMETERIZATION_NAMES = tuple(PARAMETERIZATIONS)


@dataclass(frozen=True)
class Optimizer:
    """One of the four: its update, its rule, and a base rate for each parameterization that trains at width 1024."""

    update: MemberUpdate
    rule: OptimizerRule
    rates: dict[str, float]


def _rates(standard: float, ntk: float, mup: float, mean_field: float) -> dict[str, float]:
    return dict(zip(("standard", "ntk", "mup", "mean-field"), (standard, ntk, mup, mean_field), strict=True))


ADAM_RATES = _rates(1e-3, 3e-2, 1e-3, 3e-2)
"""Half an octave to an octave below the best rates at width 1024 (2e-3 and 0.1): ten steps without a long warm-up."""

OPTIMIZERS = {
    "sgd": Optimizer(SgdUpdate(0.9), SGD, _rates(0.03, 10.0, 1.0, 300.0)),
    "adam": Optimizer(AdamUpdate(*BETAS), ADAM, ADAM_RATES),
    "adafactor": Optimizer(AdafactorUpdate(), ADAFACTOR, _rates(0.01, 0.01, 0.01, 0.01)),
    "adam-atan2": Optimizer(
        AdamAtan2Update(*BETAS, a=scale_for_unit_ratios(1.0), b=1.0), ADAM_ATAN2, ADAM_RATES
    ),
}


@dataclass(frozen=True)
class Shape:
    """What all widths share."""

    depth: int = 8
    head_dim: int = 128
    vocabulary: int = 32101
    context: int = 512
    base_width: int = 1024

    def model(self, width: int) -> Transformer:
        """The model at a width."""
        return Transformer(width, self.depth, self.head_dim, self.vocabulary, self.context)


def plan_of(shape: Shape, width: int, parameterization: str, rule: OptimizerRule) -> ReferencePlan:
    """The paper's numbers at a width."""
    return make_reference_plan(
        assign_roles(shape.model(width).tensors(), TRANSFORMER_ROLES),
        width=width,
        base_width=shape.base_width,
        parameterization=PARAMETERIZATIONS[parameterization],
        optimizer=rule,
        prescription=FULL_RATES,
        anchor=Anchor.ABSOLUTE,
        gauge=Gauge.EXPLICIT,
        epsilon=EpsilonPolicy.CONSTANT,
    )


def training(
    shape: Shape,
    width: int,
    parameterization: str,
    optimizer: str | None,
    storage: Storage,
    *,
    device: torch.device,
    sequences: int,
    steps: int,
    seed: int = 0,
) -> LayerMajor:
    """A model in training; without an optimizer, one without state, for its gradients at the start."""
    chosen = OPTIMIZERS["sgd" if optimizer is None else optimizer]
    update = SgdUpdate(0.0) if optimizer is None else chosen.update
    recipe = Recipe(
        model=shape.model(width),
        update=update,
        schedule=WarmupCosine(steps=max(steps, 2), warmup=min(2, max(steps, 2) - 1), floor=1.0),
        batch=sequences,
        precision=Precision.BFLOAT16 if device.type == "cuda" else Precision.FLOAT32,
        validation_windows=1,
        curve_points=1,
    )
    plan = plan_of(shape, width, parameterization, chosen.rule)
    numbers = resolve(plan, learning_rate=chosen.rates[parameterization], epsilon=EPSILON)
    return LayerMajor(recipe, Member(numbers, init_seed=seed, data_seed=seed), device, storage)


class Tokens:
    """Batches of a step: uniform tokens, or windows into a text's bytes; the same at every width."""

    def __init__(self, shape: Shape, device: torch.device, text: bytes | None) -> None:
        self._shape, self._device = shape, device
        self._text = None if text is None else torch.frombuffer(bytearray(text), dtype=torch.uint8)

    def batch(self, step: int, sequences: int, seed: int = 0) -> Tensor:
        """[sequences, context + 1] token ids."""
        generator = torch.Generator().manual_seed(1_000_003 * seed + step)
        length = self._shape.context + 1
        if self._text is None:
            tokens = torch.randint(self._shape.vocabulary, (sequences, length), generator=generator)
        else:
            starts = torch.randint(len(self._text) - length, (sequences,), generator=generator)
            tokens = self._text[starts[:, None] + torch.arange(length)].long() % self._shape.vocabulary
        return tokens.to(self._device)


def model_flops(model: Transformer, tokens: int) -> float:
    """6 (12 depth D^2 + V D) + 6 depth T D a token: the products of a training step, causal attention once."""
    D, depth = model.width, model.depth
    return tokens * (6.0 * (12 * depth * D**2 + model.vocabulary * D) + 6.0 * depth * model.context * D)


def root_mean_square(tensor: Tensor) -> float:
    """In float64 sums of float32 squares of pieces."""
    flat = tensor.reshape(-1)
    total = torch.zeros((), dtype=torch.float64, device=flat.device)
    for part in flat.split(2**26):
        total += part.float().square().sum()
    return float((total / flat.numel()).sqrt())


def by_role(plan: ReferencePlan, sizes: dict[str, float]) -> dict[str, float]:
    """The geometric mean over each role's tensors; the positions, which few tokens share, apart from the embedding."""
    groups: dict[str, list[float]] = {}
    for name, size in sizes.items():
        role = "position" if name == "position_embedding" else plan.rows[name].role.value
        groups.setdefault(role, []).append(size)
    return {
        role: exp(fsum(map(log, values)) / len(values)) if all(v > 0 for v in values) else 0.0
        for role, values in groups.items()
    }


def epsilon_statistics(run: LayerMajor, plan: ReferencePlan) -> dict[str, dict[str, float]]:
    """For each role: the median of sqrt(v_hat) over the coordinates that had a gradient, and over each epsilon.

    Medians of each tensor's sample, their geometric mean over the role. `per-layer` is 1e-9 at the base width and
    follows n^(-g) from there.
    """
    medians: dict[str, float] = {}
    for name, weight in run.weights.items():
        update, state = run.updates[name], run.states[name]
        starts = torch.linspace(0, max(weight.numel() - 2**14, 0), SAMPLES).long() // 256 * 256
        found = [
            update.root_mean_square(state, slice(start, min(start + 2**14, weight.numel())))
            for start in sorted(set(starts.tolist()))
        ]
        kept = [part for part in found if part is not None]
        if kept:
            values = torch.cat(kept)
            values = values[values > 0] / root_correction(float(run.steps), BETAS[1])
            medians[name] = float(values.median()) if len(values) else 0.0
    if not medians:
        return {}
    roots = by_role(plan, medians)
    exponents = {
        "position" if n == "position_embedding" else row.role.value: float(row.exponents.g)
        for n, row in plan.rows.items()
    }
    ratio = plan.width / plan.base_width
    return {
        role: {
            "sqrt v_hat": root,
            **{f"over {epsilon:g}": root / epsilon for epsilon in EPSILONS},
            "over per-layer": root / (1e-9 * ratio ** -exponents[role]),
        }
        for role, root in roots.items()
    }


@contextmanager
def measured(device: torch.device) -> Iterator[dict[str, float]]:
    """Seconds and peak of allocated bytes (GiB) of a stretch."""
    found: dict[str, float] = {}
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    yield found
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        found["peak GiB"] = torch.cuda.max_memory_allocated(device) / 2**30
    found["seconds"] = time.perf_counter() - started
