"""The noise of an optimum, pooled over cells, and the interval of any contrast of optima.

With u_cs the deviation of seed s in cell c, S_c seeds, and D_c = parabola - cubic, over distinct cells:

    sigma^2 = sum_cs u_cs^2 / nu,             nu = sum_c (S_c - 1)        one seed's optimum
    tau^2   = sum_c (D_c - mean D)^2 / (C - 1)                            the fit's shape error

tau measures by how much the error of fitting the wrong shape differs between cells (its common part cancels in every
contrast). For a contrast sum_c w_c x_c of cells with sum w = 0 the standard errors are

    statistical   s^2 = sigma^2 sum_c w_c^2 / S_c                         t with nu degrees of freedom
    systematic    b^2 = tau^2 sum_c w_c^2                                 C - 1 degrees of freedom

and the total interval is t sqrt(s^2 + b^2) with Satterthwaite's degrees of freedom. It is never narrower than the
statistical one and never wider than that plus sum_c |w_c D_c|, the worst case of errors as large as each cell's D_c.

Source: Satterthwaite, An approximate distribution of estimates of variance components, Biometrics 2 (1946).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from widthwise.analysis.optimum import CellFit
from widthwise.analysis.result import Interval


@dataclass(frozen=True)
class Noise:
    """Standard deviations pooled over distinct cells.

    Args:
        sigma: of one seed's optimum, octaves.
        bend: of one seed's curvature, relative.
        degrees_of_freedom: of both; at least 1.
        spread: tau, octaves.
        cells: how many distinct cells there are.
    """

    sigma: float
    bend: float
    degrees_of_freedom: int
    spread: float
    cells: int


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of optima with its statistical and total interval."""

    statistical: Interval
    total: Interval


def distinct_cells(fits: Sequence[CellFit]) -> list[CellFit]:
    """The bracketed cells, those that are the same runs once."""
    found: dict[object, CellFit] = {}
    for fit in fits:
        if fit.parabola is not None:
            found.setdefault(fit.identity, fit)
    return list(found.values())


def pool_noise(fits: Sequence[CellFit]) -> Noise | None:
    """Pool the noise over the distinct bracketed cells; None if none of them has two seeds."""
    cells = distinct_cells(fits)
    freedom = sum(fit.seeds - 1 for fit in cells)
    if freedom < 1:
        return None
    squares = bends = 0.0
    differences: list[float] = []
    for fit in cells:
        assert fit.shift_S is not None and fit.bend_S is not None
        squares += float(fit.shift_S @ fit.shift_S)
        bends += float(fit.bend_S @ fit.bend_S)
        differences.append(fit_difference(fit))
    return Noise(
        sigma=math.sqrt(squares / freedom),
        bend=math.sqrt(bends / freedom),
        degrees_of_freedom=freedom,
        spread=float(np.std(differences, ddof=1)) if len(cells) > 1 else 0.0,
        cells=len(cells),
    )


def fit_difference(fit: CellFit) -> float:
    """D_c: by how many octaves the parabola's minimum lies above the cubic's."""
    assert fit.parabola is not None and fit.cubic is not None
    return fit.parabola.x - fit.cubic.x


def student_quantile(level: float, degrees_of_freedom: float) -> float:
    """Half-width, in standard errors, of a two-sided t interval.

    Example:
        >>> round(student_quantile(0.95, 7), 4)
        2.3646
    """
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, (1 + level) / 2))


def contrast(fits: Sequence[CellFit], weights: Sequence[float], noise: Noise, *, level: float) -> Contrast:
    """The interval of sum_c w_c x_c, for distinct bracketed cells and weights that sum to zero."""
    statistical_variance = systematic_variance = estimate = worst = 0.0
    for fit, weight in zip(fits, weights, strict=True):
        assert fit.parabola is not None
        estimate += weight * fit.parabola.x
        statistical_variance += weight**2 * noise.sigma**2 / fit.seeds
        systematic_variance += weight**2 * noise.spread**2
        worst += abs(weight * fit_difference(fit))
    nu = noise.degrees_of_freedom
    statistical = student_quantile(level, nu) * math.sqrt(statistical_variance)
    total = statistical
    if systematic_variance > 0:
        both = statistical_variance + systematic_variance
        freedom = both**2 / (statistical_variance**2 / nu + systematic_variance**2 / (noise.cells - 1))
        total = student_quantile(level, freedom) * math.sqrt(both)
        total = min(max(total, statistical), statistical + worst)
    return Contrast(_symmetric(estimate, statistical), _symmetric(estimate, total))


def _symmetric(estimate: float, half_width: float) -> Interval:
    return Interval(estimate, estimate - half_width, estimate + half_width)
