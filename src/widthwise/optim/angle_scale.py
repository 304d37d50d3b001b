"""The constants (a, b) of Adam-atan2, chosen so that it takes Adam's steps where Adam's ratio is small, or one.

    theta <- theta - rate * a * atan2(m_hat, b * sqrt(v_hat))

b widens the range over which the arctangent is nearly its argument; a brings the step back to Adam's size. The learning
rate absorbs a, so that only b changes what can be reached.
"""

from math import atan, isfinite


def _checked(b: float) -> float:
    if not (isfinite(b) and b > 0):
        raise ValueError(f"b = {b}: give a finite positive number")
    return b


def scale_for_small_ratios(b: float) -> float:
    """The a with which a step equals Adam's where m is much smaller than sqrt(v): a = b.

    Raises:
        ValueError: b is not a finite positive number.

    Example:
        >>> scale_for_small_ratios(4.0)
        4.0

    Source: Everett et al. 2024, arXiv 2407.05872, its table of (a, b).
    """
    return _checked(b)


def scale_for_unit_ratios(b: float) -> float:
    """The a with which a step equals Adam's where m is sqrt(v), as in a first step: a = 1 / arctan(1 / b).

    Raises:
        ValueError: b is not a finite positive number.

    Example:
        >>> [round(scale_for_unit_ratios(b), 2) for b in (1.0, 2.0, 4.0)]
        [1.27, 2.16, 4.08]

    Source: Everett et al. 2024, arXiv 2407.05872, its table of (a, b).
    """
    return 1 / atan(1 / _checked(b))
