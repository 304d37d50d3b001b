"""The desk of a run: gives out the populations that a store lacks, and writes down what becomes of them.

It belongs to the process that is the store's one writer. Whoever trains, here or elsewhere, takes a `Task` and sends
`Message`s; several may be at work at once. A population that is given up, since its worker is lost, is given out again
as the store has it by then, and what a lost worker still says is not heard. When nothing waits and nothing is at work,
the study may have more to do than it knew before: see `more`.
"""

import json
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from widthwise.records import PopulationRow, StoredStudy, read_study
from widthwise.study.checkpoints import remove_checkpoint
from widthwise.study.compose import shape_key
from widthwise.study.run_state import Tracker
from widthwise.study.split_stored import split_stored
from widthwise.study.stop import Stop
from widthwise.study.store import StoreWriter
from widthwise.study.task import (
    AtStep,
    Begun,
    Facts,
    Job,
    LostWorkerError,
    Message,
    OutOfMemory,
    Raised,
    Revise,
    Task,
    Trained,
    Warned,
)

if TYPE_CHECKING:
    from widthwise.train import Corpus

LOSSES = 3
"""How many workers may be lost over one population, none of which began further on than the one before, until the run
is given up: it is likely what kills them."""


class TrainingError(RuntimeError):
    """An error in training that is no bad input; the message names the population and its trials."""


More = Callable[[StoreWriter, StoredStudy], bool]
"""Called when nothing is left: writes more populations into the store, or says that there is no more to do."""


class Desk:
    """What is to be done, what is at work, and the one way into the store."""

    def __init__(
        self,
        job: Job,
        writer: StoreWriter,
        corpus: "Corpus | None",
        tracker: Tracker,
        study: StoredStudy,
        *,
        longest_first: bool,
        more: More = lambda writer, study: False,
        stop: Stop | None = None,
        facts: Facts | None = None,
    ) -> None:
        self.job, self._more, self._facts = job, more, facts or {}
        self.stop = stop or Stop()
        self._writer, self._corpus, self._tracker = writer, corpus, tracker
        self._longest_first = longest_first
        self._at_work: dict[int, Task] = {}
        self._attempts: dict[int, int] = {}
        self._losses: dict[int, int] = {}
        self._begun: dict[int, int] = {}
        self._too_many: dict[str, tuple[int, OutOfMemory]] = {}
        self._take_in(study)
        self._go_on()

    @property
    def at_work(self) -> int:
        """How many populations are given out."""
        return len(self._at_work)

    def waiting(self) -> int:
        """How many are not; one more or less where some are split before they are tried."""
        return len(self._waiting)

    def register(self, facts: Facts) -> int:
        """Say on what machine and with what versions a worker works; its id as a host."""
        return self._writer.register_host({**facts, **self._facts})

    def next_task(self) -> Task | None:
        """The next population to be trained; None if none waits now."""
        while self._waiting:
            population = self._waiting.pop(0)
            size, lack = self._too_many.get(self._shape(population), (0, None))
            members = len(population.revisions[-1].trials)
            if lack is not None and members >= max(size, 2):
                self._split(population.id, lack)  # as many of this shape did not fit a while ago
                continue
            attempt = self._attempts.get(population.id, 0)
            task = Task(population, tuple(self._study.trials[id_] for id_ in population.trials), attempt)
            self._at_work[population.id] = task
            self._tracker.begin(population.id)
            return task
        return None

    def hears(self, key: tuple[int, int]) -> bool:
        """Whether messages about this attempt at a population are still listened to."""
        task = self._at_work.get(key[0])
        return task is not None and task.key == key

    def take(self, task: Task, message: Message, *, host: int | None = None) -> None:
        """Act on what is said of a population at work; a revision is on the disk when this returns.

        Raises:
            ValueError: training raised one.
            TrainingError: it raised another error.
            LostWorkerError: the population is no longer this worker's.
        """
        if not self.hears(task.key):
            raise LostWorkerError(f"population {task.population.id} is another worker's by now")
        population = task.population.id
        match message:
            case Begun(step):
                if step > self._begun.get(population, 0):  # by a checkpoint of the worker before
                    self._begun[population], self._losses[population] = step, 0
                self._tracker.begun(population, step)
            case AtStep(step):
                self._tracker.at_step(population, step)
            case Revise(from_step, trials):
                self._writer.revise_population(population, from_step=from_step, trials=trials)
            case Warned(text):
                warnings.warn(text, stacklevel=2)
            case Trained(results, seconds):
                self._writer.finish_population(population, results, seconds=seconds, host=host)
                remove_checkpoint(task.checkpoint(self.job.store))
                del self._at_work[population]
                self._tracker.end(population, len(results))
                self._go_on()
            case OutOfMemory() as lack:
                members = len(task.population.revisions[-1].trials)
                self._too_many[self._shape(task.population)] = (members, lack)
                del self._at_work[population]
                self._tracker.drop(population)
                self._split(population, lack)
            case Raised(says, bad_input, traceback):
                raise (
                    ValueError(f"{named(task)}: {says}")
                    if bad_input
                    else TrainingError(f"{named(task)}: {says}\n{traceback}")
                )

    def lose(self, task: Task, how: str) -> None:
        """A worker is gone: what it had at work waits again.

        Raises:
            TrainingError: this population has cost too many workers, and none of them got on with it.
        """
        if not self.hears(task.key):
            return
        population = task.population.id
        self._attempts[population] = task.attempt + 1
        self._losses[population] = self._losses.get(population, 0) + 1
        if self._losses[population] >= LOSSES:
            raise TrainingError(
                f"{named(task)}: {LOSSES} workers were lost over it, the last one {how}; a process that is killed "
                "is mostly one that the machine had no memory for: fewer workers or smaller populations need less"
            )
        del self._at_work[population]
        self._tracker.drop(population)
        warnings.warn(f"{named(task)}: its worker was lost ({how}); it is trained again", stacklevel=2)
        self._read()

    def _split(self, population: int, lack: OutOfMemory) -> None:
        assert self._corpus is not None  # a user's own function has no population to split
        if ended := split_stored(
            self._writer, self.job.store, self._corpus, population, lack, measure=self.job.measure
        ):
            self._tracker.end(population, ended)
        self._read()
        self._go_on()

    def _go_on(self) -> None:
        """Ask for more when nothing is left."""
        while (
            not self._waiting and not self._at_work and self._more(self._writer, read_study(self.job.store))
        ):
            self._read()

    def _read(self) -> None:
        """Take in the store when it has other populations, or other revisions, than before."""
        study = read_study(self.job.store)
        self._tracker.read(study)
        self._take_in(study)

    def _take_in(self, study: StoredStudy) -> None:
        self._study = study
        waiting = [p for p in self._study.pending_populations() if p.id not in self._at_work]
        if self._longest_first:
            waiting.sort(key=lambda p: -self._tracker.work_of(p.id))
        self._waiting = waiting

    def _shape(self, population: PopulationRow) -> str:
        return shape_key(json.loads(self._study.trials[population.trials[0]].recipe))


def named(task: Task) -> str:
    """A population and its trials, for a message."""
    ids = task.population.trials
    whole = list(ids) == list(range(ids[0], ids[-1] + 1))
    trials = f"{ids[0]} to {ids[-1]}" if whole and len(ids) > 2 else ", ".join(map(str, ids))
    return f"population {task.population.id} (trial{'s' * (len(ids) > 1)} {trials})"
