"""Slopes over widths with intervals over seeds: what a power law's exponent is, and how surely.

For each seed the slope is the least-squares line of log value on log width; the seeds are independent, so their mean
has a Student t interval with seeds - 1 degrees of freedom.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

LEVEL = 0.95


@dataclass(frozen=True)
class SlopeInterval:
    """A mean slope over seeds with its interval, both in powers of the width.

    Args:
        estimate: the mean over seeds.
        low: of the interval.
        high: of the interval.
    """

    estimate: float
    low: float
    high: float


def slope(widths: Sequence[int], values: Sequence[float]) -> float:
    """The least-squares slope of log value on log width.

    Args:
        widths: all different, two or more.
        values: positive, one a width.

    Example:
        >>> round(slope((64, 128, 512), (3.0, 1.5, 0.375)), 12)
        -1.0
    """
    x = [math.log(width) for width in widths]
    y = [math.log(value) for value in values]
    x_mean, y_mean = math.fsum(x) / len(x), math.fsum(y) / len(y)
    covariance = math.fsum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True))
    return covariance / math.fsum((a - x_mean) ** 2 for a in x)


def slope_interval(
    widths: Sequence[int], values: Sequence[Sequence[float]], *, level: float = LEVEL
) -> SlopeInterval:
    """The mean slope over seeds and its t interval.

    Args:
        widths: all different, two or more.
        values: for each seed (two or more), one positive value a width.

    Example:
        >>> found = slope_interval((64, 128), [(1.0, 2.0), (1.0, 1.0)])
        >>> round(found.estimate, 6), round(found.low, 6), round(found.high, 6)
        (0.5, -5.853102, 6.853102)
    """
    slopes = [slope(widths, row) for row in values]
    count = len(slopes)
    mean = math.fsum(slopes) / count
    variance = math.fsum((value - mean) ** 2 for value in slopes) / (count - 1)
    half = student_quantile(level, count - 1) * math.sqrt(variance / count)
    return SlopeInterval(mean, mean - half, mean + half)


@lru_cache(maxsize=64)
def student_quantile(level: float, degrees_of_freedom: int) -> float:
    """Half-width, in standard errors, of a two-sided t interval with a whole number of degrees of freedom.

    The distribution's finite series in the angle atan(t / sqrt(nu)) is inverted by bisection: SciPy has no place here,
    where a training machine may lack it.

    Example:
        >>> [round(student_quantile(0.95, nu), 4) for nu in (1, 2, 4, 7)]
        [12.7062, 4.3027, 2.7764, 2.3646]

    Source: Abramowitz and Stegun 26.7.3 and 26.7.4.
    """
    low, high = 0.0, 1.0
    while _within(high, degrees_of_freedom) < level:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees_of_freedom) < level else (low, middle)
    return (low + high) / 2


def _within(t: float, nu: int) -> float:
    """The probability that |T| <= t."""
    theta = math.atan(t / math.sqrt(nu))
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = nu % 2
    term = cosine if odd else 1.0
    total = term if nu > 1 else 0.0
    for k in range(3 if odd else 2, nu - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    return 2 / math.pi * (theta + sine * total) if odd else sine * total
