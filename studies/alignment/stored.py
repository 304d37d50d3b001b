"""What the experiment's stores hold, put together again by case."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from pathlib import Path

from plan import PRESETS, RUINED, Case, Config, Found, constant_name, store_name

from widthwise.analysis import Observation, Weighting
from widthwise.records import read_study
from widthwise.study.measured_rates import MeasuredStore, measured_store
from widthwise.study.measured_series import MeasuredSeries, measured_series

ARMS = (*PRESETS, "measured", "constant")
"""Those with a grid of rates at every width; `readout` has the transferred rate alone."""


class End(StrEnum):
    """How a run ended: `ruined` is at the loss of knowing nothing, `plan.RUINED` or above."""

    TRAINED = "trained"
    DIVERGED = "diverged"
    RUINED = "ruined"


def end_of(loss: float | None) -> End:
    """The end that a final loss says.

    Example:
        >>> [str(end_of(loss)) for loss in (None, 2.5, 5.49, 5.5, 5.545)]
        ['diverged', 'trained', 'trained', 'ruined', 'ruined']
    """
    if loss is None:
        return End.DIVERGED
    return End.RUINED if loss >= RUINED else End.TRAINED


def ends_in_words(ends: Sequence[End]) -> str:
    """How many runs, and how many of them are no good.

    Example:
        >>> ends_in_words([End.TRAINED, End.TRAINED, End.RUINED]), ends_in_words([End.TRAINED])
        ('3, 1 ruined', '1')
    """
    bad = [f"{ends.count(end)} {end}" for end in (End.DIVERGED, End.RUINED) if end in ends]
    return ", ".join([str(len(ends)), *bad])


@dataclass(frozen=True)
class Runs:
    """The runs of one case: each a row (arm, width, rate, seed, loss), those of the base width under every arm.

    Args:
        grid: with which optima are found.
        transferred: at the largest width and each arm's transferred rate, every seed there is.
        found: the rate that is transferred, and the constant of the control's arm.
        ends: run -> how it ended.
    """

    case: Case
    grid: tuple[Observation, ...]
    transferred: tuple[Observation, ...]
    found: Found
    ends: Mapping[str, End]


class Stores:
    """A folder of the experiment's stores."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder, self.config = folder, config

    def path(self, case: Case, study: str) -> Path:
        """One store."""
        return self.folder / store_name(self.config, case, study)

    def rows(self, case: Case, study: str) -> Iterator[Observation]:
        """Every run of a store that has ended, without a loss if it diverged or was ruined; none if it is not there."""
        return (replace(o, loss=None) if end_of(o.loss) is End.RUINED else o for o in self._rows(case, study))

    def ends(self, case: Case, studies: Iterable[str]) -> dict[str, End]:
        """Run -> how it ended."""
        return {str(o.run): end_of(o.loss) for study in studies for o in self._rows(case, study)}

    def _rows(self, case: Case, study: str) -> Iterable[Observation]:
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

    def measure_path(self, case: Case) -> Path:
        """Where alignment was measured: an octave lower if the first arm cannot be read at the transferred rate."""
        lower, first = self.path(case, "lower"), self.path(case, "measure")
        arm = self.config["measured_arms"][0]
        readable = lower.exists() and isinstance(read_or_reason(lower, arm), MeasuredStore)
        return lower if readable and isinstance(read_or_reason(first, arm), str) else first

    def measured(
        self, case: Case, arm: str, weighting: Weighting = Weighting.LOSS_DECREASE
    ) -> MeasuredStore | str:
        """The exponents measured under an arm's rates, or why there are none."""
        return read_or_reason(self.measure_path(case), arm, weighting)

    def found(self, case: Case, *, more: bool) -> Found | None:
        """What the base width says; None before it is done.

        Args:
            more: with the constants that were added to the first set.
        """
        base = list(self.rows(case, "base"))
        if not base:
            return None
        x, best = best_rate([o for o in base if o.prescription == "full"])
        if math.isnan(x):
            raise ValueError(f"{case.name}: no rate of the base width trained with every seed")
        found = Found(round(x), 1.0, round(x))
        own = self.config["optimizers"][case.optimizer]
        values = [*own["readout_constants"], *(own["more_readout_constants"] if more else [])]
        runs = [*base, *self.rows(case, "constants")]
        for value in values:
            at, loss = best_rate([o for o in runs if o.prescription == constant_name(value)])
            if loss < best:
                found, best = Found(round(x), value, round(at)), loss
        return found

    def widths(self) -> tuple[int, ...]:
        """The base width, the small one and the large ones: those that have grids."""
        return (self.config["base_width"], self.config["small_width"], *self.config["large_widths"])

    def runs(self, case: Case) -> Runs | None:
        """All runs of a case; None before its base width is done."""
        first, found = self.found(case, more=False), self.found(case, more=True)
        if first is None or found is None:
            return None
        base_width, *widths = self.widths()
        large = [f"large-{width}" for width in widths]
        finer = [f"finer-{width}" for width in widths]
        more = [o for width in widths for o in self.rows(case, f"more-{width}")]
        more += self.rows(case, "more-transferred")
        replaced = any(o.prescription == "constant" for o in more)
        if not replaced:
            found = first

        def kept(o: Observation) -> bool:
            return o.prescription != "constant" or not replaced

        base = [o for study in ("base", "constants", f"finer-{base_width}") for o in self.rows(case, study)]
        plain = [o for o in base if o.prescription == "full"]
        named = "full" if found.constant == 1 else constant_name(found.constant)
        grid = [replace(o, prescription=arm) for arm in ARMS if arm != "constant" for o in plain]
        grid += [replace(o, prescription="constant") for o in base if o.prescription == named]
        higher = [o for study in ("small", *large) for o in self.rows(case, study) if kept(o)]
        higher += [o for o in more if o.seed in _grid_seeds(self.config, o.width)]
        added = [o for study in finer for o in self.rows(case, study)]
        grid += [o for o in (*higher, *added) if o.prescription in ARMS]
        other_seeds = [o for o in self.rows(case, "transferred") if kept(o)]
        other_seeds += [o for o in more if o.seed not in _grid_seeds(self.config, o.width)]
        rates = {**dict.fromkeys((*ARMS, "readout"), found.x), "constant": found.constant_x}
        transferred = [
            o
            for o in (*higher, *other_seeds)
            if o.width == widths[-1] and octave(o) == rates.get(o.prescription)
        ]
        ends = self.ends(case, all_studies(self.config))
        return Runs(case, tuple(grid), tuple(transferred), found, ends)


