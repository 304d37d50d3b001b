"""Bootstrap samples of every cell's optimum: where it is, how sharp, how low.

A cell is a triple t = (log2 of the best rate, ln of the curvature there, the loss there). Its error has two parts, each
resampled from what all distinct cells of the group show:

    seeds    each of the cell's S_c seeds draws one seed's deviation of the triple, from the deviations of all seeds of
             all cells times sqrt(S / (S - 1)), which makes up for their mean's being fitted; the cell gets their mean
    fit      one draw from the differences between the parabola's triple and the cubic's, less their mean, which is the
             error of a grid of finite steps

Few deviations have a variance of their own, so each part is stretched by Student's t over the normal quantile at its
degrees of freedom. A run that serves several prescriptions is drawn once for all of them. Where several seeds ran some
rates of a fit and no two ran all of them, the deviations are drawn rate by rate and carried through the fit.

Source: Davison and Hinkley, Bootstrap Methods and their Application (1997), sections 2.4 and 3.3.
"""

from collections.abc import Hashable, Sequence

import numpy as np

from widthwise.analysis.cell import Floats
from widthwise.analysis.noise import Noise, distinct_fits, student_quantile
from widthwise.analysis.optimum import CellFit, LocalFit


def triple(fit: LocalFit) -> Floats:
    """log2 of the best rate, ln of the curvature in log2 of the rate, and the loss [3]."""
    return np.array([fit.parabola.x, np.log(fit.parabola.curvature), fit.loss])


class Resampler:
    """Draws deviations of triples for the cells of a group.

    Args:
        fits: all cells of one group.
        noise: of that group.
        level: of the intervals that the samples are for.
        samples: B, how many.
        seed: of the random numbers.
    """

    def __init__(
        self, fits: Sequence[CellFit], noise: Noise, *, level: float, samples: int, seed: int
    ) -> None:
        self._samples = samples
        self._rng = np.random.default_rng(seed)
        cells = distinct_fits(fits)
        normal = student_quantile(level, np.inf)
        self._stretch = student_quantile(level, noise.degrees_of_freedom) / normal
        self._seeds = _seed_pool(cells)
        self._scatter = _scatter_pool(cells)
        self._fit = _fit_pool(cells, student_quantile(level, max(len(cells) - 1, 1)) / normal)
        self._drawn: dict[Hashable, Floats] = {}

    def deviations(self, fit: LocalFit) -> Floats:
        """B deviations of a cell's triple [B, 3]; the same for equal runs."""
        if fit.identity not in self._drawn:
            self._drawn[fit.identity] = self._draw(fit)
        return self._drawn[fit.identity]

    def _draw(self, fit: LocalFit) -> Floats:
        if len(self._seeds):
            index_BxS = self._rng.integers(len(self._seeds), size=(self._samples, fit.seeds))
            seeds_Bx3 = self._seeds[index_BxS].mean(axis=1)
        else:
            least = fit.parabola
            response_3xN = np.stack([least.shift, least.bend / least.curvature, least.level])
            index_BxN = self._rng.integers(len(self._scatter), size=(self._samples, response_3xN.shape[1]))
            seeds_Bx3 = self._scatter[index_BxN] @ response_3xN.T
        index_B = self._rng.integers(len(self._fit), size=self._samples)
        return self._stretch * seeds_Bx3 + self._fit[index_B]


def _seed_pool(cells: Sequence[LocalFit]) -> Floats:
    parts = [
        np.stack([cell.shifts, cell.bends, cell.levels], axis=1) * np.sqrt(cell.seeds / (cell.seeds - 1))
        for cell in cells
        if cell.seeds > 1
    ]
    return np.concatenate(parts) if parts else np.zeros((0, 3))


def _scatter_pool(cells: Sequence[LocalFit]) -> Floats:
    parts = [cell.scatter for cell in cells if cell.scatter_freedom]
    if not parts:
        return np.zeros(0)
    pooled = np.concatenate(parts)
    return pooled * np.sqrt(len(pooled) / sum(cell.scatter_freedom for cell in cells))


def _fit_pool(cells: Sequence[LocalFit], stretch: float) -> Floats:
    if len(cells) < 2:
        return np.zeros((1, 3))
    differences = np.array(
        [
            [
                cell.difference,
                np.log(cell.parabola.curvature / cell.cubic.curvature),
                cell.loss_difference,
            ]
            for cell in cells
        ]
    )
    centred = differences - differences.mean(axis=0)
    return stretch * centred * np.sqrt(len(cells) / (len(cells) - 1))
