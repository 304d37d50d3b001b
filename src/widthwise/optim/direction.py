"""The direction of a step, from the two running averages: Adam's ratio with its epsilon, or Adam-atan2's angle.

With m and v as they are kept, not yet corrected for their start at zero:

    Ratio   m_hat / (sqrt(v_hat) + epsilon)  =  (m / (sqrt(v) + epsilon sqrt(1 - beta2^t))) / D
    Angle   a atan2(m_hat, b sqrt(v_hat))    =  a arctan((m / sqrt(v)) / (b D))

where D = (1 - beta1^t) / sqrt(1 - beta2^t) holds both corrections, and sqrt(v) is not negative. The quotient of m and
sqrt(v) comes first: with powers of two in the gradient's scale it does not change in a single bit, and it is never out
of range. A divisor below the smallest normal number is replaced by it, so that 0 / 0 is 0.

A direction is a value with its operation on a tensor and on lists of them (the foreach operations of PyTorch).
"""

# PyTorch's foreach operations have no public names.
# pyright: reportPrivateImportUsage=false

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from widthwise.optim.bias_correction import bias_ratio, root_correction
from widthwise.optim.second_moment import Tensors

Number = float | Tensor


class Correction(NamedTuple):
    """What one step t makes of the averages: `ratio` is D, `root` is sqrt(1 - beta2^t)."""

    ratio: Number
    root: Number

    @classmethod
    def of(cls, step: Number, betas: tuple[float, float]) -> "Correction":
        """The corrections of step t, counted from 1."""
        return cls(bias_ratio(step, betas), root_correction(step, betas[1]))


class Direction(Protocol):
    """How two averages become a step."""

    @property
    def scale(self) -> float:
        """A constant that multiplies the learning rate."""
        ...

    def of(self, m: Tensor, root: Tensor, correction: Correction) -> Tensor:
        """The direction over `scale`; `root` is sqrt(v), and neither argument is written to."""
        ...

    def each(self, ms: list[Tensor], roots: Tensors, corrections: Sequence[Correction]) -> list[Tensor]:
        """The same for lists of tensors of one dtype."""
        ...


@dataclass(frozen=True)
class Ratio:
    """Adam's.

    Raises:
        ValueError: epsilon is negative or not finite; 0 is legal.

    Example:
        >>> m, root = torch.tensor([2.0, -2.0, 0.0]), torch.tensor([4.0, 0.0, 0.0])
        >>> Ratio(1.0).of(m, root, Correction(ratio=1.0, root=1.0))
        tensor([ 0.4000, -2.0000,  0.0000])

    Source: Kingma and Ba 2015 (arXiv 1412.6980), algorithm 1.
    """

    epsilon: float

    def __post_init__(self) -> None:
        if not (isfinite(self.epsilon) and self.epsilon >= 0):
            raise ValueError(f"eps = {self.epsilon}: give a finite number that is not negative")

    @property
    def scale(self) -> float:
        return 1.0

    def of(self, m: Tensor, root: Tensor, correction: Correction) -> Tensor:
        divisor = (root + self.epsilon * correction.root).clamp_min_(torch.finfo(root.dtype).tiny)
        return (m / divisor).div_(correction.ratio)

    def each(self, ms: list[Tensor], roots: Tensors, corrections: Sequence[Correction]) -> list[Tensor]:
        divisors = [root + self.epsilon * c.root for root, c in zip(roots, corrections, strict=True)]
        torch._foreach_clamp_min_(divisors, torch.finfo(divisors[0].dtype).tiny)
        changes = list(torch._foreach_div(ms, divisors))
        torch._foreach_div_(changes, [c.ratio for c in corrections])  # pyright: ignore[reportCallIssue, reportArgumentType]
        return changes


@dataclass(frozen=True)
class Angle:
    """Adam-atan2's, of which `a` is the scale.

    Raises:
        ValueError: a or b is not a finite positive number.

    Example:
        >>> m, root = torch.tensor([1e-30, -2.0, 0.0]), torch.tensor([1e-30, 0.0, 0.0])
        >>> Angle(a=1.0, b=1.0).of(m, root, Correction(ratio=1.0, root=1.0))
        tensor([ 0.7854, -1.5708,  0.0000])

    Source: Everett et al. 2024, arXiv 2407.05872.
    """

    a: float
    b: float

    def __post_init__(self) -> None:
        for name, value in (("a", self.a), ("b", self.b)):
            if not (isfinite(value) and value > 0):
                raise ValueError(f"{name} = {value}: give a finite positive number")

    @property
    def scale(self) -> float:
        return self.a

    def of(self, m: Tensor, root: Tensor, correction: Correction) -> Tensor:
        divisor = root.clamp_min(torch.finfo(root.dtype).tiny)
        return (m / divisor).div_(self.b * correction.ratio).atan_()

    def each(self, ms: list[Tensor], roots: Tensors, corrections: Sequence[Correction]) -> list[Tensor]:
        divisors = torch._foreach_clamp_min(roots, torch.finfo(ms[0].dtype).tiny)
        changes = list(torch._foreach_div(ms, divisors))
        del divisors
        torch._foreach_div_(changes, [self.b * c.ratio for c in corrections])  # pyright: ignore[reportCallIssue, reportArgumentType]
        torch._foreach_atan_(changes)
        return changes
