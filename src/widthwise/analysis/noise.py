"""The noise of an optimum, pooled over cells, and the interval of any contrast of optima.

With u_cs the deviation of seed s in cell c, S_c seeds, and D_c = parabola - cubic, over distinct cells:

    sigma^2 = sum_cs u_cs^2 / nu,             nu = sum_c (S_c - 1)        one seed's optimum
    tau^2   = sum_c (D_c - mean D)^2 / (C - 1)                            the fit's shape error

Where no seed but one has run all rates of a fit, but several have run some of them (seeds added around the best rate
alone), sigma comes from the scatter at one rate, sigma_p^2 pooled over those rates, and the fits' response to it:

    sigma^2 = sigma_p^2 mean_c |dx_c / dL|^2

which takes the scatter as independent between rates. What a seed adds to all rates alike moves no optimum, so this is
too wide rather than too narrow.

tau measures by how much the error of fitting the wrong shape differs between cells (its common part cancels in every
contrast). For a contrast sum_c w_c x_c of cells with sum w = 0 the standard errors are

    statistical   s^2 = sigma^2 sum_c w_c^2 / S_c                         t with nu degrees of freedom
    systematic    b^2 = tau^2 sum_c w_c^2                                 C - 1 degrees of freedom

and the total interval is t sqrt(s^2 + b^2) with Satterthwaite's degrees of freedom. It is never narrower than the
statistical one and never wider than that plus sum_c |w_c D_c|, the worst case of errors as large as each cell's D_c.

Source: Satterthwaite, An approximate distribution of estimates of variance components, Biometrics 2 (1946).
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from widthwise.analysis.cell import Floats
from widthwise.analysis.optimum import CellFit, LocalFit
from widthwise.analysis.result import Interval


@dataclass(frozen=True)
class Noise:
    """Standard deviations pooled over distinct cells.

    Args:
        sigma: of one seed's optimum, octaves.
        bend: of one seed's curvature, relative.
        level: of one seed's loss at the optimum.
        degrees_of_freedom: of both; at least 1.
        spread: tau, octaves.
        cells: how many distinct cells there are.
    """

    sigma: float
    bend: float
    level: float
    degrees_of_freedom: int
    spread: float
    cells: int


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of optima with its statistical and total interval."""

    statistical: Interval
    total: Interval


def distinct_fits(fits: Iterable[CellFit]) -> list[LocalFit]:
    """The bracketed optima, those that are of the same runs once."""
    found: dict[Hashable, LocalFit] = {}
    for fit in fits:
        if fit.local is not None:
            found.setdefault(fit.local.identity, fit.local)
    return list(found.values())


def pool_noise(fits: Iterable[CellFit]) -> Noise | None:
    """Pool the noise over the distinct bracketed cells; None if no rate of any of them has two seeds."""
    cells = distinct_fits(fits)
    freedom = sum(cell.seeds - 1 for cell in cells)
    if freedom >= 1:
        sizes = (
            _rms([cell.shifts for cell in cells], freedom),
            _rms([cell.bends for cell in cells], freedom),
        )
        level = _rms([cell.levels for cell in cells], freedom)
    else:
        freedom = sum(cell.scatter_freedom for cell in cells)
        if freedom < 1:
            return None
        level = _rms([cell.scatter for cell in cells], freedom)
        moves = [cell.parabola.shift for cell in cells]
        bends = [cell.parabola.bend / cell.parabola.curvature for cell in cells]
        sizes = (level * _rms(moves, len(cells)), level * _rms(bends, len(cells)))
    return Noise(
        sigma=sizes[0],
        bend=sizes[1],
        level=level,
        degrees_of_freedom=freedom,
        spread=float(np.std([cell.difference for cell in cells], ddof=1)) if len(cells) > 1 else 0.0,
        cells=len(cells),
    )


def _rms(parts: Sequence[Floats], count: int) -> float:
    return math.sqrt(sum(float(part @ part) for part in parts) / count)


def student_quantile(level: float, degrees_of_freedom: float) -> float:
    """Half-width, in standard errors, of a two-sided t interval.

    Example:
        >>> round(student_quantile(0.95, 7), 4)
        2.3646
    """
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, (1 + level) / 2))


def summed(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """A sum of independent variances, each with its degrees of freedom, and the sum's own by Satterthwaite.

    Example:
        >>> summed([(1.0, 4.0), (1.0, 4.0)])
        (2.0, 8.0)
        >>> summed([])
        (0.0, inf)
    """
    variance = math.fsum(part for part, _ in parts)
    if variance == 0:
        return 0.0, math.inf
    return variance, 1 / math.fsum((part / variance) ** 2 / freedom for part, freedom in parts)


def contrast(fits: Sequence[LocalFit], weights: Sequence[float], noise: Noise, *, level: float) -> Contrast:
    """The intervals of sum_c w_c x_c over optima of distinct runs."""
    weighted = list(zip(fits, weights, strict=True))
    estimate = sum(weight * fit.parabola.x for fit, weight in weighted)
    statistical_variance = noise.sigma**2 * sum(weight**2 / fit.seeds for fit, weight in weighted)
    systematic_variance = noise.spread**2 * sum(weight**2 for weight in weights)
    worst = sum(abs(weight * fit.difference) for fit, weight in weighted)
    nu = noise.degrees_of_freedom
    statistical = student_quantile(level, nu) * math.sqrt(statistical_variance)
    total = statistical
    if systematic_variance > 0:
        both, freedom = summed([(statistical_variance, nu), (systematic_variance, noise.cells - 1)])
        total = student_quantile(level, freedom) * math.sqrt(both)
        total = min(max(total, statistical), statistical + worst)
    return Contrast(_symmetric(estimate, statistical), _symmetric(estimate, total))


def _symmetric(estimate: float, half_width: float) -> Interval:
    return Interval(estimate, estimate - half_width, estimate + half_width)
