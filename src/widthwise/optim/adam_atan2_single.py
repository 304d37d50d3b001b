"""One step of Adam-atan2 on one tensor: the reference that the other implementations must equal.

    m <- m + (1 - beta1) (g - m)
    v <- beta2 v + (1 - beta2) g^2             or its root, see second_moment
    theta <- theta - rate * a * atan2(m_hat, b sqrt(v_hat)) - decay * theta

Both bias corrections and b are one number, D = b (1 - beta1^t) / sqrt(1 - beta2^t), and sqrt(v) is not negative, so the
angle is arctan((m / sqrt(v)) / D). The quotient comes first: with powers of two in the gradient's scale it does not
change in a single bit, and it is never out of range. sqrt(v) is replaced by the smallest normal number where it is
smaller, so that 0 / 0 is 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor

from widthwise.optim.bias_correction import bias_ratio
from widthwise.optim.rounding import Rounding
from widthwise.optim.second_moment import SecondMoment

Number = float | Tensor


@dataclass(frozen=True)
class Atan2Constants:
    """What Adam-atan2 keeps fixed: the two averages' betas, the angle's a and b, and how the second moment is kept."""

    betas: tuple[float, float]
    a: float
    b: float
    second_moment: SecondMoment

    @classmethod
    def of(cls, group: Mapping[str, Any]) -> "Atan2Constants":
        """The constants in a parameter group."""
        first, second = group["betas"]
        return cls(betas=(first, second), a=group["a"], b=group["b"], second_moment=group["second_moment"])

    @property
    def weights(self) -> tuple[float, float]:
        """1 - beta1 and 1 - beta2."""
        return 1 - self.betas[0], 1 - self.betas[1]

    def denominator(self, step: Number) -> Number:
        """D: b and the bias corrections of step t, counted from 1."""
        return self.b * bias_ratio(step, self.betas)


def adam_atan2_angle(m: Tensor, moment: Tensor, *, constants: Atan2Constants, step: Number) -> Tensor:
    """atan2(m_hat, b sqrt(v_hat)), in [-pi/2, pi/2]."""
    root = constants.second_moment.root(moment).clamp_min(torch.finfo(moment.dtype).tiny)
    return (m / root).div_(constants.denominator(step)).atan_()


def adam_atan2_step(
    parameter: Tensor,
    gradient: Tensor,
    m: Tensor,
    moment: Tensor,
    *,
    constants: Atan2Constants,
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
        constants: betas, a, b and the form.
        rate: the learning rate; a number, or a tensor that broadcasts, as [P, 1, 1] for the members of [P, M, N].
        step: which step this is, from 1; a number or a tensor like the rate.
        decay: the fraction of theta that the step removes; like the rate.

    Example:
        >>> from widthwise.optim.second_moment import SQUARED
        >>> constants = Atan2Constants(betas=(0.9, 0.99), a=4 / torch.pi, b=1.0, second_moment=SQUARED)
        >>> theta, g, m, v = torch.tensor([1.0, 1.0]), torch.tensor([3.0, -1e-9]), torch.zeros(2), torch.zeros(2)
        >>> adam_atan2_step(theta, g, m, v, constants=constants, rate=0.25, step=1)
        tensor([0.7500, 1.2500])

    Source: Everett et al. 2024, arXiv 2407.05872.
    """
    gradient = gradient.to(m.dtype)
    weight1, weight2 = constants.weights
    m.lerp_(gradient, weight1)
    constants.second_moment.update_(moment, gradient, weight2)
    theta = parameter.to(m.dtype)
    change = adam_atan2_angle(m, moment, constants=constants, step=step).mul_(rate * constants.a)
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
    constants: Atan2Constants,
    rate: Number,
    decay: Number,
    rounding: Rounding,
) -> None:
    """One step of every tensor in turn, in place."""
    for parameter, gradient, m, moment, flag, step, index in zip(
        parameters, gradients, ms, moments, flags, steps, indices, strict=True
    ):
        theta = adam_atan2_step(
            parameter, gradient, m, moment, constants=constants, rate=rate, step=step, decay=decay
        )
        parameter.copy_(rounding.round(theta, parameter.dtype, index=index, step=step))
        mark_non_finite(flag, m, moment, step=step)
