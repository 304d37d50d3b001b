"""One step of Adam-atan2 or AdamW on one tensor: the reference that the other implementations must equal.

    m <- m + (1 - beta1) (g - m)
    v <- beta2 v + (1 - beta2) g^2             or its root, see second_moment
    theta <- theta - rate * scale * direction(m, v) - decay * theta

The direction is Adam's ratio or Adam-atan2's angle (`direction`); the rate is multiplied by the parameter's own root
mean square where that is asked for (`parameter_scaling`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor

from widthwise.optim.direction import Correction, Direction, Number
from widthwise.optim.parameter_scaling import ParameterScaling
from widthwise.optim.rounding import Rounding
from widthwise.optim.second_moment import SecondMoment


@dataclass(frozen=True)
class MomentConstants:
    """What a group's optimizer keeps fixed.

    Args:
        betas: of the two averages.
        direction: what becomes of them.
        second_moment: how the second one is kept.
        parameter_scaling: whether the rate is relative to the parameter's size.
    """

    betas: tuple[float, float]
    direction: Direction
    second_moment: SecondMoment
    parameter_scaling: ParameterScaling | None = None

    @classmethod
    def of(cls, group: Mapping[str, Any], direction: Direction) -> "MomentConstants":
        """The constants in a parameter group."""
        first, second = group["betas"]
        return cls((first, second), direction, group["second_moment"], group["parameter_scaling"])

    @property
    def weights(self) -> tuple[float, float]:
        """1 - beta1 and 1 - beta2."""
        return 1 - self.betas[0], 1 - self.betas[1]

    def correction(self, step: Number) -> Correction:
        """What step t, counted from 1, makes of the averages."""
        return Correction.of(step, self.betas)

    def rate(self, rate: Number, theta: Tensor) -> Number:
        """What multiplies the direction over its scale."""
        rate = rate * self.direction.scale
        return rate if self.parameter_scaling is None else rate * self.parameter_scaling.scale(theta)


def moment_step(
    parameter: Tensor,
    gradient: Tensor,
    m: Tensor,
    moment: Tensor,
    *,
    constants: MomentConstants,
    rate: Number,
    step: Number,
    decay: Number = 0.0,
) -> Tensor:
    """The parameter after one step, in the moments' dtype; the moments are updated in place.

    Args:
        parameter: theta, of any floating-point dtype and shape.
        gradient: of the parameter's shape.
        m: the first moment, shaped as the parameter; float32 or float64, which is what is computed in.
        moment: the second moment in the form that `constants` names, like m.
        constants: betas, direction, form and scaling.
        rate: the learning rate; a number, or a tensor that broadcasts, as [P, 1, 1] for the members of [P, M, N].
        step: which step this is, from 1; a number or a tensor like the rate.
        decay: the fraction of theta that the step removes; like the rate.

    Example:
        >>> from widthwise.optim.direction import Angle
        >>> from widthwise.optim.second_moment import SQUARED
        >>> constants = MomentConstants((0.9, 0.99), Angle(a=4 / torch.pi, b=1.0), SQUARED)
        >>> theta, g, m, v = torch.tensor([1.0, 1.0]), torch.tensor([3.0, -1e-9]), torch.zeros(2), torch.zeros(2)
        >>> moment_step(theta, g, m, v, constants=constants, rate=0.25, step=1)
        tensor([0.7500, 1.2500])

    Source: Everett et al. 2024, arXiv 2407.05872.
    """
    gradient = gradient.to(m.dtype)
    weight1, weight2 = constants.weights
    m.lerp_(gradient, weight1)
    constants.second_moment.update_(moment, gradient, weight2)
    theta = parameter.to(m.dtype)
    root = constants.second_moment.root(moment)
    change = constants.direction.of(m, root, constants.correction(step)).mul_(constants.rate(rate, theta))
    return theta - (change + decay * theta)


def mark_non_finite(flag: Tensor, m: Tensor, moment: Tensor, *, step: Number) -> None:
    """Note the step in `flag` (0 so far) if a moment is infinite or NaN, without waiting for the device."""
    largest = torch.maximum(*(torch.linalg.vector_norm(x, inf) for x in (m, moment)))
    bad = ~largest.isfinite() & (flag == 0)
    flag.copy_(torch.where(bad, step, flag))


def update_single(
    parameters: list[Tensor],
    gradients: list[Tensor],
    ms: list[Tensor],
    moments: list[Tensor],
    flags: list[Tensor],
    steps: list[Number],
    indices: list[int],
    *,
    constants: MomentConstants,
    rate: Number,
    decay: Number,
    rounding: Rounding,
) -> None:
    """One step of every tensor in turn, in place."""
    for parameter, gradient, m, moment, flag, step, index in zip(
        parameters, gradients, ms, moments, flags, steps, indices, strict=True
    ):
        theta = moment_step(
            parameter, gradient, m, moment, constants=constants, rate=rate, step=step, decay=decay
        )
        parameter.copy_(rounding.round(theta, parameter.dtype, index=index, step=step))
        mark_non_finite(flag, m, moment, step=step)
