"""Where a run of a study stands, as whoever watches it is told."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from widthwise.records import StoredStudy, TrialStatus
from widthwise.study.workload import workloads


@dataclass(frozen=True)
class AtWork:
    """A population in training: which, its size, and where it is."""

    population: int
    width: int
    members: int
    step: int
    steps: int


@dataclass(frozen=True)
class RunState:
    """Where a run stands.

    Args:
        populations, population: how many there are, and which (from 1) something is told of; 0 before the first.
        trials, trials_done: how many there are, and how many have ended.
        width, members, step, steps: the population that is told of.
        work_done, work: in tokens times parameters, of the whole study; `work_before` was done by earlier runs.
        tokens_per_second: over this run; None at its start.
        seconds: since this run began.
        resumed_step: of the population told of, the step from which it was gone on with; 0 if it was begun.
        at_work: all populations in training, where several are side by side.
        round: of planned rates, from 1; 0 where there are none. Totals are those of the rounds so far.
    """

    populations: int
    population: int
    trials: int
    trials_done: int
    width: int
    members: int
    step: int
    steps: int
    work_done: float
    work_before: float
    work: float
    tokens_per_second: float | None
    seconds: float
    resumed_step: int = 0
    at_work: tuple[AtWork, ...] = ()
    round: int = 0

    @property
    def seconds_left(self) -> float | None:
        """An estimate by the work done so far; None before any is done."""
        done = self.work_done - self.work_before
        return self.seconds * (self.work - self.work_done) / done if done > 0 else None


Listener = Callable[[RunState], None]


@dataclass
class _Position:
    """Where a population in training is, and the step from which its worker went on with it."""

    step: int = 0
    resumed: int = 0


class Tracker:
    """Turns populations and steps into `RunState`s."""

    def __init__(self, study: StoredStudy, listener: Listener | None) -> None:
        self._listener = listener
        self._tokens = 0.0
        self._started = time.monotonic()
        self._at_work: dict[int, _Position] = {}
        self._first: dict[int, int] = {}
        """The steps of populations that earlier runs had done: what this one's speed does not count."""
        self._before = 0.0
        self.read(study)
        self._before = self._done

    def read(self, study: StoredStudy) -> None:
        """Take in the populations that a study has: at its start, and after one was split."""
        self._work = workloads(study)
        self._places = {id_: place for place, id_ in enumerate(self._work, start=1)}
        self._total_work = sum(load.work for load in self._work.values())
        self._done = sum(self._work[p.id].work for p in study.populations if p.completed)
        self._trials, self._round = len(study.trials), len(study.rounds)
        self._trials_done = sum(t.status is not TrialStatus.PENDING for t in study.trials.values())

    def work_of(self, population: int) -> float:
        """How much work a population is, in tokens times parameters."""
        return self._work[population].work

    def begin(self, population: int) -> None:
        """A population is at work."""
        self._at_work[population] = _Position()
        self._tell(population)

    def begun(self, population: int, step: int) -> None:
        """Its training begins after this many steps: 0, or those of a checkpoint."""
        load = self._work[population]
        if population not in self._first:  # else an earlier worker of this run had begun it
            self._first[population] = step
            self._before += step / load.steps * load.work
        if step:
            self._at_work[population] = _Position(step, step)
            self._tell(population)

    def at_step(self, population: int, step: int) -> None:
        """It has come so far."""
        self._at_work[population].step = step
        self._tell(population)

    def drop(self, population: int) -> None:
        """It is not at work any more, and has no results."""
        del self._at_work[population]

    def end(self, population: int, trials: int) -> None:
        """Its results are in the store: so many trials have ended with it."""
        load = self._work[population]
        self._at_work.pop(population, None)
        self._done += load.work
        self._tokens += load.tokens * (1 - self._first.get(population, 0) / load.steps)
        self._trials_done += trials
        self._tell(population)

    def _tell(self, population: int) -> None:
        if self._listener is None:
            return
        load, position = self._work[population], self._at_work.get(population)
        seconds = time.monotonic() - self._started
        working = [(id_, self._work[id_], p) for id_, p in self._at_work.items()]
        here = sum((p.step - self._first.get(id_, 0)) / w.steps * w.tokens for id_, w, p in working)
        tokens = max(0.0, self._tokens + here)
        self._listener(
            RunState(
                populations=len(self._work),
                population=self._places[population],
                trials=self._trials,
                trials_done=self._trials_done,
                width=load.width,
                members=load.members,
                step=load.steps if position is None else position.step,
                steps=load.steps,
                work_done=self._done + sum(p.step / w.steps * w.work for _, w, p in working),
                work_before=self._before,
                work=self._total_work,
                tokens_per_second=tokens / seconds if tokens else None,
                seconds=seconds,
                resumed_step=0 if position is None else position.resumed,
                at_work=tuple(
                    AtWork(self._places[id_], w.width, w.members, p.step, w.steps) for id_, w, p in working
                ),
                round=self._round,
            )
        )
