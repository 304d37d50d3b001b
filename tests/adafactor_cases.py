"""What the tests of Adafactor share: the formula in NumPy's float64, gradients, and the two implementations."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from widthwise.optim import Adafactor, adafactor_fused
from widthwise.optim.adafactor_kernels import kernels
from widthwise.optim.adafactor_tables import Tile

SMALL_TILE = Tile(rows=4, columns=16, steps=2, warps=1, flat=16)
"""So small that tensors of a few dozen elements have several strips and pieces."""

IMPLEMENTATIONS = {"single": False, "fused": True}


@contextmanager
def interpreted_kernels() -> Iterator[None]:
    """Triton's interpreter instead of a device. Its NumPy warns where a device is silent."""
    patch = pytest.MonkeyPatch()
    patch.setenv("TRITON_INTERPRET", "1")
    patch.setattr(adafactor_fused, "TILE", SMALL_TILE)
    patch.setattr(adafactor_fused, "SCALED_TILE", SMALL_TILE)
    kernels.cache_clear()
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        patch.undo()
        kernels.cache_clear()


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal entries, every row and column of a size of its own, so that both factors matter."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    for dimension, size in enumerate(shape):
        sizes = 0.2 + 2 * torch.rand(size, generator=generator, dtype=torch.float64)
        values *= sizes.view(-1, *[1] * (len(shape) - 1 - dimension))
    return values.to(dtype)


def in_float64(
    start: np.ndarray,
    gradients: Sequence[np.ndarray],
    *,
    lr: float,
    decay_rate: float = 0.8,
    step_offset: int = 0,
    eps: float = 1e-30,
    threshold: float | None = 1.0,
    floor: float | None = 1e-3,
    momentum: float | None = None,
    decay: float = 0.0,
    factored: bool = True,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """theta and the mean squares of a matrix or a vector after the steps, from the formula as the paper writes it.

    The paper keeps sums over rows and columns and divides their product by the total; this does too.
    """
    theta, m = start.astype(np.float64), np.zeros(start.shape)
    rows, columns, v = np.zeros(start.shape[:1]), np.zeros(start.shape[-1:]), np.zeros(start.shape)
    for t, gradient in enumerate(gradients, start=1):
        g = gradient.astype(np.float64)
        beta = 1 - (t + step_offset) ** -decay_rate
        square = g**2 + eps
        if factored:
            rows = beta * rows + (1 - beta) * square.sum(axis=1)
            columns = beta * columns + (1 - beta) * square.sum(axis=0)
            v = np.outer(rows, columns) / rows.sum()
        else:
            v = beta * v + (1 - beta) * square
        u = g / np.sqrt(v)
        if threshold is not None:
            u = u / max(1.0, np.sqrt(np.mean(u**2)) / threshold)
        step = lr * u * (1.0 if floor is None else max(floor, np.sqrt(np.mean(theta**2))))
        if momentum is not None:
            m = momentum * m + (1 - momentum) * step
            step = m
        theta = theta - step - decay * theta
    means = {"v_row": rows / start.shape[-1], "v_col": columns / start.shape[0]} if factored else {"v": v}
    return theta, means


def trained(
    starts: Sequence[Tensor], gradients: Sequence[Sequence[Tensor]], **arguments: Any
) -> tuple[list[Tensor], Adafactor]:
    """The weights after one step for each list of gradients, and the optimizer; factored from 4 on."""
    parameters = [torch.nn.Parameter(start.clone()) for start in starts]
    optimizer = Adafactor(parameters, **{"min_dim_size_to_factor": 4, **arguments})
    for row in gradients:
        for parameter, gradient in zip(parameters, row, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
    return [parameter.detach() for parameter in parameters], optimizer


def states(optimizer: Adafactor) -> list[dict[str, Tensor]]:
    """Each parameter's state."""
    return [dict(optimizer.state[p]) for group in optimizer.param_groups for p in group["params"]]
