"""What claims are judged from: a study's fitted table, and which of its prescriptions stands for which setting."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from widthwise.analysis.alignment_rows import AlignmentRow
from widthwise.analysis.arm_label import ArmLabel
from widthwise.analysis.best_loss import Pairs, loss_difference, loss_difference_slope
from widthwise.analysis.claim import Gap, Standing
from widthwise.analysis.difference_noise import DifferenceNoise, common_cells, difference_noise
from widthwise.analysis.exponent import slope_weights
from widthwise.analysis.fitted_table import FittedTable
from widthwise.analysis.measurements import Measurements
from widthwise.analysis.noise import Noise, contrast
from widthwise.analysis.optimum import CellFit, LocalFit
from widthwise.analysis.result import Interval, PrescriptionResult
from widthwise.analysis.transfer import transfer

LISTED = 4
"""How many of the prescriptions that are not finished a reason names at most; the page lists them all above."""
PARAMETERIZATIONS = ("standard", "ntk", "mup", "mean-field")


@dataclass(frozen=True)
class Evidence:
    """A study as the claims see it.

    Args:
        table: from `fit_table`.
        labels: what each prescription is made of, those included that are not in the table: planned, and not finished.
        base_width: the width whose best rate is kept, by prescriptions that have it and a larger one; their smallest,
            by others and if None.
        level: of the intervals.
        epsilon: Adam's where a label calls it `constant` and says no number; None if that is not known.
        alignment: prescription -> what was measured in its runs at each width's best rate, progress in steps.
        measurements: what is no study of losses.
    """

    table: FittedTable
    labels: Mapping[str, ArmLabel]
    base_width: int | None = None
    level: float = 0.95
    epsilon: float | None = None
    alignment: Mapping[str, tuple[AlignmentRow, ...]] = field(
        default_factory=dict[str, tuple[AlignmentRow, ...]]
    )
    measurements: Measurements = field(default_factory=Measurements)
    _by_label: dict[ArmLabel, str] = field(init=False, repr=False)
    _asked: set[str] = field(init=False, repr=False, default_factory=set[str])
    _difference_noises: dict[frozenset[str], DifferenceNoise] = field(
        init=False, repr=False, default_factory=dict[frozenset[str], DifferenceNoise]
    )

    def __post_init__(self) -> None:
        found: dict[ArmLabel, str] = {}
        for name, label in self.labels.items():
            if name in self.table.prescriptions:
                found.setdefault(label, name)
        object.__setattr__(self, "_by_label", found)

    @cached_property
    def results(self) -> Mapping[str, PrescriptionResult]:
        """Exponent, regret and verdict of every prescription."""
        found: dict[str, PrescriptionResult] = {}
        for base in (self.base_width, None):
            kept = {
                name: fits
                for name, fits in self.table.prescriptions.items()
                if name not in found
                and (
                    base is None or (base < fits[-1].cell.width and base in {fit.cell.width for fit in fits})
                )
            }
            analysis = transfer(replace(self.table, prescriptions=kept), base_width=base, level=self.level)
            found |= {result.prescription: result for result in analysis.results}
        return {name: found[name] for name in self.table.prescriptions}

    def arm(self, label: ArmLabel) -> str | None:
        """The prescription of a label; None if the study has none that is finished."""
        name = self._by_label.get(label)
        if name is not None:
            self._asked.add(name)
        return name

    @property
    def trials(self) -> int:
        """How many runs the prescriptions have that were asked for so far, those that diverged included."""
        fits = [fit for name in self._asked for fit in self.table.prescriptions[name]]
        named = {run for fit in fits for run in fit.cell.runs.values()}
        made = sum(int((np.isfinite(fit.cell.loss) | fit.cell.diverged).sum()) for fit in fits)
        return len(named) + made - sum(len(fit.cell.runs) for fit in fits)

    def afresh(self) -> "Evidence":
        """The same, asked for nothing yet; what has been worked out is kept."""
        fresh = copy.copy(self)
        object.__setattr__(fresh, "_asked", set())
        return fresh

    def cells(self, label: ArmLabel) -> tuple[CellFit, ...]:
        """A label's cells by ascending width; none if the study has no such prescription."""
        name = self.arm(label)
        return () if name is None else tuple(self.table.prescriptions[name])

    def noise(self, label: ArmLabel) -> Noise | None:
        """The noise of a label's group; None if it is unknown, or the study has no such prescription."""
        name = self.arm(label)
        return None if name is None else self.table.noise_of(name)

    def missing(self, *labels: ArmLabel) -> Gap:
        """Why a number of these labels could not be measured."""
        lacking = [label for label in labels if self.arm(label) is None]
        if lacking:
            return self._not_run(lacking)
        if any(self.noise(label) is None for label in labels):
            return Gap("the noise is unknown: no rate has two seeds")
        return Gap("no bracketed optimum where one is needed")

    def unfinished(self, which: Callable[[ArmLabel], bool]) -> Gap | None:
        """Of all the prescriptions that a judgement is over, why they are not all there; None if they are."""
        wanted = dict.fromkeys(label for label in self.labels.values() if which(label))
        lacking = [label for label in wanted if self.arm(label) is None]
        return self._not_run(lacking) if lacking else None

    def _not_run(self, lacking: Sequence[ArmLabel]) -> Gap:
        planned = set(self.labels.values())
        never = [_words(label) for label in lacking if label not in planned]
        begun = [_words(label) for label in lacking if label in planned]
        parts = [f"the study has no {' and no '.join(never)}"] if never else []
        if len(begun) > LISTED:
            begun = [*begun[: LISTED - 1], f"{len(begun) - LISTED + 1} others"]
        parts += [f"{', '.join(begun)}: not finished"] if begun else []
        return Gap("; ".join(parts), Standing.NOT_RUN)

    def exponent(self, label: ArmLabel) -> Interval | None:
        """The exponent of the best rate with its total interval."""
        name = self.arm(label)
        return None if name is None else self.results[name].exponent.total

    def exponent_difference(self, first: ArmLabel, second: ArmLabel) -> Interval | None:
        """Exponent of the first less that of the second, over the widths at which both have an optimum.

        None if these are fewer than two, or the noise is unknown.
        """
        noise, pairs = self.noise(first), self.pairs(first, second)
        if len(pairs) < 2 or noise is None:
            return None
        weights: dict[object, tuple[LocalFit, float]] = {}
        for pair, weight in zip(pairs.values(), slope_weights(tuple(pairs)), strict=True):
            for local, sign in zip((one.local for one in pair), (1.0, -1.0), strict=True):
                before = weights.get(local.identity, (local, 0.0))[1]
                weights[local.identity] = (local, before + sign * float(weight))
        fits, factors = zip(*weights.values(), strict=True)
        return contrast(list(fits), list(factors), noise, level=self.level).total

    def pairs(self, first: ArmLabel, second: ArmLabel) -> Pairs:
        """The widths at which both have an optimum."""
        return common_cells(self.cells(first), self.cells(second))

    def difference_noise(self, *labels: ArmLabel) -> DifferenceNoise:
        """The noise of differences between the prescriptions of these labels' groups, worked out once."""
        names = [name for label in labels if (name := self.arm(label)) is not None]
        groups = frozenset(self.table.group_of(name) for name in names)
        if groups not in self._difference_noises:
            members = [
                fits for name, fits in self.table.prescriptions.items() if self.table.group_of(name) in groups
            ]
            self._difference_noises[groups] = difference_noise(members)
        return self._difference_noises[groups]

    def largest_width(self, *labels: ArmLabel) -> int | None:
        """The largest width that all of these were run at."""
        widths = [{fit.cell.width for fit in self.cells(label)} for label in labels]
        common = set.intersection(*widths) if widths else set()
        return max(common, default=None)

    def loss_difference(self, first: ArmLabel, second: ArmLabel) -> Interval | None:
        """Loss of the first less that of the second at the largest width both were run at."""
        pairs, width = self.pairs(first, second), self.largest_width(first, second)
        if width is None or width not in pairs:
            return None
        return loss_difference(pairs, width, self.difference_noise(first, second), level=self.level)

    def loss_difference_slope(self, first: ArmLabel, second: ArmLabel) -> Interval | None:
        """The slope of that difference over log2 of the width."""
        noise = self.difference_noise(first, second)
        return loss_difference_slope(self.pairs(first, second), noise, level=self.level)


def _words(label: ArmLabel) -> str:
    words = [label.optimizer, label.parameterization, label.prescription]
    if label.constants != "default":
        words.append(f"with {label.constants} constants")
    if label.epsilon not in ("constant", "none"):
        words.append(f"with epsilon {label.epsilon}")
    if label.horizon != "fixed":
        words.append(f"with a {label.horizon} horizon")
    return " ".join(words)
