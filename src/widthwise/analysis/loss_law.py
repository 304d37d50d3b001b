"""The loss at the best rate as a power law of the width that levels off.

    L(n) = floor + amplitude (n / n_0)^(-alpha),      floor >= 0,  amplitude >= 0,  alpha in [ALPHA_LOW, ALPHA_HIGH]

by least squares, n_0 the smallest width. For a fixed alpha the law is linear in the rest, so only alpha is searched: a
grid, refined around its best point. Everything is done for B sets of losses at once, which is what a bootstrap needs.

Three widths determine the law whatever the losses are; where the losses do not bend, its floor or its alpha runs to a
bound, and the law says so.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis.cell import Floats

ALPHA_LOW, ALPHA_HIGH = 0.02, 4.0
_GRID = 41
_REFINEMENTS = 6
_FINER = 9


@dataclass(frozen=True)
class LossLaws:
    """B laws.

    Args:
        floor: the loss at infinite width [B].
        amplitude: what the smallest width has above it [B].
        alpha: the exponent [B]; without a meaning where the amplitude is 0.
        smallest: the width n_0.
    """

    floor: Floats
    amplitude: Floats
    alpha: Floats
    smallest: int

    def values(self, widths: tuple[int, ...]) -> Floats:
        """The laws at some widths [B, C]."""
        log_C = np.log2(np.array(widths) / self.smallest)
        return self.floor[:, None] + self.amplitude[:, None] * 2.0 ** (-self.alpha[:, None] * log_C)

    def at_bound(self) -> dict[str, NDArray[np.bool_]]:
        """For each bound, in words, which of the laws lie at it [B]."""
        flat_B = self.amplitude <= 0
        return {
            "the loss does not fall with the width": flat_B,
            "the loss at infinite width is at its bound, 0": (self.floor <= 0) & ~flat_B,
            f"alpha is at its lower bound, {ALPHA_LOW}": (self.alpha <= ALPHA_LOW * 1.001) & ~flat_B,
            f"alpha is at its upper bound, {ALPHA_HIGH:g}": (self.alpha >= ALPHA_HIGH / 1.001) & ~flat_B,
        }


def fit_loss_laws(widths: tuple[int, ...], loss_BxC: Floats) -> LossLaws:
    """Fit B laws.

    Args:
        widths: C of them, ascending, three or more.
        loss_BxC: losses at the best rate.

    Example:
        >>> found = fit_loss_laws((64, 128, 256, 512), np.array([[3.0, 2.5, 2.25, 2.125]]))
        >>> [round(float(value[0]), 4) for value in (found.floor, found.amplitude, found.alpha)]
        [2.0, 1.0, 1.0]
    """
    assert len(widths) >= 3
    log_C = np.log2(np.array(widths, dtype=np.float64) / widths[0])
    grid_G = np.geomspace(ALPHA_LOW, ALPHA_HIGH, _GRID)
    low_B, high_B = np.full(len(loss_BxC), ALPHA_LOW), np.full(len(loss_BxC), ALPHA_HIGH)
    alpha_BxG = np.broadcast_to(grid_G, (len(loss_BxC), _GRID))
    alpha_B = low_B
    for _ in range(_REFINEMENTS + 1):
        error_BxG = _fit(log_C, loss_BxC, alpha_BxG)[2]
        best_B = error_BxG.argmin(axis=1)
        rows_B = np.arange(len(best_B))
        low_B = alpha_BxG[rows_B, np.maximum(best_B - 1, 0)]
        high_B = alpha_BxG[rows_B, np.minimum(best_B + 1, alpha_BxG.shape[1] - 1)]
        alpha_B = alpha_BxG[rows_B, best_B]
        alpha_BxG = np.linspace(low_B, high_B, _FINER, axis=1)
    floor_BxG, amplitude_BxG, _ = _fit(log_C, loss_BxC, alpha_B[:, None])
    return LossLaws(floor_BxG[:, 0], amplitude_BxG[:, 0], alpha_B, widths[0])


def _fit(log_C: Floats, loss_BxC: Floats, alpha_BxG: Floats) -> tuple[Floats, Floats, Floats]:
    """Floor, amplitude and squared error of the best law for each alpha [B, G]."""
    z_BxGxC = np.exp2(-alpha_BxG[..., None] * log_C)
    z_mean, y_mean = z_BxGxC.mean(axis=-1), loss_BxC.mean(axis=-1, keepdims=True)
    centred = z_BxGxC - z_mean[..., None]
    amplitude = np.einsum("bgc,bc->bg", centred, loss_BxC) / np.einsum("bgc,bgc->bg", centred, centred)
    floor = y_mean - amplitude * z_mean
    through_zero = np.einsum("bgc,bc->bg", z_BxGxC, loss_BxC) / np.einsum("bgc,bgc->bg", z_BxGxC, z_BxGxC)
    amplitude = np.where(floor < 0, through_zero, amplitude)
    floor = np.where(floor < 0, 0.0, floor)
    floor = np.where(amplitude < 0, y_mean, floor)
    amplitude = np.maximum(amplitude, 0.0)
    miss = floor[..., None] + amplitude[..., None] * z_BxGxC - loss_BxC[:, None, :]
    return floor, amplitude, np.einsum("bgc,bgc->bg", miss, miss)
