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
        x: log2 of the rates, ascending [R].
        loss: losses [S, R]; NaN where the run diverged or was not made.
        diverged: where a run was made and has no loss [S, R].
        runs: what identifies each run, by (seed, rate index), where known.
    """

    prescription: str
    width: int
    rates: tuple[float, ...]
    x: Floats
    seeds: tuple[int, ...]
    loss: Floats
    diverged: NDArray[np.bool_]
    runs: dict[tuple[int, int], str]
    group: str = ""

    def some_diverged(self) -> NDArray[np.bool_]:
        """Whether any seed diverged at each rate [R]."""
        return np.asarray(self.diverged.any(axis=0))

    def mean(self) -> Floats:
        """Mean loss at each rate [R] over the seeds that ran the most rates; NaN unless one trained and none diverged.

        Seeds added at a few rates alone would lift or lower these against the others by their own offset.
        """
        made_S = (np.isfinite(self.loss) | self.diverged).sum(axis=1)
        trained_SxR = np.isfinite(self.loss) & (made_S == made_S.max())[:, None]
        count_R = trained_SxR.sum(axis=0)
        usable_R = (count_R > 0) & ~self.some_diverged()
        total_R = np.where(trained_SxR, self.loss, 0.0).sum(axis=0)
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
        x=np.log2(np.array(rates)),
        seeds=seeds,
        loss=loss_SxR,
        diverged=diverged_SxR,
        runs=runs,
        group=first.group,
    )


def rate_points(cell: Cell) -> tuple[RatePoint, ...]:
    """What each rate gave: mean, lowest and highest loss over the seeds that trained, and how many did."""
    points: list[RatePoint] = []
    for index, rate in enumerate(cell.rates):
        loss_S = cell.loss[:, index]
        loss_S = loss_S[np.isfinite(loss_S)]
        points.append(
            RatePoint(
                rate=rate,
                loss=float(loss_S.mean()) if loss_S.size else None,
                low=float(loss_S.min()) if loss_S.size else None,
                high=float(loss_S.max()) if loss_S.size else None,
                trained=int(loss_S.size),
                diverged=int(cell.diverged[:, index].sum()),
            )
        )
    return tuple(points)
