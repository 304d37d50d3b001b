"""Decoupled weight decay, as the fraction of a weight that one step removes.

A value says how that fraction follows the learning rate *of the step*. No constructor's rate enters: per-layer rates
and schedules mean what they say, and a rate of 0 divides nothing.
"""

from dataclasses import dataclass
from math import isfinite
from typing import TypeVar

from torch import Tensor

Rate = TypeVar("Rate", float, Tensor)


@dataclass(frozen=True)
class WeightDecay:
    """theta loses the fraction `per_rate * rate + per_step` of itself in every step.

    `WeightDecay.coupled(w)` is PyTorch's AdamW, `WeightDecay.independent(w)` the form that keeps its meaning when the
    rate changes, with the width or with the schedule.

    Raises:
        ValueError: a coefficient is negative or not finite.

    Example:
        >>> WeightDecay.coupled(0.1).fraction(0.02), WeightDecay.independent(1e-4).fraction(0.02)
        (0.002, 0.0001)

    Source: Loshchilov and Hutter 2019 (arXiv 1711.05101), algorithm 2, whose schedule multiplies an independent decay.
    """

    per_rate: float = 0.0
    per_step: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("per_rate", self.per_rate), ("per_step", self.per_step)):
            if not (isfinite(value) and value >= 0):
                raise ValueError(f"weight decay {name} = {value}: give a finite number that is not negative")

    @classmethod
    def coupled(cls, weight_decay: float) -> "WeightDecay":
        """`theta <- theta - rate * weight_decay * theta`, torch.optim.AdamW's."""
        return cls(per_rate=weight_decay)

    @classmethod
    def independent(cls, weight_decay: float) -> "WeightDecay":
        """`theta <- theta - weight_decay * theta`, whatever the rate."""
        return cls(per_step=weight_decay)

    def fraction(self, rate: Rate) -> Rate:
        """What one step at this rate removes; the rate is a number or a tensor of them."""
        return rate * self.per_rate + self.per_step


def read_weight_decay(value: object) -> object:
    """A bare number as the coupled decay that every optimizer of PyTorch means by it; anything else as it is.

    Example:
        >>> read_weight_decay(0.1)
        WeightDecay(per_rate=0.1, per_step=0.0)
    """
    return WeightDecay.coupled(float(value)) if isinstance(value, float | int) else value


NO_DECAY = WeightDecay()
