"""The loss of one cell as a function of x = log2(rate), between and beyond the rates that were run.

Inside the parabola's window it rises from the loss at the optimum (`optimum`) as the parabola does; outside it is a
monotone (PCHIP) interpolation of the seed means, which adds no minima of its own. Beyond the rates that trained the
loss is unknown: its upper value is infinite; its lower value is that of the last rate that trained, and infinite from
the first rate at which every seed diverged.

Source: Fritsch and Carlson, Monotone piecewise cubic interpolation, SIAM J. Numer. Anal. 17 (1980).
"""

from dataclasses import dataclass

import numpy as np

from widthwise.analysis.cell import Cell, Floats
from widthwise.analysis.optimum import LocalFit, first_diverged_above

SAMPLES = 129


@dataclass(frozen=True)
class LossCurve:
    """A cell's loss curve, its rates ascending.

    Args:
        x: the rates that trained, up to the first above the best one that did not [R].
        loss: their losses [R].
        diverged_from: log2 of the first rate above them at which every seed diverged; infinite if none did.
        fit: the cell's optimum, whose parabola holds inside its window.
    """

    x: Floats
    loss: Floats
    diverged_from: float
    fit: LocalFit

    def lower(self, x_N: Floats) -> Floats:
        """The least the loss can be."""
        return np.where(x_N >= self.diverged_from, np.inf, self._inside(np.clip(x_N, self.x[0], self.x[-1])))

    def upper(self, x_N: Floats) -> Floats:
        """The most the loss can be; equal to `lower` where it is known."""
        known_N = (x_N >= self.x[0]) & (x_N <= self.x[-1])
        return np.where(known_N, self.lower(x_N), np.inf)

    def samples(self, low: float, high: float) -> Floats:
        """Positions between two rates at which to look for the extremes: evenly spaced ones, knots and the vertex."""
        special = [*self.x, self.diverged_from, self.fit.parabola.x]
        inside = [x for x in special if low <= x <= high and np.isfinite(x)]
        return np.unique(np.concatenate([np.linspace(low, high, SAMPLES), inside]))

    def _inside(self, x_N: Floats) -> Floats:
        from scipy.interpolate import PchipInterpolator

        interpolated_N = np.asarray(PchipInterpolator(self.x, self.loss)(x_N))
        parabola, (low, high) = self.fit.parabola, self.fit.window
        fitted_N = self.fit.loss + parabola.curvature / 2 * (x_N - parabola.x) ** 2
        return np.where((x_N >= low) & (x_N <= high), fitted_N, interpolated_N)


def loss_curve(cell: Cell, local: LocalFit) -> LossCurve:
    """The curve of a cell around its optimum."""
    best = int(np.searchsorted(cell.x, local.window[1]))  # no rate from the best one to here diverged
    mean_R = cell.mean()
    end = first_diverged_above(cell.some_diverged(), best)
    known = [index for index in range(end) if np.isfinite(mean_R[index])]
    dead_R = cell.some_diverged() & ~np.asarray(np.isfinite(cell.loss).any(axis=0))
    dead = first_diverged_above(dead_R, best)
    return LossCurve(
        x=cell.x[known],
        loss=mean_R[known],
        diverged_from=float(cell.x[dead]) if dead < len(cell.x) else np.inf,
        fit=local,
    )
