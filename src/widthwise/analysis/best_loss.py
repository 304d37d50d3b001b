"""The loss at the best rate: differences between prescriptions, with intervals.

Two prescriptions at one width share their seeds: the same initial draw, the same batches. Their difference is therefore
taken seed by seed over the S seeds that ran the best rate of both (`optimum_loss`), its variance pooled over the widths
at which the two can be compared (d_ws: what seed s has more than the mean difference at width w):

    sigma_d^2 = sum_ws d_ws^2 / nu,   nu = sum_w (S_w - 1),   s^2 = sigma_d^2 f        t with nu degrees of freedom

with f = 1 / S where all those seeds ran every rate of the fits, and else the mean of both cells' f, as in
`policy_losses`: what lies between the best rate and the optimum is known from the seeds of the fit alone. Without two
common seeds at any width the variance of one seed's difference is twice that of the noise pooled over the table, and
without any common seed s^2 is the sum of both cells'. To the half-width is added by how much the estimate would change
if the cubics' values were taken.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from widthwise.analysis.cell import Floats
from widthwise.analysis.exponent import slope_weights
from widthwise.analysis.noise import Noise, student_quantile
from widthwise.analysis.optimum import CellFit
from widthwise.analysis.optimum_loss import OptimumLoss
from widthwise.analysis.result import Interval

Pair = tuple[OptimumLoss, OptimumLoss]


def common_cells(first: Sequence[CellFit], second: Sequence[CellFit]) -> dict[int, Pair]:
    """The widths at which both prescriptions have an optimum, ascending, with both fits."""
    others = {fit.cell.width: fit for fit in second}
    found: dict[int, Pair] = {}
    for fit in first:
        other = others.get(fit.cell.width)
        if fit.local is not None and other is not None and other.local is not None:
            found[fit.cell.width] = (OptimumLoss(fit, fit.local), OptimumLoss(other, other.local))
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
    compared = {width: _compare(*pair) for width, pair in pairs.items()}
    freedom = sum(one.freedom for one in compared.values())
    if freedom:
        sigma_2 = math.fsum(float(one.deviations @ one.deviations) for one in compared.values()) / freedom
    else:
        sigma_2, freedom = 2 * noise.level**2, noise.degrees_of_freedom
    estimate = math.fsum(weights[width] * one.difference for width, one in compared.items())
    variance = math.fsum(
        weights[width] ** 2 * one.factor * (sigma_2 if one.paired else 2 * noise.level**2)
        for width, one in compared.items()
    )
    shape = abs(math.fsum(weights[width] * one.shape for width, one in compared.items()))
    half = student_quantile(level, freedom) * math.sqrt(variance) + shape
    return Interval(estimate, estimate - half, estimate + half)


@dataclass(frozen=True)
class _Compared:
    """Two prescriptions at one width.

    Args:
        difference: of their losses.
        deviations: of single seeds' differences from it; none where no two seeds are in common.
        factor: f, by which the variance of one seed's difference is multiplied.
        shape: by how much the difference lies above that of the cubics' values.
        paired: whether it is over common seeds.
    """

    difference: float
    deviations: Floats
    factor: float
    shape: float
    paired: bool = True

    @property
    def freedom(self) -> int:
        """Degrees of freedom of `deviations`."""
        return max(len(self.deviations) - 1, 0)


def _compare(first: OptimumLoss, second: OptimumLoss) -> _Compared:
    a, b = first.local, second.local
    difference, shape, none = a.loss - b.loss, a.loss_difference - b.loss_difference, np.zeros(0)
    if a.identity == b.identity:
        return _Compared(0.0, none, 0.0, 0.0)
    if first.fitted_seeds == second.fitted_seeds and a.seeds > 1:
        return _Compared(difference, a.levels - b.levels, 1 / a.seeds, shape)
    seeds = sorted(set(first.by_seed) & set(second.by_seed))
    if not seeds:
        return _Compared(difference, none, (1 / a.seeds + 1 / b.seeds) / 2, shape, paired=False)
    single_S = np.array([first.by_seed[seed] - second.by_seed[seed] for seed in seeds])
    factor = (first.variance_factor(len(seeds)) + second.variance_factor(len(seeds))) / 2
    mean = float(single_S.mean())
    return _Compared(mean, single_S - mean if len(seeds) > 1 else none, factor, shape)
