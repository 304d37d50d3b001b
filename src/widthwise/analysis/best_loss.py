"""The loss at the best rate: differences between prescriptions, with intervals.

Two prescriptions at one width share their seeds: the same initial draw, the same batches. Their difference is therefore
taken seed by seed where both cells were fitted over the same number of seeds, its variance pooled over the widths at
which the two can be compared (d_ws: what seed s has more than the mean difference at width w):

    sigma_d^2 = sum_ws d_ws^2 / nu,   nu = sum_w (S_w - 1),   s^2 = sigma_d^2 / S        t with nu degrees of freedom

Without common seeds s^2 is the sum of both cells' variances, from the noise pooled over the table. To the half-width is
added by how much the estimate would change if the cubics' values were taken for the parabolas'.
"""

import math
from collections.abc import Sequence

import numpy as np

from widthwise.analysis.exponent import slope_weights
from widthwise.analysis.noise import Noise, student_quantile
from widthwise.analysis.optimum import CellFit, LocalFit
from widthwise.analysis.result import Interval

Pair = tuple[LocalFit, LocalFit]


def common_cells(first: Sequence[CellFit], second: Sequence[CellFit]) -> dict[int, Pair]:
    """The widths at which both prescriptions have an optimum, ascending, with both fits."""
    others = {fit.cell.width: fit.local for fit in second}
    found: dict[int, Pair] = {}
    for fit in first:
        other = others.get(fit.cell.width)
        if fit.local is not None and other is not None:
            found[fit.cell.width] = (fit.local, other)
    return found


def loss_difference(
    pairs: dict[int, Pair], width: int, noise: Noise | None, *, level: float = 0.95
) -> Interval | None:
    """Loss of the first less loss of the second at a width; None if the noise is unknown.

    Args:
        pairs: from `common_cells`; they have the width.
        noise: pooled over the table.
    """
    weights = {other: float(other == width) for other in pairs}
    return loss_contrast(pairs, weights, noise, level=level)


def loss_difference_slope(
    pairs: dict[int, Pair], noise: Noise | None, *, level: float = 0.95
) -> Interval | None:
    """The slope of that difference over log2 of the width, per doubling; None below two widths or without noise."""
    if len(pairs) < 2:
        return None
    weights = dict(zip(pairs, slope_weights(tuple(pairs)).tolist(), strict=True))
    return loss_contrast(pairs, weights, noise, level=level)


def loss_contrast(
    pairs: dict[int, Pair], weights: dict[int, float], noise: Noise | None, *, level: float
) -> Interval | None:
    """A weighted sum over widths of the differences of losses."""
    if noise is None:
        return None
    estimate = sum(weights[w] * (a.parabola.value - b.parabola.value) for w, (a, b) in pairs.items())
    sigma_2, freedom = _pair_variance(pairs)
    if freedom < 1:
        sigma_2, freedom = None, noise.degrees_of_freedom
    statistical_2 = sum(weights[w] ** 2 * _variance(pair, sigma_2, noise) for w, pair in pairs.items())
    half = student_quantile(level, freedom) * math.sqrt(statistical_2) + _shape(pairs, weights)
    return Interval(estimate, estimate - half, estimate + half)


def _pair_variance(pairs: dict[int, Pair]) -> tuple[float | None, int]:
    """The variance of one seed's difference, and its degrees of freedom; pooled over the widths with common seeds."""
    total, freedom = 0.0, 0
    for a, b in pairs.values():
        if a.seeds == b.seeds and a.seeds > 1 and a.identity != b.identity:
            difference_S = a.levels - b.levels
            total += float(difference_S @ difference_S)
            freedom += a.seeds - 1
    return (total / freedom, freedom) if freedom else (None, 0)


def _variance(pair: Pair, paired: float | None, noise: Noise) -> float:
    a, b = pair
    if a.identity == b.identity:
        return 0.0
    if paired is not None and a.seeds == b.seeds:
        return paired / a.seeds
    return noise.level**2 * (1 / a.seeds + 1 / b.seeds)


def _shape(pairs: dict[int, Pair], weights: dict[int, float]) -> float:
    """By how much the estimate would change if the cubics' values were taken."""
    misses = {
        w: (a.parabola.value - a.cubic.value) - (b.parabola.value - b.cubic.value)
        for w, (a, b) in pairs.items()
    }
    return abs(float(np.sum([weights[w] * misses[w] for w in pairs])))
