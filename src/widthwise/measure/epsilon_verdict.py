"""What an epsilon does to a tensor, as a value: the one place where its thresholds are stated.

Adam's step is m_hat / (sqrt(v_hat) + epsilon), so a coordinate with r = sqrt(v_hat) / epsilon goes r / (1 + r) of the
way that it would go without an epsilon: half of it at r = 1, ten elevenths at r = 10.

fine       fewer than 1 % of the coordinates lie below epsilon, and the median one lies at ten times it or more
bites      neither fine nor dominated
dominates  half of the coordinates or more lie below epsilon: the tensor trains as under momentum, at a rate / epsilon
undefined  no coordinate has been touched, or there is no epsilon

The second condition of `fine` is needed: v_hat averages over 1 / (1 - beta2) steps, so that late in training all
coordinates of a tensor may be close to one another, none of them below epsilon and each a third too slow.
"""

import math
from enum import StrEnum
from fractions import Fraction

BITES_FRACTION = Fraction(1, 100)
"""From this fraction of coordinates below epsilon on, it bites."""

BITES_RATIO = 10
"""Below this median of sqrt(v_hat) / epsilon it bites: the median coordinate loses a tenth of its step or so."""

DOMINATES_FRACTION = Fraction(1, 2)
"""From this fraction of coordinates below epsilon on, it dominates."""


class EpsilonVerdict(StrEnum):
    """See the module."""

    FINE = "fine"
    BITES = "bites"
    DOMINATES = "dominates"
    UNDEFINED = "undefined"


SEVERITY = (EpsilonVerdict.UNDEFINED, EpsilonVerdict.FINE, EpsilonVerdict.BITES, EpsilonVerdict.DOMINATES)
"""From what says nothing to what says most."""


def epsilon_verdict(*, below: int | None, counted: int, median_ratio: float) -> EpsilonVerdict:
    """The verdict on a tensor.

    Args:
        below: how many coordinates have sqrt(v_hat) < epsilon; None without an epsilon.
        counted: of how many.
        median_ratio: of sqrt(v_hat) / epsilon; NaN is not looked at.

    Example:
        >>> epsilon_verdict(below=9, counted=1000, median_ratio=40.0).value
        'fine'
        >>> epsilon_verdict(below=10, counted=1000, median_ratio=40.0).value
        'bites'
        >>> epsilon_verdict(below=0, counted=1000, median_ratio=2.0).value  # every step a third too short
        'bites'
    """
    if below is None or not counted:
        return EpsilonVerdict.UNDEFINED
    fraction = Fraction(below, counted)
    if fraction >= DOMINATES_FRACTION:
        return EpsilonVerdict.DOMINATES
    bites = fraction >= BITES_FRACTION or median_ratio < BITES_RATIO
    return EpsilonVerdict.BITES if bites else EpsilonVerdict.FINE


def largest_fine(*, low: float, median: float) -> float | None:
    """The largest power of ten that would be a fine epsilon; None where none would.

    Args:
        low: the sqrt(v_hat) that 1 % of the coordinates lie below, in the units of the gradient.
        median: of sqrt(v_hat).

    Example:
        >>> largest_fine(low=3e-7, median=1e-3), largest_fine(low=3e-7, median=2e-7)
        (1e-07, 1e-08)
        >>> largest_fine(low=0.0, median=1e-3) is None  # v itself has underflowed
        True
    """
    bound = min(low, median / BITES_RATIO)
    if not 0 < bound < math.inf:
        return None
    power = math.floor(math.log10(bound)) + 1
    while _power_of_ten(power) > bound:
        power -= 1
    return _power_of_ten(power) or None


def _power_of_ten(power: int) -> float:
    return float(f"1e{power}")  # 10.0**-9 is another double than 1e-9
