"""Optimizers with states written by hand, and the epsilon report's numbers computed again in float64 NumPy."""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from widthwise import ADAM, MEAN_FIELD, ScalingPlan, make_plan

BETAS = (0.5, 0.75)
STEP = 2
CORRECTION = sqrt(1 - BETAS[1] ** STEP)
"""What the root of v is divided by: sqrt(7) / 4."""


def adam_with(
    m: Tensor,
    v: Tensor,
    *,
    kind: Any = torch.optim.Adam,
    step: int = STEP,
    largest: Tensor | None = None,
    **options: Any,
) -> torch.optim.Optimizer:
    """An optimizer of one tensor, `w`, whose state is what is given."""
    parameter = nn.Parameter(torch.zeros(m.shape, dtype=m.dtype))
    optimizer = kind([("w", parameter)], lr=0.1, betas=BETAS, **options)
    optimizer.state[parameter] = {"step": torch.tensor(float(step)), "exp_avg": m, "exp_avg_sq": v}
    if largest is not None:
        optimizer.state[parameter]["max_exp_avg_sq"] = largest
    return optimizer


@dataclass(frozen=True)
class Expected:
    """What NumPy finds."""

    counted: int
    untouched: int
    below: int
    zeros: int
    median: float
    low: float


def expected(m: Tensor, v: Tensor, *, epsilon: float, correction: float = CORRECTION) -> Expected:
    """The report's definitions over again: everything in float64, the 1 % point by counting up."""
    first, second = (np.asarray(x.detach().to(torch.float64)).ravel() for x in (m, v))
    touched = (first != 0) | (second != 0)
    roots = np.sort(np.sqrt(second[touched]) / correction)
    n = len(roots)
    smaller = 0
    while smaller + 1 < n and (smaller + 1) * 100 < n:  # how many may lie below an epsilon, under 1 %
        smaller += 1
    return Expected(
        counted=n,
        untouched=int((~touched).sum()),
        below=int((roots < epsilon).sum()),
        zeros=int((touched & (second == 0)).sum()),
        median=float(np.median(roots)) if n else float("nan"),
        low=float(roots[smaller]) if n else float("nan"),
    )


def drawn(
    count: int, *, seed: int, untouched: float = 0.0, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Moments over four decades, a part of them untouched."""
    generator = torch.Generator().manual_seed(seed)
    size = 10 ** (4 * torch.rand(count, generator=generator, dtype=torch.float64) - 6)
    m = size * torch.randn(count, generator=generator, dtype=torch.float64)
    off = torch.rand(count, generator=generator) < untouched
    return m.masked_fill(off, 0).to(dtype), size.square().masked_fill(off, 0).to(dtype)


def build(width: int) -> nn.Module:
    """An embedding, a hidden layer, a readout."""
    return nn.Sequential(nn.Embedding(11, width), nn.Linear(width, width), nn.Linear(width, 7))


def plan_of(width: int, *, base_width: int = 16) -> ScalingPlan:
    """The mean-field plan of `build`."""
    return make_plan(build, width=width, base_width=base_width, parameterization=MEAN_FIELD, optimizer=ADAM)


def trained(optimizer: torch.optim.Optimizer, model: nn.Module, *, steps: int = 2) -> torch.optim.Optimizer:
    """The optimizer after a few steps of `build`'s model on one small batch."""
    tokens = torch.tensor([1, 2, 5])
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens), torch.tensor([0, 3, 6])).backward()
        optimizer.step()
    return optimizer
