"""A study's sweeps in rounds: from what a store holds, the runs of the next round, over all arms and widths.

A round is decided when nothing is pending, from ended trials alone, so that it is decided again from the store, bit for
bit. Each arm goes from its narrowest width to its widest: a width begins once the search of the one below has ended,
around that one's best rate, and in the same round as the further seeds there. Arms are independent of one another, and
the runs of all of them fill the populations of a round together.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from widthwise.records import StoredStudy, SweepRow, TrialStatus
from widthwise.study.arms import Arm
from widthwise.study.expand import Runs, first_runs
from widthwise.study.rate_spec import RateSweep
from widthwise.study.spec import StudySpec
from widthwise.study.sweep import Decision, Point, SweepRule, decide

FAILED = "failed"
"""The outcome of a cell with a trial that could not be run."""

Seeds = tuple[int, ...]


@dataclass(frozen=True)
class Round:
    """What a round is to do.

    Args:
        runs: (arm, width) -> the rates to train there, each with its seeds; empty if all sweeps are done.
        rows: where every cell stands that a sweep has come to.
    """

    runs: Mapping[tuple[str, int], Mapping[float, Seeds]]
    rows: tuple[SweepRow, ...]

    def at(self, arm: Arm, width: int) -> Mapping[float, Seeds]:
        """The runs of one cell, as `expand` asks for them."""
        return self.runs.get((arm.name, width), {})


def next_round(study: StoredStudy, arms: Sequence[Arm], seeds: Sequence[int]) -> Round:
    """Decide the next round of a study in which nothing is pending.

    Args:
        arms: all of the study's.
        seeds: all of the study's; the first searches.
    """
    ended = _ended_runs(study)
    runs: dict[tuple[str, int], Mapping[float, Seeds]] = {}
    rows: list[SweepRow] = []
    for arm in arms:
        if isinstance(arm.grid, RateSweep):
            for wanted, row in _next_of_arm(arm, arm.grid.sweep.rule, ended, seeds):
                rows.append(row)
                if wanted:
                    runs[row.arm, row.width] = wanted
    return Round(runs, tuple(rows))


def expected_runs(spec: StudySpec) -> Runs:
    """The runs of a study, with as many as a search is expected to train in the place of each, for an estimate."""

    def runs(arm: Arm, width: int) -> Mapping[float, Seeds]:
        if not isinstance(arm.grid, RateSweep):
            return first_runs(spec, arm, width)
        return expected(arm.grid.sweep.rule, first=width == arm.widths[0])

    @cache
    def expected(rule: SweepRule, *, first: bool) -> Mapping[float, Seeds]:
        further = {rule.rate(k) for k in range(0, 2 * rule.around + 1, rule.coarse)}
        rates = map(rule.rate, range(rule.expected_runs(first=first)))
        return {rate: spec.seeds if rate in further else spec.seeds[:1] for rate in rates}

    return runs


_Runs = Mapping[tuple[float, int], tuple[TrialStatus, float | None]]
"""(rate, seed) -> how the run ended, and its loss."""


def _ended_runs(study: StoredStudy) -> Mapping[tuple[str, int], _Runs]:
    """(arm, width) -> its runs."""
    found: dict[tuple[str, int], dict[tuple[float, int], tuple[TrialStatus, float | None]]] = {}
    for cell in study.cells:
        trial = study.trials[cell.trial]
        assert trial.status is not TrialStatus.PENDING
        runs = found.setdefault((cell.arm, cell.width), {})
        runs[cell.learning_rate, cell.seed] = trial.status, trial.validation_loss
    return found


def _next_of_arm(
    arm: Arm, rule: SweepRule, ended: Mapping[tuple[str, int], _Runs], seeds: Sequence[int]
) -> Iterator[tuple[Mapping[float, Seeds], SweepRow]]:
    """What each width of an arm wants, up to the one whose search is going on."""
    neighbour: int | None = None
    for width in arm.widths:
        runs = ended.get((arm.name, width), {})
        if any(status is TrialStatus.FAILED for status, _ in runs.values()):
            yield {}, SweepRow(arm.name, width, FAILED, None, "a trial could not be run", done=True)
            continue
        losses = {(lattice_point(rule, rate), seed): loss for (rate, seed), (_, loss) in runs.items()}
        decision = decide(rule, losses, neighbour=neighbour, seeds=seeds)
        yield _by_rate(rule, decision.wanted), _row(arm, rule, width, decision)
        if decision.outcome is None:
            return
        neighbour = neighbour if decision.best is None else decision.best


def lattice_point(rule: SweepRule, rate: float) -> int:
    """The point whose rate this is: the inverse of `SweepRule.rate`.

    Example:
        >>> rule = SweepRule(2.0**-8, 0.25, 8, coarse=4, window=8, fill=4, reach=8, stop_ratio=1.2, around=0)
        >>> lattice_point(rule, rule.rate(-3))
        -3
    """
    k = math.log2(rate / rule.origin) / rule.step
    assert abs(k - round(k)) < 1e-6
    return round(k)


def _by_rate(rule: SweepRule, wanted: Sequence[Point]) -> Mapping[float, Seeds]:
    points = sorted({k for k, _ in wanted})
    return {rule.rate(k): tuple(seed for point, seed in wanted if point == k) for k in points}


def _row(arm: Arm, rule: SweepRule, width: int, decision: Decision) -> SweepRow:
    if decision.outcome is None:
        return SweepRow(arm.name, width)
    best = None if decision.best is None else rule.rate(decision.best)
    return SweepRow(arm.name, width, decision.outcome.value, best, decision.reason, done=not decision.wanted)
