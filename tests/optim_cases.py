"""What the tests of Adam-atan2 share: a float64 reference in NumPy, gradients, and the three implementations."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from widthwise.optim import AdamAtan2

IMPLEMENTATIONS: dict[str, dict[str, bool]] = {
    "single": {"foreach": False, "fused": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}


@contextmanager
def interpreted_kernels() -> Iterator[None]:
    """Triton's interpreter instead of a device (chosen in conftest). Its NumPy warns where a device is silent."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("Triton is loaded with its compiler: tests marked `cuda` run instead")
    with np.errstate(all="ignore"):
        yield


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal entries, none nearer to zero than 1/4 nor farther than 4, so that their scale is that of the tensor."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (values.sign() * values.abs().clamp(0.25, 4.0)).to(dtype)


def in_float64(
    start: np.ndarray,
    gradients: Sequence[np.ndarray],
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    a: float = 1.0,
    b: float = 1.0,
    per_rate: float = 0.0,
    per_step: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """theta, m and v after the steps, from the formula as it is written."""
    theta, m, v = start.astype(np.float64), np.zeros(start.shape), np.zeros(start.shape)
    for t, gradient in enumerate(gradients, start=1):
        g = gradient.astype(np.float64)
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        angle = np.arctan2(m / (1 - betas[0] ** t), b * np.sqrt(v / (1 - betas[1] ** t)))
        theta = theta * (1 - per_rate * lr - per_step) - lr * a * angle
    return theta, m, v


def trained(
    starts: Sequence[Tensor], gradients: Sequence[Sequence[Tensor]], **arguments: Any
) -> tuple[list[Tensor], AdamAtan2]:
    """The weights after one step for each list of gradients, and the optimizer."""
    parameters = [torch.nn.Parameter(start.clone()) for start in starts]
    optimizer = AdamAtan2(parameters, **arguments)
    for row in gradients:
        for parameter, gradient in zip(parameters, row, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
    return [parameter.detach() for parameter in parameters], optimizer


def moments(optimizer: AdamAtan2) -> list[Mapping[str, Tensor]]:
    """Each parameter's state."""
    return [optimizer.state[p] for group in optimizer.param_groups for p in group["params"]]
