"""The loss of a cell's seeds at its optimum, of seeds that ran the best rate alone too.

L_s is the loss of a seed at the best rate, moved to the optimum by what the fit says lies between. A sweep searches
with one seed and repeats at the optimum with others; their losses count here as much as the first one's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from widthwise.analysis.cell import Floats
from widthwise.analysis.optimum import CellFit, LocalFit


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
        cell, best = self.cell.cell, self._best
        loss_S = cell.loss[:, best]
        gap = self.local.loss - float(np.mean(loss_S[list(self.local.rows)]))
        return {
            seed: float(loss) + gap
            for seed, loss in zip(cell.seeds, loss_S, strict=True)
            if np.isfinite(loss)
        }

    @property
    def fitted_seeds(self) -> tuple[int, ...]:
        """The seeds that ran every rate of the fits."""
        return tuple(self.cell.cell.seeds[row] for row in self.local.rows)

    def variance_factor(self, seeds: int) -> float:
        """f, for a mean over so many seeds."""
        at = self.local.rates.index(self._best)
        weights_N: Floats = np.array(self.local.level.level)
        weights_N[at] -= 1
        return 1 / seeds + float(weights_N @ weights_N) / self.local.seeds + 2 * float(weights_N[at]) / seeds

    @property
    def _best(self) -> int:
        assert self.cell.best_index is not None
        return self.cell.best_index
