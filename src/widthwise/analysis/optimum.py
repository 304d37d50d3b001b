"""The best learning rate of one cell, from two local fits of the seed-mean loss against x = log2(rate).

Around the rate of lowest mean loss, `PARABOLA_OCTAVES` to each side (at least one rate each side) are fitted by a
parabola and `CUBIC_OCTAVES` to each side (two rates where there are two, four in all) by a cubic. On a grid of
factors of 2 these are 3 and 5 points. Both end before a rate whose loss is above `UNSTABLE` times the best, as far as
these numbers of points allow: where training breaks down the loss jumps, and no polynomial says anything of it.

**The loss at the optimum** is that of a parabola over `LEVEL_OCTAVES` to each side, which on a grid of factors of 2 is
the same one. On a finer grid a parabola that reaches an octave up the steep side passes below every loss that was
measured: on curves as they were measured and a grid of 2^0.5 its differences of losses err nine times as much
(`benchmarks/results/fine_grids.json`).

**The parabola's minimum is the one used; the cubic's says how far the method may be off.** Simulated on three widths,
two seeds and a grid of factors of 2 (`benchmarks/results/interval_coverage.json`): where the loss grows faster above
the best rate than below, a parabola over five points is pulled to the flat side by 0.25 to 0.6 octaves, and by how
much depends on where the optimum lies between two grid points, so that the pull does not cancel between widths. A cubic
has no mean bias there but moves with the grid as much, and their mean inherits both. Over three points the parabola's
pull is a quarter as large and nearly the same in every cell: with little noise its exponent has about half the error of
the others'. The price is noise: on an exact parabola three points err three times as much as five, like the cubic.
Where the curvature jumps at the best rate itself the cubic is better, and the spread between the two covers it.

A rate at which any seed diverged cannot be an optimum and is in no fit, nor is one above the first such rate above the
best. If the rate just above the best one is such a rate, the best is the highest that trained: an edge, whatever the
fits would say. So it is where the best loss is above `UNSTABLE` times its fit's minimum: the next rate broke down
without diverging, and the parabola through it lies below everything that was measured.
"""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis.cell import Cell, Floats
from widthwise.analysis.polynomial import Minimum, polynomial_minimum
from widthwise.analysis.result import CellStatus

PARABOLA_OCTAVES = 1.0
LEVEL_OCTAVES = 0.5
CUBIC_OCTAVES = 1.0
CUBIC_POINTS = 4
UNSTABLE = 1.2
"""The multiple of the best loss above which a rate counts as unstable: where the paper's sweeps end."""
ROUNDING = 0.02  # octaves: rates such as 0.00141 and 0.00283 are a factor of 2 apart only up to rounding


@dataclass(frozen=True)
class LocalFit:
    """A bracketed optimum: the two fits and the seeds behind them.

    Args:
        parabola: its minimum is the one that is used.
        cubic: the minimum of the other fit.
        level: the minimum whose value is the loss at the optimum.
        window: the lowest and highest x of the parabola's fit.
        rates: the indices of `level`'s rates in the cell.
        rows: the indices of the seeds in the fits.
        seeds: how many seeds are in the fits: those that trained at every rate of the cubic's window.
        shifts: each of these seeds' deviation of the optimum, in octaves.
        bends: each of these seeds' relative deviation of the parabola's curvature.
        levels: each of these seeds' deviation of the loss at the optimum.
        scatter: deviations of a rate's seeds from their mean, at the rates of the parabola that several seeds ran.
        scatter_freedom: degrees of freedom of `scatter`.
        identity: equal for two cells whose fits are of the same runs.
    """

    parabola: Minimum
    cubic: Minimum
    level: Minimum
    window: tuple[float, float]
    rates: tuple[int, ...]
    rows: tuple[int, ...]
    seeds: int
    shifts: Floats
    bends: Floats
    levels: Floats
    scatter: Floats
    scatter_freedom: int
    identity: Hashable

    @property
    def loss(self) -> float:
        """The loss at the optimum."""
        return self.level.value

    @property
    def loss_difference(self) -> float:
        """By how much that loss lies above the cubic's."""
        return self.level.value - self.cubic.value

    @property
    def difference(self) -> float:
        """By how many octaves the parabola's minimum lies above the cubic's."""
        return self.parabola.x - self.cubic.x


@dataclass(frozen=True)
class CellFit:
    """A cell with its optimum.

    Args:
        best_index: the rate of lowest mean loss; None if no rate trained with every seed.
        local: the optimum; None unless the status is `bracketed`.
    """

    cell: Cell
    status: CellStatus
    best_index: int | None
    local: LocalFit | None = None


def fit_cell(cell: Cell) -> CellFit:
    """Find the optimum of one cell, or say by the status why there is none."""
    mean_R = cell.mean()
    usable = [int(index) for index in np.flatnonzero(np.isfinite(mean_R))]
    if not usable:
        return CellFit(cell, CellStatus.UNRESOLVED, None)
    best = min(usable, key=lambda index: mean_R[index])
    if best == usable[0]:
        return CellFit(cell, CellStatus.EDGE_LOW, best)
    end = first_diverged_above(cell.some_diverged(), best)
    usable = [index for index in usable if index < end]
    if best == usable[-1]:
        return CellFit(cell, CellStatus.EDGE_HIGH, best)
    local = _fit_bracketed(cell, usable, best)
    if local is not None and mean_R[best] > UNSTABLE * local.loss > 0:
        return CellFit(cell, CellStatus.EDGE_HIGH, best)
    return CellFit(cell, CellStatus.BRACKETED if local else CellStatus.UNRESOLVED, best, local)


