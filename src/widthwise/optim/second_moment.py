"""Two ways to keep the running mean square of the gradient: as it is, or as its square root.

    v <- beta2 v + (1 - beta2) g^2                       SQUARED, as torch.optim.AdamW keeps it
    u <- hypot(sqrt(beta2) u, sqrt(1 - beta2) g)         ROOT, u = sqrt(v)

g^2 leaves the range of float32 where |g| is below about 1e-22 or above 1.8e19; u stays wherever g itself is. In the
weights' arithmetic both are the same number, so a state can be converted from one form to the other.

A form is a value with two operations on tensors, each also for lists of tensors (the foreach operations of PyTorch).
All of them write into the moment's own memory.
"""

# PyTorch's foreach operations have no public names.
# pyright: reportPrivateImportUsage=false

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Tensors = list[Tensor] | tuple[Tensor, ...]


class SecondMoment(Protocol):
    """One form of the running mean square."""

    @property
    def key(self) -> str:
        """The name under which an optimizer's state keeps it."""
        ...

    def update_(self, moment: Tensor, gradient: Tensor, weight: float) -> None:
        """Take a gradient in with weight 1 - beta2, in place."""
        ...

    def update_each_(self, moments: list[Tensor], gradients: list[Tensor], weight: float) -> None:
        """The same for lists of tensors."""
        ...

    def root(self, moment: Tensor) -> Tensor:
        """The root mean square; may be the moment itself, which is not to be written to."""
        ...

    def roots(self, moments: list[Tensor]) -> Tensors:
        """The same for lists of tensors."""
        ...


@dataclass(frozen=True)
class SquaredMoment:
    """v, the mean of squares. See the module.

    Example:
        >>> v = torch.zeros(1)
        >>> SQUARED.update_(v, torch.tensor([2.0]), 0.25)
        >>> v, SQUARED.root(v)
        (tensor([1.]), tensor([1.]))
    """

    @property
    def key(self) -> str:
        """torch.optim.AdamW's name."""
        return "exp_avg_sq"

    def update_(self, moment: Tensor, gradient: Tensor, weight: float) -> None:
        """In torch.optim.AdamW's order, so that an infinite v stays infinite instead of turning NaN."""
        moment.mul_(1 - weight).addcmul_(gradient, gradient, value=weight)

    def update_each_(self, moments: list[Tensor], gradients: list[Tensor], weight: float) -> None:
        """The same for lists."""
        torch._foreach_mul_(moments, 1 - weight)
        torch._foreach_addcmul_(moments, gradients, gradients, weight)

    def root(self, moment: Tensor) -> Tensor:
        """sqrt(v)."""
        return moment.sqrt()

    def roots(self, moments: list[Tensor]) -> Tensors:
        """sqrt(v) of each."""
        return torch._foreach_sqrt(moments)


@dataclass(frozen=True)
class RootMoment:
    """u, the root of the mean of squares. See the module.

    With s = max(u, |g|), both are at most s, so that nothing overflows, and what underflows is below rounding:

        u <- s sqrt((u / s)^2 + (1 - beta2) ((g / s)^2 - (u / s)^2))

    A factor 2^k in u and g changes s alone, exactly, while they are normal numbers.

    Example:
        >>> u = torch.zeros(1)
        >>> ROOT.update_(u, torch.tensor([2e-30]), 0.25)  # the square of it is not a float32
        >>> u
        tensor([1.0000e-30])
    """

    @property
    def key(self) -> str:
        """A name of its own, so that no reader takes u for v."""
        return "exp_avg_rms"

    def update_(self, moment: Tensor, gradient: Tensor, weight: float) -> None:
        """See the class; a zero s, which has zero u and g, is replaced by the smallest normal number."""
        scale = torch.maximum(moment, gradient.abs()).clamp_min_(torch.finfo(moment.dtype).tiny)
        ratio = gradient / scale
        moment.div_(scale).square_().lerp_(ratio.square_(), weight).sqrt_().mul_(scale)

    def update_each_(self, moments: list[Tensor], gradients: list[Tensor], weight: float) -> None:
        """The same for lists of one dtype."""
        scales = torch._foreach_abs(gradients)
        torch._foreach_maximum_(scales, moments)
        torch._foreach_clamp_min_(scales, torch.finfo(moments[0].dtype).tiny)
        ratios = torch._foreach_div(gradients, scales)
        torch._foreach_mul_(ratios, ratios)
        torch._foreach_div_(moments, scales)
        torch._foreach_mul_(moments, moments)
        torch._foreach_lerp_(moments, ratios, weight)
        torch._foreach_sqrt_(moments)
        torch._foreach_mul_(moments, scales)

    def root(self, moment: Tensor) -> Tensor:
        """u itself."""
        return moment

    def roots(self, moments: list[Tensor]) -> Tensors:
        """The moments themselves."""
        return moments


SQUARED = SquaredMoment()
ROOT = RootMoment()

SECOND_MOMENTS: dict[str, SecondMoment] = {form.key: form for form in (SQUARED, ROOT)}
"""The forms by the name of their state."""


def converted(value: Tensor, *, source: SecondMoment, target: SecondMoment) -> Tensor:
    """A moment of one form in another.

    Both ways are computed in float64 and rounded once. From v to u and back is within one unit in the last place of v
    where u^2 is a normal number: u is off by half a unit, so u^2 by at most sqrt(2) units, which rounds to one.

    Raises:
        ValueError: a form that is neither SQUARED nor ROOT.

    Example:
        >>> converted(torch.tensor([9.0]), source=SQUARED, target=ROOT)
        tensor([3.])
    """
    if source == target:
        return value
    if (source, target) == (SQUARED, ROOT):
        return value.double().sqrt().to(value.dtype)
    if (source, target) == (ROOT, SQUARED):
        return value.double().square().to(value.dtype)
    raise ValueError(f"no conversion from {source} to {target}: add one beside these two")
