"""The relative loss given up at the largest width by keeping the base width's best rate.

    d = x_base - x_largest,        regret(d) = L(x_largest + d) / L(x_largest) - 1

The interval of d (pooled noise, and the fit's shape error) is carried through the largest width's loss curve. The
curve's own noise, sigma_a relative to its curvature, is joined to it by the method of variance estimates recovery:

    low = r - sqrt((r - r_low)^2 + (t sigma_a r)^2 / S),       high likewise,

with r the estimate and r_low, r_high the extremes of the curve over the interval of d. Without the second term the
interval of a regret near one per cent covers too rarely.

Where the largest width's best rate is at an edge of its grid, a lower bound can still be stated: its true minimum is
at most the loss at that edge. The bound is the smallest excess over the edge, over every seed and the whole interval of
the kept rate.

Source: Zou and Donner, Construction of confidence limits about effect measures, Statistics in Medicine 27 (2008).
"""

import math

import numpy as np

from widthwise.analysis.loss_curve import LossCurve, loss_curve, seed_curve
from widthwise.analysis.noise import Noise, contrast, student_quantile
from widthwise.analysis.optimum import CellFit, LocalFit
from widthwise.analysis.polynomial import Minimum
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
        elif best.parabola.value > 0:
            offset = contrast([kept, best], [1.0, -1.0], noise, level=level).total
            curve = loss_curve(largest, largest.best_index)
            bend = student_quantile(level, noise.degrees_of_freedom) * noise.bend / math.sqrt(best.seeds)
            loss = _excess(curve, best.parabola, offset, bend)
    return Regret(*widths, offset=offset, loss=loss)


def plain_regret(base: CellFit, largest: CellFit) -> float | None:
    """The estimate alone, for a table whose noise is unknown; None if it has none."""
    if base.local is None or largest.local is None or largest.best_index is None:
        return None
    minimum = largest.local.parabola.value
    kept_loss = loss_curve(largest, largest.best_index).upper(np.array([base.local.parabola.x]))[0]
    return max(0.0, float(kept_loss) / minimum - 1) if minimum > 0 else None


def _excess(curve: LossCurve, best: Minimum, offset: Interval, bend: float) -> Interval:
    """The interval of the regret over an interval of the offset; `bend` is the curvature's relative half-width."""
    x_N = curve.samples(best.x + offset.low, best.x + offset.high)
    low = max(0.0, float(curve.lower(x_N).min()) / best.value - 1)
    high = max(0.0, float(curve.upper(x_N).max()) / best.value - 1)
    estimate = max(0.0, float(curve.upper(np.array([best.x + offset.estimate]))[0]) / best.value - 1)
    if math.isinf(estimate):
        return Interval(estimate, low if math.isinf(low) else low * max(0.0, 1 - bend), high)
    return Interval(
        estimate,
        max(0.0, estimate - math.hypot(estimate - low, bend * estimate)),
        estimate + math.hypot(high - estimate, bend * estimate),
    )


def _bound_from_edge(
    base: LocalFit, largest: CellFit, best: int, noise: Noise, *, level: float
) -> Interval | None:
    """A lower bound of the regret where the largest width's best rate is at an edge; None if there is none.

    The fit's common error does not cancel in a single optimum, so the base cell's own difference of fits is added.
    """
    kept = contrast([base], [1.0], noise, level=level).total
    low, high = kept.low - abs(base.difference), kept.high + abs(base.difference)
    edge = float(largest.cell.x[best])
    inside = {CellStatus.EDGE_LOW: low > edge, CellStatus.EDGE_HIGH: high < edge}
    edge_S = largest.cell.loss[:, best]
    if not inside.get(largest.status, False) or not (edge_S > 0).all():
        return None
    bounds: list[float] = []
    for seed, at_edge in enumerate(edge_S):
        curve = seed_curve(largest, best, seed)
        bounds.append(float(curve.lower(curve.samples(low, high)).min() / at_edge) - 1)
    bound = max(0.0, min(bounds))
    return Interval(bound, bound, math.inf)
