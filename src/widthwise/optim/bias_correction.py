"""The bias corrections of Adam, exact at every step, from a count that may live on a device.

A running average that starts at zero has the weight 1 - beta^t after t steps. In float32, 1 - 0.999^1 by subtraction is
off by 6e-5 of itself; by expm1 it is right to the last place or so.
"""

from math import expm1, inf, log, sqrt
from typing import overload

import torch
from torch import Tensor


def log_beta(beta: float) -> float:
    """The natural logarithm; of 0, minus infinity, so that an average without memory needs no correction."""
    return log(beta) if beta > 0 else -inf


@overload
def bias_ratio(step: float, betas: tuple[float, float]) -> float: ...
@overload
def bias_ratio(step: Tensor, betas: tuple[float, float]) -> Tensor: ...
def bias_ratio(step: float | Tensor, betas: tuple[float, float]) -> float | Tensor:
    """By how much the corrections shrink m / sqrt(v) (divide by it): (1 - beta1^t) / sqrt(1 - beta2^t).

    Args:
        step: t, from 1; a number, or a floating-point tensor of counts.
        betas: beta1 and beta2, in [0, 1).

    Example:
        >>> round(bias_ratio(1, (0.5, 0.75)), 12)
        1.0
        >>> bias_ratio(torch.tensor([1.0, 1e6]), (0.9, 0.99))
        tensor([1., 1.])
    """
    rate = log_beta(betas[0])
    if isinstance(step, Tensor):
        return -torch.expm1(step * rate) / root_correction(step, betas[1])
    return -expm1(step * rate) / root_correction(step, betas[1])


@overload
def root_correction(step: float, beta2: float) -> float: ...
@overload
def root_correction(step: Tensor, beta2: float) -> Tensor: ...
def root_correction(step: float | Tensor, beta2: float) -> float | Tensor:
    """sqrt(1 - beta2^t), by which sqrt(v) falls short of sqrt(v_hat); arguments as in `bias_ratio`.

    Example:
        >>> round(root_correction(1, 0.75), 12)
        0.5
    """
    rate = log_beta(beta2)
    return torch.sqrt(-torch.expm1(step * rate)) if isinstance(step, Tensor) else sqrt(-expm1(step * rate))
