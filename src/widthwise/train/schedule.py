"""The learning-rate schedule: a factor on every member's rate."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up, then a cosine to a floor.

        factor(t) = t / warmup                                                        t <= warmup
        factor(t) = floor + (1 - floor) (1 + cos(pi (t - warmup) / (steps - warmup))) / 2   otherwise

    Args:
        steps: the horizon; the factor reaches the floor at the last step.
        warmup: steps of warm-up, less than `steps`.
        floor: the final factor, between 0 and 1.

    Raises:
        ValueError: a horizon below 1, a warm-up outside [0, steps), or a floor outside [0, 1].

    Example:
        >>> WarmupCosine(steps=100, warmup=10, floor=0.0).factor(10)
        1.0
    """

    steps: int
    warmup: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; it must be at least 1")
        if not 0 <= self.warmup < self.steps:
            raise ValueError(
                f"warmup is {self.warmup}; it must be at least 0 and less than steps {self.steps}"
            )
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor is {self.floor}; it must lie between 0 and 1")

    def factor(self, step: int) -> float:
        """The factor at a step, counted from 1."""
        if step <= self.warmup:
            return step / self.warmup
        progress = (step - self.warmup) / (self.steps - self.warmup)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * progress)) / 2
