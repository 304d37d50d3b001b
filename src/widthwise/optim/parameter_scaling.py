"""Steps in proportion to the size of the weights: the factor that Adafactor, or Adam with it, puts on every update.

    theta <- theta - rate * max(floor, RMS(theta)) * update

With it a rate is a relative change, so that the size of a tensor's initial draw does not change how fast it is learned.
The floor lets a tensor of zeros move.
"""

from dataclasses import dataclass
from math import isfinite, prod

import torch
from torch import Tensor


def root_mean_square(x: Tensor, *, batch_dims: int = 0) -> Tensor:
    """sqrt(mean(x^2)) over all but the first `batch_dims` dimensions, which stay; the others are kept as 1.

    In float32, or float64 for float64; of a tensor without elements, 0.

    Example:
        >>> root_mean_square(torch.tensor([[3.0, -3.0], [0.0, 2.0]]), batch_dims=1)
        tensor([[3.0000],
                [1.4142]])
    """
    x = x if x.dtype == torch.float64 else x.float()
    over = tuple(range(batch_dims, x.dim()))
    count = prod(x.shape[batch_dims:])
    # A sum over no dimensions would be one over all of them.
    total = x.square().sum(dim=over, keepdim=True) if over else x.square()
    return (total / max(count, 1)).sqrt()


@dataclass(frozen=True)
class ParameterScaling:
    """The factor max(floor, RMS(theta)) on a tensor's updates.

    Args:
        floor: the smallest factor, in the units of theta; positive, or a tensor of zeros could never move.

    Raises:
        ValueError: the floor is not a finite positive number.

    Example:
        >>> ParameterScaling(floor=0.5).scale(torch.tensor([[3.0, -3.0], [0.1, 0.0]]), batch_dims=1)
        tensor([[3.0000],
                [0.5000]])

    Source: Shazeer and Stern 2018 (arXiv 1804.04235), algorithm 4, whose epsilon2 is the floor; Everett et al. 2024
    (arXiv 2407.05872), "Adam with parameter scaling".
    """

    floor: float = 1e-3

    def __post_init__(self) -> None:
        if not (isfinite(self.floor) and self.floor > 0):
            raise ValueError(f"parameter scaling floor = {self.floor}: give a finite positive number")

    def scale(self, parameter: Tensor, batch_dims: int = 0) -> Tensor:
        """The factor of each separate tensor, shaped to broadcast over the parameter.

        Args:
            parameter: theta before the step, [*batch, ...], of any floating-point dtype.
            batch_dims: how many leading dimensions are separate tensors: 0 for ordinary training, 1 for the members
                of [P, ...].

        Returns:
            [*batch, 1, ...] in float32, or float64 for float64. NaN where theta has one; the floor where it has no
            elements.
        """
        return root_mean_square(parameter, batch_dims=batch_dims).clamp_min(self.floor)


def read_parameter_scaling(value: object) -> object:
    """A bare number as the floor that it is, such as a plan's groups give; anything else as it is.

    Example:
        >>> read_parameter_scaling(0.01)
        ParameterScaling(floor=0.01)
    """
    if isinstance(value, float | int) and not isinstance(value, bool):
        return ParameterScaling(floor=float(value))
    return value


PARAMETER_SCALING = ParameterScaling()
"""With the usual floor."""
