"""Where a run of a study stands, as whoever watches it is told."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from widthwise.records import StoredStudy, TrialStatus
from widthwise.study.workload import workloads


@dataclass(frozen=True)
class RunState:
    """Where a run stands.

    Args:
        populations, population: how many there are, and which (from 1) is at work; 0 before the first.
        trials, trials_done: how many there are, and how many have ended.
        width, members, step, steps: the population at work.
        work_done, work: in tokens times parameters, of the whole study; `work_before` was done by earlier runs.
        tokens_per_second: over this run; None at its start.
        seconds: since this run began.
        resumed_step: of the population at work, the step from which this run went on with it; 0 if it began it.
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

    @property
    def seconds_left(self) -> float | None:
        """An estimate by the work done so far; None before any is done."""
        done = self.work_done - self.work_before
        return self.seconds * (self.work - self.work_done) / done if done > 0 else None


Listener = Callable[[RunState], None]


class Tracker:
    """Turns populations and steps into `RunState`s."""

    def __init__(self, study: StoredStudy, listener: Listener | None) -> None:
        self._listener = listener
        self._tokens = 0.0
        self._started = time.monotonic()
        self._current = self._step = self._resumed = 0
        self._before = 0.0
        self.read(study)
        self._before = self._done

    def read(self, study: StoredStudy) -> None:
        """Take in the populations that a study has: at its start, and after one was split."""
        self._work = workloads(study)
        self._places = {id_: place for place, id_ in enumerate(self._work, start=1)}
        self._total_work = sum(load.work for load in self._work.values())
        self._done = sum(self._work[p.id].work for p in study.populations if p.completed)
        self._trials = len(study.trials)
        self._trials_done = sum(t.status is not TrialStatus.PENDING for t in study.trials.values())

    def begin(self, population: int) -> None:
        """A population is at work."""
        self._current, self._step, self._resumed = population, 0, 0
        self._tell()

    def resume(self, step: int) -> None:
        """Its state was found after this many steps."""
        self._step = self._resumed = step
        load = self._work[self._current]
        self._before += step / load.steps * load.work
        self._tell()

    def at_step(self, step: int) -> None:
        """It has come so far."""
        self._step = step
        self._tell()

    def end(self, trials: int) -> None:
        """Its results are in the store: so many trials have ended with it."""
        load = self._work[self._current]
        self._done += load.work
        self._tokens += load.tokens * (1 - self._resumed / load.steps)
        self._trials_done += trials
        self._step = self._resumed = 0
        self._tell(ended=True)

    def _tell(self, *, ended: bool = False) -> None:
        if self._listener is None:
            return
        load = self._work[self._current]
        share = 0.0 if ended else self._step / load.steps
        seconds = time.monotonic() - self._started
        tokens = self._tokens + (0.0 if ended else share - self._resumed / load.steps) * load.tokens
        self._listener(
            RunState(
                populations=len(self._work),
                population=self._places[self._current],
                trials=self._trials,
                trials_done=self._trials_done,
                width=load.width,
                members=load.members,
                step=load.steps if ended else self._step,
                steps=load.steps,
                work_done=self._done + share * load.work,
                work_before=self._before,
                work=self._total_work,
                tokens_per_second=tokens / seconds if tokens else None,
                seconds=seconds,
                resumed_step=self._resumed,
            )
        )
