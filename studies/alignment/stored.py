"""What the experiment's stores hold, put together again by case."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from plan import PRESETS, Case, Config, constant_name

from widthwise.analysis import Observation, Weighting
from widthwise.records import read_study
from widthwise.study.measured_rates import MeasuredStore, read_measured

ARMS = (*PRESETS, "measured", "constant")
"""Those with a grid of rates at every width; `readout` has the transferred rate alone."""


@dataclass(frozen=True)
class Runs:
    """The runs of one case: each a row (arm, width, rate, seed, loss), those of the base width under every arm.

    Args:
        grid: with which optima are found.
        transferred: at the largest width and each arm's transferred rate, every seed there is.
        x: log2 of the rate that is transferred.
        constant: the readout's constant that was best at the base width, and log2 of its best rate.
    """

    case: Case
    grid: tuple[Observation, ...]
    transferred: tuple[Observation, ...]
    x: float
    constant: tuple[float, float]


class Stores:
    """A folder of the experiment's stores."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder, self.config = folder, config

    def path(self, case: Case, study: str) -> Path:
        """One store."""
        return self.folder / f"{case.name}-{study}.sqlite"

    def rows(self, case: Case, study: str) -> Iterator[Observation]:
        """Every run of a store that has ended; nothing if the store is not there."""
        path = self.path(case, study)
        if not path.exists():
            return
        study_ = read_study(path)
        for cell in study_.cells:
            trial = study_.trials[cell.trial]
            if trial.status != "pending":
                yield Observation(
                    cell.arm, cell.width, cell.learning_rate, cell.seed, trial.validation_loss, trial.identity
                )

    def measured(self, case: Case, arm: str, **options: object) -> MeasuredStore | str:
        """The exponents measured under an arm's rates, or why there are none."""
        return read_or_reason(self.path(case, "measure"), arm, **options)  # pyright: ignore

    def runs(self, case: Case) -> Runs | None:
        """All runs of a case; None before its base width is done."""
        base = list(self.rows(case, "base"))
        if not base:
            return None
        plain = [o for o in base if o.prescription == "full"]
        x, best = best_rate(plain)
        value, at = 1.0, x
        for one in self.config["readout_constants"]:
            found, loss = best_rate([o for o in base if o.prescription == constant_name(one)])
            if loss < best:
                value, at, best = one, found, loss
        with_constant = plain if value == 1 else [o for o in base if o.prescription == constant_name(value)]
        grid = [renamed(o, arm) for arm in ARMS if arm != "constant" for o in plain]
        grid += [renamed(o, "constant") for o in with_constant]
        widths = self.config["large_widths"]
        studies = ("small", *(f"large-{width}" for width in widths))
        higher = [o for study in studies for o in self.rows(case, study)]
        grid += [o for o in higher if o.prescription in ARMS]
        largest = [o for o in higher if o.width == widths[-1]]
        rates = {**dict.fromkeys((*ARMS, "readout"), x), "constant": at}
        kept = [
            o
            for o in (*largest, *self.rows(case, "transferred"))
            if math.log2(o.rate) == rates.get(o.prescription)
        ]
        return Runs(case, tuple(grid), tuple(kept), x, (value, at))


@cache
def read_or_reason(store: Path, arm: str, weighting: Weighting | None = None) -> MeasuredStore | str:
    """The exponents measured under an arm's rates, or why there are none."""
    try:
        return read_measured(store, arm=arm, weighting=weighting)
    except ValueError as error:
        return str(error)


def renamed(o: Observation, arm: str) -> Observation:
    """A run under another arm's name."""
    return Observation(arm, o.width, o.rate, o.seed, o.loss, o.run)


def best_rate(runs: list[Observation]) -> tuple[float, float]:
    """log2 of the rate of lowest mean loss over seeds, all of which trained, and that loss."""
    losses: dict[float, list[float | None]] = {}
    for o in runs:
        losses.setdefault(math.log2(o.rate), []).append(o.loss)
    means = {x: sum(some) / len(some) for x, found in losses.items() if None not in (some := found)}  # pyright: ignore
    if not means:
        return math.nan, math.inf
    x = min(means, key=lambda x: means[x])
    return x, means[x]
