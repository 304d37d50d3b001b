"""A cell: all runs of one prescription at one width, as an array of losses over rates and seeds.

S seeds, R rates, x = log2(rate).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis.observation import Observation
from widthwise.analysis.result import RatePoint

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """The runs of one (prescription, width).

    Args:
        x_R: log2 of the rates, ascending.
        loss_SxR: losses; NaN where the run diverged or was not made.
        diverged_SxR: where a run was made and has no loss.
        runs: what identifies each run, by (seed, rate index), where known.
    """

    prescription: str
    width: int
    rates: tuple[float, ...]
    x_R: Floats
    seeds: tuple[int, ...]
    loss_SxR: Floats
    diverged_SxR: NDArray[np.bool_]
    runs: dict[tuple[int, int], str]

    @property
    def mean_R(self) -> Floats:
        """Mean loss over seeds at each rate; NaN unless some seed trained there and none diverged."""
        trained_SxR = np.isfinite(self.loss_SxR)
        count_R = trained_SxR.sum(axis=0)
        usable_R = (count_R > 0) & ~self.diverged_SxR.any(axis=0)
        total_R = np.where(trained_SxR, self.loss_SxR, 0.0).sum(axis=0)
        return np.where(usable_R, total_R / np.maximum(count_R, 1), np.nan)


def make_cell(observations: Sequence[Observation]) -> Cell:
    """Arrange the observations of one (prescription, width) by seed and rate."""
    first = observations[0]
    rates = tuple(sorted({o.rate for o in observations}))
    seeds = tuple(sorted({o.seed for o in observations}))
    rate_index = {rate: index for index, rate in enumerate(rates)}
    seed_index = {seed: index for index, seed in enumerate(seeds)}
    loss_SxR = np.full((len(seeds), len(rates)), np.nan)
    diverged_SxR = np.zeros(loss_SxR.shape, dtype=np.bool_)
    runs: dict[tuple[int, int], str] = {}
    for o in observations:
        s, r = seed_index[o.seed], rate_index[o.rate]
        if o.loss is None:
            diverged_SxR[s, r] = True
        else:
            loss_SxR[s, r] = o.loss
        if o.run is not None:
            runs[s, r] = o.run
    return Cell(
        prescription=first.prescription,
        width=first.width,
        rates=rates,
        x_R=np.log2(np.array(rates)),
        seeds=seeds,
        loss_SxR=loss_SxR,
        diverged_SxR=diverged_SxR,
        runs=runs,
    )


def rate_points(cell: Cell) -> tuple[RatePoint, ...]:
    """What each rate gave: mean, lowest and highest loss over the seeds that trained, and how many did."""
    points: list[RatePoint] = []
    for index, rate in enumerate(cell.rates):
        loss_S = cell.loss_SxR[:, index]
        loss_S = loss_S[np.isfinite(loss_S)]
        points.append(
            RatePoint(
                rate=rate,
                loss=float(loss_S.mean()) if loss_S.size else None,
                low=float(loss_S.min()) if loss_S.size else None,
                high=float(loss_S.max()) if loss_S.size else None,
                trained=int(loss_S.size),
                diverged=int(cell.diverged_SxR[:, index].sum()),
            )
        )
    return tuple(points)