class FinishedStores(Stores):
    """Stores that nobody writes any more: each is read once."""

    def __init__(self, folder: Path, config: Config) -> None:
        super().__init__(folder, config)
        self._read: dict[tuple[Case, str], tuple[Observation, ...]] = {}
        self._runs: dict[Case, Runs | None] = {}

    def runs(self, case: Case) -> Runs | None:
        """All runs of a case; None before its base width is done."""
        if case not in self._runs:
            self._runs[case] = super().runs(case)
        return self._runs[case]

    def _rows(self, case: Case, study: str) -> Iterable[Observation]:
        if (case, study) not in self._read:
            self._read[case, study] = tuple(super()._rows(case, study))
        return self._read[case, study]


def _grid_seeds(config: Config, width: int) -> list[int]:
    """The seeds of a width's grids."""
    return config["seeds"][:1] if width in config["large_widths"] else config["seeds"]


def all_studies(config: Config) -> tuple[str, ...]:
    """Every study that a case may have, in order."""
    widths = config["large_widths"]
    finer = [f"finer-{width}" for width in (config["base_width"], config["small_width"], *widths)]
    grids = [f"{kind}-{width}" for kind in ("large", "more") for width in widths]
    return (
        *("coarse", "base", "constants", "measure", "lower", "small"),
        *("transferred", "more-transferred", *grids, *finer),
    )


def read_or_reason(
    store: Path, arm: str, weighting: Weighting = Weighting.LOSS_DECREASE
) -> MeasuredStore | str:
    """The exponents measured under an arm's rates, or why there are none: a ruined run has no alignment to speak of."""
    return _read_or_reason(store, arm, weighting)


@cache  # by all three arguments, given or not
def _read_or_reason(store: Path, arm: str, weighting: Weighting) -> MeasuredStore | str:
    try:
        study = read_study(store)
        for cell in study.cells:
            if cell.arm == arm and end_of(study.trials[cell.trial].validation_loss) is End.RUINED:
                return f"{store.name}: arm {arm!r} has a ruined run at width {cell.width}"
        return measured_store(store, series(store, arm), weighting)
    except ValueError as error:
        return str(error)


@cache
def series(store: Path, arm: str) -> MeasuredSeries:
    """What a store measured under an arm's rates."""
    return measured_series(store, arm=arm)


def octave(o: Observation) -> float:
    """log2 of a run's rate, without the rounding of half octaves."""
    return round(math.log2(o.rate), 6)


def best_rate(runs: Sequence[Observation]) -> tuple[float, float]:
    """log2 of the rate of lowest mean loss over seeds, all of which trained, and that loss; NaN, infinity if none."""
    losses: dict[float, list[float | None]] = {}
    for o in runs:
        losses.setdefault(octave(o), []).append(o.loss)
    means = {x: sum(some) / len(some) for x, found in losses.items() if None not in (some := found)}  # pyright: ignore
    if not means:
        return math.nan, math.inf
    x = min(means, key=lambda x: means[x])
    return x, means[x]
