"""The relative loss given up at the largest width by keeping the base width's best rate.

    d = x_base - x_largest,        regret(d) = L(x_largest + d) / L(x_largest) - 1

L is of the seeds that ran every rate of the fits, and L(x_largest) their loss at the optimum (`optimum`): what sets
these seeds apart from others at the best rate alone cancels.
The interval of d (pooled noise, and the fit's shape error) is carried through the largest width's loss curve. The
curve's own noise, sigma_a relative to its curvature, is joined to it by the method of variance estimates recovery:

    low = r - sqrt((r - r_low)^2 + (t sigma_a r_a)^2 / S),       high likewise,

with r the estimate, r_low and r_high the extremes of the curve over the interval of d, and r_a the part of r that lies
on the parabola: r itself, but no more than at the end of the parabola's window, because losses beyond it are as noisy
as those inside, not more. Without the second term the interval of a regret near one per cent covers too rarely.

Where the largest width's best rate is at an edge of its grid, a lower bound can still be stated: its true minimum is
at most the loss at that edge, and the loss grows from there to the kept rate. The bound is the excess over the edge of
the last rate that was run before the kept rate's interval begins, in the seed where it is smallest.

Source: Zou and Donner, Construction of confidence limits about effect measures, Statistics in Medicine 27 (2008).
"""

import math

import numpy as np

from widthwise.analysis.loss_curve import LossCurve, loss_curve
from widthwise.analysis.noise import Noise, contrast, student_quantile
from widthwise.analysis.optimum import CellFit, LocalFit
from widthwise.analysis.result import CellStatus, Interval, Regret


def loss_given_up(base: CellFit, largest: CellFit, noise: Noise | None, *, level: float) -> Regret:
    """The regret of keeping the base cell's best rate at the largest width.

    Args:
        base: the cell whose best rate is kept.
        largest: the cell it is kept in.
        noise: pooled over the table; None if unknown, and then there is no interval.
        level: of the intervals.

    Returns:
        Offset and loss; both None if the noise is unknown, the base cell has no optimum, or the loss is not positive.
        At an edge of the largest width's grid there is no offset, and the loss has an infinite upper bound.
    """
    widths = base.cell.width, largest.cell.width
    kept, best = base.local, largest.local
    offset = loss = None
    if noise is not None and kept is not None and largest.best_index is not None:
        if best is None:
            loss = _bound_from_edge(kept, largest, largest.best_index, noise, level=level)
        elif best.loss > 0:
            offset = contrast([kept, best], [1.0, -1.0], noise, level=level).total
            curve = loss_curve(largest.cell, best)
            bend = student_quantile(level, noise.degrees_of_freedom) * noise.bend / math.sqrt(best.seeds)
            loss = _excess(curve, best, offset, bend)
    return Regret(*widths, offset=offset, loss=loss)


def plain_regret(base: CellFit, largest: CellFit) -> float | None:
    """The estimate alone, for a table whose noise is unknown; None if it has none."""
    if base.local is None or largest.local is None or largest.local.loss <= 0:
        return None
    kept_loss = loss_curve(largest.cell, largest.local).upper(np.array([base.local.parabola.x]))[0]
    return max(0.0, float(kept_loss) / largest.local.loss - 1)


def _excess(curve: LossCurve, best: LocalFit, offset: Interval, bend: float) -> Interval:
    """The interval of the regret over an interval of the offset; `bend` is the curvature's relative half-width."""
    least = best.parabola
    x_N = curve.samples(least.x + offset.low, least.x + offset.high)
    low = max(0.0, float(curve.lower(x_N).min()) / best.loss - 1)
    high = max(0.0, float(curve.upper(x_N).max()) / best.loss - 1)
    kept = least.x + offset.estimate
    estimate = max(0.0, float(curve.upper(np.array([kept]))[0]) / best.loss - 1)
    end = best.window[0] if offset.estimate < 0 else best.window[1]
    by_parabola = least.curvature / 2 * (end - least.x) ** 2 / best.loss
    slack = bend * min(estimate, by_parabola)
    if math.isinf(estimate):
        return Interval(estimate, max(0.0, low - slack), high)
    return Interval(
        estimate,
        max(0.0, estimate - math.hypot(estimate - low, slack)),
        estimate + math.hypot(high - estimate, slack),
    )


def _bound_from_edge(
    base: LocalFit, largest: CellFit, best: int, noise: Noise, *, level: float
) -> Interval | None:
    """A lower bound of the regret where the largest width's best rate is at an edge; None if there is none.

    The fit's common error does not cancel in a single optimum, so the base cell's own difference of fits is added.
    """
    kept = contrast([base], [1.0], noise, level=level).total
    low, high = kept.low - abs(base.difference), kept.high + abs(base.difference)
    cell = largest.cell
    made_R = np.asarray((np.isfinite(cell.loss) | cell.diverged).all(axis=0))
    if largest.status is CellStatus.EDGE_LOW:
        between = np.flatnonzero(made_R & (cell.x <= low) & (cell.x > cell.x[best]))[::-1]
    else:
        between = np.flatnonzero(made_R & (cell.x >= high) & (cell.x < cell.x[best]))
    edge_S = cell.loss[:, best]
    if largest.status is CellStatus.UNRESOLVED or not between.size or not (edge_S > 0).all():
        return None
    kept_S = cell.loss[:, between[0]]
    bound = float(np.where(np.isfinite(kept_S), kept_S / edge_S - 1, np.inf).min())
    return Interval(max(0.0, bound), max(0.0, bound), math.inf)
