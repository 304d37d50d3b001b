"""Student's t, so that drawing an interval needs no numerical library."""

import math


def t_cdf(t: float, degrees_of_freedom: int) -> float:
    """P(T <= t) for a whole number of degrees of freedom.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4, with
    theta = atan(t / sqrt(n)); the series is finite and exact.
    """
    n = degrees_of_freedom
    theta = math.atan2(t, math.sqrt(n))
    sine, cosine = math.sin(theta), math.cos(theta)
    if n == 1:
        return 0.5 + theta / math.pi
    first = 1 if n % 2 else 0
    term = cosine if first else 1.0
    total = term
    for k in range(first + 2, n - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    inner = 2 / math.pi * (theta + sine * total) if first else sine * total
    return 0.5 + inner / 2


def t_quantile(probability: float, degrees_of_freedom: int) -> float:
    """The t below which T lies with this probability, from 0.5 to 1, by bisection of the angle theta."""
    if degrees_of_freedom < 1 or not 0.5 <= probability < 1:
        raise ValueError(
            f"no t quantile at probability {probability} and {degrees_of_freedom} degrees of freedom; "
            "it takes 0.5 <= probability < 1 and at least 1"
        )
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        t = math.sqrt(degrees_of_freedom) * math.tan(middle)
        low, high = (middle, high) if t_cdf(t, degrees_of_freedom) < probability else (low, middle)
    return math.sqrt(degrees_of_freedom) * math.tan((low + high) / 2)
