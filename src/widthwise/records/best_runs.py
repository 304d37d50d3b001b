"""Which runs of an arm stand for it: at every width those of its best learning rate."""

import math
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass

from widthwise.records.rows import StoredStudy


@dataclass(frozen=True)
class BestRuns:
    """The runs of one arm at one width and its best learning rate.

    Args:
        trials: seed -> trial.
    """

    width: int
    learning_rate: float
    trials: Mapping[int, int]


def best_runs(study: StoredStudy, arm: str) -> tuple[BestRuns, ...]:
    """At each width, the rate of lowest mean validation loss of those at which every seed trained to its end.

    The mean is over the seeds that ran the most rates: those added at a few rates alone would lift or lower these
    against the others by their own offset. A width with no such rate is left out.
    """
    grids: dict[int, dict[float, dict[int, int]]] = {}
    for cell in study.cells:
        if cell.arm == arm:
            rates = grids.setdefault(cell.width, {})
            rates.setdefault(cell.learning_rate, {})[cell.seed] = cell.trial
    best: list[BestRuns] = []
    for width, rates in sorted(grids.items()):
        counts = Counter(seed for trials in rates.values() for seed in trials)
        whole = {seed for seed, count in counts.items() if count == max(counts.values())}
        losses = {rate: _mean_loss(study, trials, whole) for rate, trials in rates.items()}
        trained = {rate: loss for rate, loss in losses.items() if loss is not None}
        if trained:
            rate = min(trained, key=lambda rate: trained[rate])
            best.append(BestRuns(width, rate, rates[rate]))
    return tuple(best)


def _mean_loss(study: StoredStudy, trials: Mapping[int, int], whole: Set[int]) -> float | None:
    """Over those seeds; None if any seed has no loss, or none of them ran."""
    losses = {seed: study.trials[trial].validation_loss for seed, trial in trials.items()}
    if None in losses.values():
        return None
    counted = [loss for seed, loss in losses.items() if seed in whole and loss is not None]
    return math.fsum(counted) / len(counted) if counted else None
