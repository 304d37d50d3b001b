"""One log gain a run: the mean over training of what was measured at many of its steps.

Alignment changes while a model trains, and a learning rate is one number. The mean weighs each measurement by how much
the training loss fell since the one before,

    w_t = max(0, L(t-1) - L(t)),        mean = sum_t w_t log_gain_t / sum_t w_t,

so that it speaks for the steps at which the model learned most (arXiv 2604.27077 finds about 3/4 so). Each run is
weighed by its own loss, before any slope over widths: runs of one width then scatter as whole runs do.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from itertools import pairwise

import numpy as np

from widthwise.analysis.alignment_rows import AlignmentRow

WHOLE = 1.0
"""The progress of a row that stands for all of training."""

Run = tuple[int, int]
"""Width and seed."""
Curve = Sequence[tuple[float, float]]
"""(progress, training loss), ascending."""


class Weighting(StrEnum):
    """What a measurement counts for: the loss that fell since the last one, the time since then, or one each."""

    LOSS_DECREASE = "loss-decrease"
    PROGRESS = "progress"
    EQUAL = "equal"


def over_training(
    rows: Iterable[AlignmentRow],
    losses: Mapping[Run, Curve],
    *,
    weighting: Weighting = Weighting.LOSS_DECREASE,
) -> tuple[AlignmentRow, ...]:
    """The weighted mean over training of every run's, layer's and quantity's log gain, at progress 1.

    Undefined stays undefined: a mean is NaN if a measurement that counts is.

    Args:
        rows: measurements; their progress in the unit of the curves'.
        losses: the training curve of each run, which loss decrease needs. Between its points the loss is linear, and
            before the first it is that point's.
        weighting: what a measurement counts for.

    Raises:
        ValueError: a run without a curve, or whose loss never falls.

    Example:
        >>> from widthwise.theory import AlignmentQuantity, Role
        >>> rows = [
        ...     AlignmentRow(64, 0, "up", Role.HIDDEN, AlignmentQuantity.ALPHA, time, gain, 64)
        ...     for time, gain in ((1, 4), (2, 2))
        ... ]
        >>> (mean,) = over_training(rows, {(64, 0): [(0, 3.0), (1, 2.25), (2, 2.0)]})
        >>> mean.log_gain  # the loss fell by 3/4 before the first measurement, by 1/4 after it
        3.5
    """
    series: dict[tuple[int, int, str, str], list[AlignmentRow]] = {}
    for row in rows:
        series.setdefault((row.width, row.seed, row.layer, row.quantity), []).append(row)
    weights: dict[tuple[Run, tuple[float, ...]], list[float]] = {}
    means: list[AlignmentRow] = []
    for points in series.values():
        points = sorted(points, key=lambda row: row.progress)
        run, times = (points[0].width, points[0].seed), tuple(row.progress for row in points)
        if (run, times) not in weights:
            weights[run, times] = _weights(run, times, losses, weighting)
        means.append(replace(points[0], progress=WHOLE, log_gain=_mean(points, weights[run, times])))
    return tuple(means)


def _mean(points: Sequence[AlignmentRow], weights: Sequence[float]) -> float:
    counted = [(weight, row.log_gain) for weight, row in zip(weights, points, strict=True) if weight]
    return math.fsum(weight * gain for weight, gain in counted) / math.fsum(weight for weight, _ in counted)


def _weights(
    run: Run, times: Sequence[float], losses: Mapping[Run, Curve], weighting: Weighting
) -> list[float]:
    match weighting:
        case Weighting.EQUAL:
            return [1.0] * len(times)
        case Weighting.PROGRESS:
            return [after - before for before, after in zip((0.0, *times), times, strict=False)]
        case Weighting.LOSS_DECREASE:
            return _loss_decrease(run, times, losses)


def _loss_decrease(run: Run, times: Sequence[float], losses: Mapping[Run, Curve]) -> list[float]:
    width, seed = run
    curve = losses.get(run)
    if not curve:
        raise ValueError(
            f"width {width}, seed {seed} has no training curve to weigh its measurements by; weigh them "
            "equally or by progress"
        )
    progress, loss = zip(*curve, strict=True)
    at = [float(x) for x in np.interp((0.0, *times), progress, loss)]
    falls = [max(0.0, before - after) for before, after in pairwise(at)]
    if not sum(falls) > 0:
        raise ValueError(
            f"the training loss of width {width}, seed {seed} never falls between its measurements (from {at[0]:.4g} "
            f"to {at[-1]:.4g}); measure a run that learns, or weigh equally or by progress"
        )
    return falls