def first_diverged_above(diverged_R: NDArray[np.bool_], best: int) -> int:
    """Index of the lowest diverged rate above the best one; the number of rates if there is none."""
    above = np.flatnonzero(diverged_R[best + 1 :])
    return best + 1 + int(above[0]) if above.size else len(diverged_R)


def _fit_bracketed(cell: Cell, usable: list[int], best: int) -> LocalFit | None:
    """Both fits over the usable rates, or None if one of them has no minimum."""
    x_U = cell.x[usable]
    centre = usable.index(best)
    stable_U = cell.mean()[usable] <= UNSTABLE * cell.mean()[usable[centre]]
    nearest = _window(x_U, centre, octaves=LEVEL_OCTAVES, each_side=1, points=3)
    narrow = _window(x_U, centre, octaves=PARABOLA_OCTAVES, each_side=1, points=3)
    wide = _window(x_U, centre, octaves=CUBIC_OCTAVES, each_side=2, points=CUBIC_POINTS)
    nearest, narrow = (_without_walls(window, stable_U, centre, points=3) for window in (nearest, narrow))
    wide = _without_walls(wide, stable_U, centre, points=CUBIC_POINTS)
    loss_SxU = cell.loss[:, usable]
    complete_S = np.isfinite(loss_SxU[:, wide]).all(axis=1)
    if wide.stop - wide.start < CUBIC_POINTS or not complete_S.any():
        return None
    loss_SxU = loss_SxU[complete_S]
    mean_U = loss_SxU.mean(axis=0)
    parabola = polynomial_minimum(x_U[narrow], mean_U[narrow], degree=2)
    cubic = polynomial_minimum(x_U[wide], mean_U[wide], degree=3)
    level = polynomial_minimum(x_U[nearest], mean_U[nearest], degree=2)
    if parabola is None or cubic is None or level is None:
        return None
    deviation_SxU = loss_SxU - mean_U
    deviation_SxN = deviation_SxU[:, narrow]
    fitted = [usable[index] for index in range(wide.start, wide.stop)]
    scatter, scatter_freedom = _scatter(cell.loss[:, usable[narrow]])
    return LocalFit(
        parabola=parabola,
        cubic=cubic,
        level=level,
        window=(float(x_U[narrow][0]), float(x_U[narrow][-1])),
        rates=tuple(usable[nearest]),
        rows=tuple(int(s) for s in np.flatnonzero(complete_S)),
        seeds=int(complete_S.sum()),
        shifts=deviation_SxN @ parabola.shift,
        bends=deviation_SxN @ parabola.bend / parabola.curvature,
        levels=deviation_SxU[:, nearest] @ level.level,
        scatter=scatter,
        scatter_freedom=scatter_freedom,
        identity=_identity(cell, [(int(s), r) for s in np.flatnonzero(complete_S) for r in fitted]),
    )


def _scatter(loss_SxN: Floats) -> tuple[Floats, int]:
    """Deviations from each rate's mean over the seeds that ran it, and their degrees of freedom."""
    columns = [column[np.isfinite(column)] for column in loss_SxN.T]
    several = [column - column.mean() for column in columns if column.size > 1]
    if not several:
        return np.zeros(0), 0
    return np.concatenate(several), sum(column.size - 1 for column in several)


def _window(x_U: Floats, centre: int, *, octaves: float, each_side: int, points: int) -> slice:
    """Rates within some octaves of the centre, at least so many each side and in all where there are as many."""
    near = np.flatnonzero(np.abs(x_U - x_U[centre]) <= octaves + ROUNDING)
    low = max(0, min(int(near[0]), centre - each_side))
    high = min(len(x_U), max(int(near[-1]), centre + each_side) + 1)
    while high - low < min(points, len(x_U)):
        low, high = max(0, low - 1), min(len(x_U), high + 1)
    return slice(low, high)


def _without_walls(window: slice, stable_U: NDArray[np.bool_], centre: int, *, points: int) -> slice:
    """The window without what lies beyond an unstable rate, as long as so many points and both neighbours are left."""
    low, high = window.start, window.stop
    while high - low > points and high > centre + 2 and not stable_U[centre:high].all():
        high -= 1
    while high - low > points and low < centre - 1 and not stable_U[low:centre].all():
        low += 1
    return slice(low, high)


def _identity(cell: Cell, pairs: list[tuple[int, int]]) -> Hashable:
    """The fitted runs (seed, rate): by name if all have one, else by width and all digits of the losses."""
    if all(pair in cell.runs for pair in pairs):
        return frozenset(cell.runs[pair] for pair in pairs)
    return cell.width, frozenset((cell.seeds[s], cell.rates[r], float(cell.loss[s, r])) for s, r in pairs)
