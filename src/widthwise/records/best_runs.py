"""Which runs of an arm stand for it: at every width those of its best learning rate."""

import math
from collections.abc import Mapping
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
    """At each width, the rate of lowest mean validation loss over seeds, all of which trained to their end.

    A width with no such rate is left out.
    """
    grids: dict[int, dict[float, dict[int, int]]] = {}
    for cell in study.cells:
        if cell.arm == arm:
            rates = grids.setdefault(cell.width, {})
            rates.setdefault(cell.learning_rate, {})[cell.seed] = cell.trial
    best: list[BestRuns] = []
    for width, rates in sorted(grids.items()):
        losses = {rate: _mean_loss(study, trials) for rate, trials in rates.items()}
        trained = {rate: loss for rate, loss in losses.items() if loss is not None}
        if trained:
            rate = min(trained, key=lambda rate: trained[rate])
            best.append(BestRuns(width, rate, rates[rate]))
    return tuple(best)


def _mean_loss(study: StoredStudy, trials: Mapping[int, int]) -> float | None:
    losses = [study.trials[trial].validation_loss for trial in trials.values()]
    finished = [loss for loss in losses if loss is not None]
    return math.fsum(finished) / len(finished) if len(finished) == len(losses) else None
