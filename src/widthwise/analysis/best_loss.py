"""The loss at the best rate: differences between prescriptions, with intervals.

    sum_w c_w (L_w - L'_w) +- t_nu s + |sum_w c_w m_w|

L_w - L'_w is taken seed by seed (`optimum_loss`), s^2 and nu are those of `difference_noise`, and m_w is by how much
the difference lies above that of the cubics' values: what the shape of the loss may have done to it.
"""

import math
from collections.abc import Mapping

from widthwise.analysis.difference_noise import DifferenceNoise
from widthwise.analysis.exponent import slope_weights
from widthwise.analysis.noise import student_quantile
from widthwise.analysis.optimum_loss import Pair
from widthwise.analysis.result import Interval

Pairs = Mapping[int, Pair]
"""Two prescriptions at the widths at which both have an optimum, from `difference_noise.common_cells`."""


def loss_difference(
    pairs: Pairs, width: int, noise: DifferenceNoise, *, level: float = 0.95
) -> Interval | None:
    """Loss of the first less loss of the second at a width; None if the noise is unknown.

    Args:
        pairs: they have the width.
        noise: of the table.
    """
    return loss_contrast(pairs, {other: float(other == width) for other in pairs}, noise, level=level)


def loss_difference_slope(pairs: Pairs, noise: DifferenceNoise, *, level: float = 0.95) -> Interval | None:
    """The slope of that difference over log2 of the width, per doubling; None below two widths or without noise."""
    if len(pairs) < 2:
        return None
    weights = dict(zip(pairs, slope_weights(tuple(pairs)).tolist(), strict=True))
    return loss_contrast(pairs, weights, noise, level=level)


def loss_contrast(
    pairs: Pairs, weights: Mapping[int, float], noise: DifferenceNoise, *, level: float
) -> Interval | None:
    """A weighted sum over widths of the differences of losses."""
    compared = {width: first.less(second) for width, (first, second) in pairs.items()}
    found = noise.variance(compared, weights)
    if found is None:
        return None
    variance, freedom = found
    estimate = math.fsum(weights[width] * one.mean for width, one in compared.items())
    shape = abs(math.fsum(weights[width] * one.shape for width, one in compared.items()))
    half = (student_quantile(level, freedom) * math.sqrt(variance) if variance else 0.0) + shape
    return Interval(estimate, estimate - half, estimate + half)
