"""The best learning rate of one cell, from two local fits of the seed-mean loss against x = log2(rate).

Around the rate of lowest mean loss, `PARABOLA_OCTAVES` to each side (at least one rate each side) are fitted by a
parabola and `CUBIC_OCTAVES` to each side (two rates where there are two, four in all) by a cubic. On a grid of
factors of 2 these are 3 and 5 points.

**The parabola's minimum is the one used; the cubic's says how far the method may be off.** Simulated on three widths,
two seeds, a grid of factors of 2 and curves from symmetric to three times as steep above as below (the numbers are in
`benchmarks/results/interval_coverage.json`): a parabola over the five points is the least noisy but is pulled towards
the flat side by 0.25 to 0.6 octaves, and by how much depends on where the optimum lies between two grid points, so the
pull does not cancel between widths. The five-point cubic has no mean bias but moves with the grid as much as that
parabola, and is as noisy as a three-point parabola, whose remaining bias is a quarter as large and nearly the same in
every cell. The mean of the two inherits the worse of each.

A rate at which any seed diverged cannot be an optimum and is in no fit. If the rate just above the best one is such a
rate, the best is the highest that trained: an edge, whatever the fits would say.
"""

from dataclasses import dataclass

import numpy as np

from widthwise.analysis.cell import Cell, Floats
from widthwise.analysis.polynomial import Minimum, polynomial_minimum
from widthwise.analysis.result import CellStatus

PARABOLA_OCTAVES = 1.0
CUBIC_OCTAVES = 2.0
CUBIC_POINTS = 4
ROUNDING = 1e-6  # rates such as 0.1 * 2^k are a factor of 2 apart only up to rounding


@dataclass(frozen=True)
class CellFit:
    """A cell's optimum with what the pooled noise needs.

    Args:
        best_index: the rate of lowest mean loss; None if no rate trained.
        parabola: the minimum that is used; None unless the status is `bracketed`, like the rest.
        cubic: the minimum of the other fit.
        seeds: how many seeds are in the fits: those that trained at every rate of the cubic's window.
        shift_S: each of these seeds' deviation of the optimum, in octaves.
        bend_S: each of these seeds' relative deviation of the curvature.
        identity: equal for two cells that are the same runs.
    """

    cell: Cell
    status: CellStatus
    best_index: int | None
    parabola: Minimum | None = None
    cubic: Minimum | None = None
    parabola_window: tuple[float, float] | None = None
    seeds: int = 0
    shift_S: Floats | None = None
    bend_S: Floats | None = None
    identity: object = None


def fit_cell(cell: Cell) -> CellFit:
    """Find the optimum of one cell, or say why there is none.

    Args:
        cell: its runs.

    Returns:
        A fit whose status is `bracketed`, or one without minima.
    """
    mean_R = cell.mean_R
    usable = [int(index) for index in np.flatnonzero(np.isfinite(mean_R))]
    if not usable:
        return CellFit(cell, CellStatus.UNRESOLVED, None)
    best = min(usable, key=lambda index: mean_R[index])
    end = _first_diverged_above(cell, best)
    if best == usable[0]:
        return CellFit(cell, CellStatus.EDGE_LOW, best)
    usable = [index for index in usable if index < end]
    if best == usable[-1]:
        return CellFit(cell, CellStatus.EDGE_HIGH, best)
    return _fit_bracketed(cell, usable, best)


def _first_diverged_above(cell: Cell, best: int) -> int:
    """Index of the lowest rate above the best one at which any seed diverged."""
    above = np.flatnonzero(cell.diverged_SxR.any(axis=0))
    above = above[above > best]
    return int(above[0]) if above.size else len(cell.rates)


def _fit_bracketed(cell: Cell, usable: list[int], best: int) -> CellFit:
    x_U = cell.x_R[usable]
    centre = usable.index(best)
    narrow = _window(x_U, centre, octaves=PARABOLA_OCTAVES, each_side=1, points=3)
    wide = _window(x_U, centre, octaves=CUBIC_OCTAVES, each_side=2, points=CUBIC_POINTS)
    loss_SxU = cell.loss_SxR[:, usable]
    complete_S = np.isfinite(loss_SxU[:, wide]).all(axis=1)
    unresolved = CellFit(cell, CellStatus.UNRESOLVED, best)
    if wide.stop - wide.start < CUBIC_POINTS or not complete_S.any():
        return unresolved
    loss_SxU = loss_SxU[complete_S]
    mean_U = loss_SxU.mean(axis=0)
    parabola = polynomial_minimum(x_U[narrow], mean_U[narrow], degree=2)
    cubic = polynomial_minimum(x_U[wide], mean_U[wide], degree=3)
    if parabola is None or cubic is None:
        return unresolved
    deviation_SxN = (loss_SxU - mean_U)[:, narrow]
    return CellFit(
        cell=cell,
        status=CellStatus.BRACKETED,
        best_index=best,
        parabola=parabola,
        cubic=cubic,
        parabola_window=(float(x_U[narrow][0]), float(x_U[narrow][-1])),
        seeds=int(complete_S.sum()),
        shift_S=deviation_SxN @ parabola.shift_R,
        bend_S=deviation_SxN @ parabola.curvature_R / parabola.curvature,
        identity=_identity(cell, np.flatnonzero(complete_S), [usable[i] for i in range(wide.start, wide.stop)]),
    )


def _window(x_U: Floats, centre: int, *, octaves: float, each_side: int, points: int) -> slice:
    """Rates within some octaves of the centre, at least so many each side and in all where there are as many."""
    near = np.flatnonzero(np.abs(x_U - x_U[centre]) <= octaves + ROUNDING)
    low = max(0, min(int(near[0]), centre - each_side))
    high = min(len(x_U), max(int(near[-1]), centre + each_side) + 1)
    while high - low < min(points, len(x_U)):
        low, high = max(0, low - 1), min(len(x_U), high + 1)
    return slice(low, high)


def _identity(cell: Cell, seeds: "np.ndarray", indices: list[int]) -> object:
    """The fitted runs: by name where all have one, else by width, rate, seed and loss to the last digit."""
    pairs = [(int(s), r) for s in seeds for r in indices]
    if all(pair in cell.runs for pair in pairs):
        return frozenset(cell.runs[pair] for pair in pairs)
    return cell.width, frozenset((cell.seeds[s], cell.rates[r], float(cell.loss_SxR[s, r])) for s, r in pairs)
