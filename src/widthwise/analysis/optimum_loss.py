"""The loss of a cell's seeds at its optimum, of seeds that ran the best rate alone too, and differences of two cells.

L_s is the loss of a seed at the best rate, moved to the optimum by what the fit says lies between. A sweep searches
with one seed and repeats at the optimum with others; their losses count here as much as the first one's. With G the
fit's weights at the optimum less 1 at the best rate, from S_f fitted of S seeds, the variance of their mean is that of
one seed times

    f = 1 / S + |G|^2 / S_f + 2 G_best / S

Two cells of one width share their seeds: the same initial draw, the same batches. Their difference is therefore taken
seed by seed, and its variance is that of one seed's difference times the mean of both f. Where all common seeds ran
every rate of both fits, each seed has a fit of its own and f = 1 / S. Where two common seeds or more have the very same
losses at both best rates, equal runs are compared under two names (two epsilons too small to matter, say): their
difference is what the fits make of it, without noise, and tells nothing of the pair's noise at other widths. One seed
may agree by chance.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from widthwise.analysis.cell import Floats
from widthwise.analysis.optimum import CellFit, LocalFit


@dataclass(frozen=True)
class LossDifference:
    """Loss of one cell less that of another at one width.

    Args:
        mean: over the common seeds; without one, of all seeds of either.
        deviations: of single seeds' differences from it; none where no two seeds are in common.
        factor: f, by which the variance of one seed's difference is multiplied.
        shape: by how much the difference lies above that of the cubics' values.
        paired: whether it is over common seeds.
    """

    mean: float
    deviations: Floats
    factor: float
    shape: float
    paired: bool = True

    @property
    def freedom(self) -> int:
        """Degrees of freedom of `deviations`."""
        return max(len(self.deviations) - 1, 0)

    @property
    def squares(self) -> float:
        """Their sum of squares."""
        return float(self.deviations @ self.deviations)


@dataclass(frozen=True)
class OptimumLoss:
    """A cell with an optimum.

    Args:
        cell: its runs.
        local: its optimum.
    """

    cell: CellFit
    local: LocalFit

    @cached_property
    def by_seed(self) -> Mapping[int, float]:
        """Each seed's loss at the optimum, of all seeds that trained at the best rate."""
        return {seed: loss + self._move for seed, loss in self._at_best.items()}

    @cached_property
    def _at_best(self) -> Mapping[int, float]:
        """Each seed's loss at the best rate."""
        cell = self.cell.cell
        loss_S = cell.loss[:, self._best]
        return {s: float(loss) for s, loss in zip(cell.seeds, loss_S, strict=True) if np.isfinite(loss)}

    @cached_property
    def _move(self) -> float:
        """From the fitted seeds' loss at the best rate to that at the optimum."""
        return self.local.loss - float(np.mean(self.cell.cell.loss[list(self.local.rows), self._best]))

    @property
    def fitted_seeds(self) -> tuple[int, ...]:
        """The seeds that ran every rate of the fits."""
        return tuple(self.cell.cell.seeds[row] for row in self.local.rows)

    @property
    def mean(self) -> float:
        """Over the fitted seeds where these are several, else over all."""
        if self.local.seeds > 1:
            return self.local.loss
        return math.fsum(self.by_seed.values()) / len(self.by_seed)

    @property
    def factor(self) -> float:
        """f of that mean."""
        return 1 / self.local.seeds if self.local.seeds > 1 else self.variance_factor(len(self.by_seed))

    def variance_factor(self, seeds: int) -> float:
        """f, for a mean over so many seeds."""
        at = self.local.rates.index(self._best)
        weights_N: Floats = np.array(self.local.level.level)
        weights_N[at] -= 1
        return 1 / seeds + float(weights_N @ weights_N) / self.local.seeds + 2 * float(weights_N[at]) / seeds

    def less(self, other: "OptimumLoss") -> LossDifference:
        """The difference to another cell of the same width; of cells of the same runs, nothing without noise."""
        a, b = self.local, other.local
        none = np.zeros(0)
        if a.identity == b.identity:
            return LossDifference(0.0, none, 0.0, 0.0)
        shape = a.loss_difference - b.loss_difference
        if self.fitted_seeds == other.fitted_seeds and a.seeds > 1:
            return LossDifference(a.loss - b.loss, a.levels - b.levels, 1 / a.seeds, shape)
        seeds = sorted(set(self.by_seed) & set(other.by_seed))
        if not seeds:
            return LossDifference(
                self.mean - other.mean, none, (self.factor + other.factor) / 2, shape, paired=False
            )
        if len(seeds) > 1 and all(self._at_best[seed] == other._at_best[seed] for seed in seeds):
            return LossDifference(self._move - other._move, none, 0.0, shape)
        single_S = np.array([self.by_seed[seed] - other.by_seed[seed] for seed in seeds])
        factor = (self.variance_factor(len(seeds)) + other.variance_factor(len(seeds))) / 2
        mean = float(single_S.mean())
        return LossDifference(mean, single_S - mean if len(seeds) > 1 else none, factor, shape)

    @property
    def _best(self) -> int:
        assert self.cell.best_index is not None
        return self.cell.best_index


Pair = tuple[OptimumLoss, OptimumLoss]
"""Two cells of one width."""
