"""A measured log gain: what `widthwise.measure` gives, `widthwise.analysis` reads, and a watch compares."""

from typing import Protocol

from widthwise.theory.alignment_quantity import AlignmentQuantity
from widthwise.theory.role import Role


class MeasuredGain(Protocol):
    """One product's log gain, ln( rms(y) / (rms(A) rms(x)) ), which does not know of which run it is.

    Args:
        layer: the tensor's name.
        role: the tensor's; None if nobody said.
        quantity: which product.
        log_gain: NaN where it is undefined.
        fan_in: over how many entries the product sums.
    """

    @property
    def layer(self) -> str: ...
    @property
    def role(self) -> Role | None: ...
    @property
    def quantity(self) -> AlignmentQuantity: ...
    @property
    def log_gain(self) -> float: ...
    @property
    def fan_in(self) -> int: ...
