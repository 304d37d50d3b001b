"""What a wrong learning rate costs in one cell, and how far its best rate is from trouble.

**Sensitivity** to the learning rate, over the rates swept at a width:

    mean over rates of min(L(eta), L_0) - min over rates of L(eta)

with L(eta) the mean over seeds of the final loss, and L_0 the loss at initialization, which also stands for a rate at
which a seed diverged. Where rates are not evenly spaced in log2 (a grid filled around its minimum), the mean weighs
each by half of the gaps beside it, so that filling a grid does not lower it. Its interval is that of its values for
single seeds. Only cells swept over the same range can be compared.

**Largest stable rate**: the highest rate below every one at which a seed diverged, or whose loss is above 1.2 times the
best, which is where a sweep ends. Between it and that first unstable rate lies the edge of stability; the distance from
the best rate to the edge, in octaves, is therefore known to the spacing of the grid, and to the best rate's interval.

Source: Wortsman et al., Small-scale proxies for large-scale Transformer training instabilities (arXiv 2309.14322),
2023: E over eta in [a, b] of min(loss(A(eta)), loss_0) - loss*, where loss* is that of the best rate swept; Everett et
al. 2024 for the factor 1.2.
"""

import math
from dataclasses import dataclass

import numpy as np

from widthwise.analysis.cell import Cell, Floats
from widthwise.analysis.noise import Noise, contrast, student_quantile
from widthwise.analysis.optimum import UNSTABLE, CellFit
from widthwise.analysis.result import Interval


@dataclass(frozen=True)
class Sensitivity:
    """The learning-rate sensitivity of one cell, in nats.

    Args:
        value: of the seeds' mean.
        interval: over seeds; None for one.
        rates: the lowest and the highest rate swept.
    """

    value: float
    interval: Interval | None
    rates: tuple[float, float]


@dataclass(frozen=True)
class Headroom:
    """From a cell's best rate to its edge of stability, in octaves.

    Args:
        largest_stable: the highest stable rate that was run.
        first_unstable: the next rate above it; None if every rate was stable.
        octaves: the distance to the edge: estimate half-way between the two rates, and its interval; without an
            unstable rate the estimate is the distance to the largest stable one, and `high` infinite. `low` and `high`
            are of the grid alone where the noise is unknown.
    """

    largest_stable: float
    first_unstable: float | None
    octaves: Interval


def sensitivity(cell: Cell, *, initial_loss: float, level: float = 0.95) -> Sensitivity | None:
    """The learning-rate sensitivity of a cell; None where no rate trained.

    Args:
        initial_loss: L_0, in nats.

    Example:
        >>> from widthwise.analysis.cell import make_cell
        >>> from widthwise.analysis.observation import Observation
        >>> runs = [Observation("p", 64, 2.0**x, 0, loss) for x, loss in enumerate((3.0, 2.0, 2.5, None))]
        >>> sensitivity(make_cell(runs), initial_loss=4.0).value  # (3 + 2 + 2.5 + 4) / 4 - 2
        0.875
    """
    made_SxR = np.isfinite(cell.loss) | cell.diverged
    kept_S = made_SxR.sum(axis=1) == made_SxR.sum(axis=1).max()
    made_R = made_SxR[kept_S].all(axis=0)
    bounded_SxR = np.where(cell.diverged, initial_loss, np.fmin(cell.loss, initial_loss))[kept_S][:, made_R]
    if not np.isfinite(cell.loss[kept_S][:, made_R]).any():
        return None
    weights_R = _weights(cell.x[made_R])

    def of(loss_R: Floats) -> float:
        return float(weights_R @ loss_R - loss_R.min())

    values_S = np.array([of(loss_R) for loss_R in bounded_SxR])
    diverged_R = cell.diverged[kept_S][:, made_R].any(axis=0)
    value = of(np.where(diverged_R, initial_loss, bounded_SxR.mean(axis=0)))
    x_R = cell.x[made_R]
    rates = (2.0 ** float(x_R[0]), 2.0 ** float(x_R[-1]))
    if len(values_S) < 2:
        return Sensitivity(value, None, rates)
    half = student_quantile(level, len(values_S) - 1) * float(values_S.std(ddof=1)) / math.sqrt(len(values_S))
    return Sensitivity(value, Interval(value, value - half, value + half), rates)


def _weights(x_R: Floats) -> Floats:
    """Each rate's share of the mean: all equal on an even grid, else by the gaps beside it."""
    if len(x_R) < 2:
        return np.ones(len(x_R))
    gaps = np.diff(x_R)
    around_R = (np.append(gaps[:1], gaps) + np.append(gaps, gaps[-1:])) / 2  # the ends as if the grid went on
    return around_R / around_R.sum()


def headroom(fit: CellFit, noise: Noise | None, *, level: float = 0.95) -> Headroom | None:
    """The distance from a cell's best rate to its edge of stability; None without a bracketed optimum.

    Args:
        noise: of the best rate; None if unknown.
    """
    local = fit.local
    if local is None or fit.best_index is None:
        return None
    cell, best = fit.cell, fit.best_index
    mean_R = cell.mean()
    with np.errstate(invalid="ignore"):
        unstable_R = cell.some_diverged() | (mean_R > UNSTABLE * mean_R[best])
    above = np.flatnonzero(unstable_R[best + 1 :])
    end = best + 1 + int(above[0]) if above.size else len(cell.x)
    stable = max(index for index in range(best, end) if np.isfinite(mean_R[index]))
    low = float(cell.x[stable]) - local.parabola.x
    high = float(cell.x[end]) - local.parabola.x if above.size else math.inf
    half = 0.0
    if noise is not None:
        found = contrast([local], [1.0], noise, level=level).total
        half = found.high - found.estimate
    estimate = (low + high) / 2 if above.size else low
    return Headroom(
        largest_stable=cell.rates[stable],
        first_unstable=cell.rates[end] if above.size else None,
        octaves=Interval(estimate, low - half, high + half),
    )
