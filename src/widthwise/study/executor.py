"""Where a study's populations are trained: in this process, in processes of this host, or on a Ray cluster.

An `Executor` is a value that says which; opened, it is a `Crew`, whose workers take populations from a `Desk` until
none is left. The store's writer stays the one process that ran the study, and what is trained is the same everywhere.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from widthwise.study import runner
from widthwise.study.desk import Desk, named
from widthwise.study.task import AtStep, Begun, Revise, Task
from widthwise.study.train_stored import Bench, train_stored

if TYPE_CHECKING:
    import torch

    from widthwise.train import Corpus

Value = TypeVar("Value")


class Crew(Protocol):
    """Those who train, ready to."""

    @property
    def device(self) -> str:
        """What each of them trains on: `cpu` or `cuda`."""
        ...

    @property
    def sharing(self) -> int:
        """How many of them share a device's memory."""
        ...

    @property
    def split(self) -> int:
        """Over how many of them each tensor of a population is split."""
        ...

    @property
    def places(self) -> int:
        """How many of them train beside each other."""
        ...

    @property
    def longest_first(self) -> bool:
        """Whether large populations are given out before small ones, so that all workers end together."""
        ...

    def call(self, function: Callable[..., Value], *arguments: object) -> Value:
        """The value of a function where there is a device like the workers'."""
        ...

    def train(self, desk: Desk, corpus: "Corpus | None") -> None:
        """Train what is waiting at the desk, until nothing is.

        Args:
            corpus: as the writer's process read it.

        Raises:
            ValueError: a population's training raised one.
            TrainingError: it raised another error, or lost one worker after another.
            KeyboardInterrupt: the desk's `stop` was asked for, and this crew looks at it.
        """
        ...


class Executor(Protocol):
    """Where to train, as a value."""

    def open(self, device: str) -> AbstractContextManager[Crew]:
        """Get ready, before anything is written.

        Args:
            device: `cpu`, `cuda` or `auto`.

        Raises:
            ValueError: there is no such device, or no such crew.
        """
        ...


@dataclass(frozen=True)
class Local:
    """In this process, one population after another."""

    def open(self, device: str) -> "AbstractContextManager[Crew]":
        """See `Executor`."""
        return nullcontext(_LocalCrew(runner.choose_device(device)))


@dataclass(frozen=True)
class _LocalCrew:
    chosen: "torch.device"
    sharing: int = 1
    split: int = 1
    places: int = 1
    longest_first: bool = False

    @property
    def device(self) -> str:
        return self.chosen.type

    def call(self, function: Callable[..., Value], *arguments: object) -> Value:
        return function(*arguments)

    def train(self, desk: Desk, corpus: "Corpus | None") -> None:
        desk.register(runner.host_facts(self.chosen))
        job = desk.job
        train_at_desk(desk, Bench(corpus, self.chosen, job.checkpoint_seconds, job.measure, stop=desk.stop))


def train_at_desk(desk: Desk, bench: Bench, *, announce: Callable[[Task], None] = lambda task: None) -> None:
    """Train what is waiting, one population after another, in the writer's own process.

    Args:
        announce: called with each before it begins.

    Raises:
        KeyboardInterrupt: the run was asked to stop.
    """
    while (task := desk.next_task()) is not None:
        announce(task)
        try:
            found = train_stored(bench, task, task.checkpoint(desk.job.store), _AtDesk(desk, task))
        except Exception as error:
            error.add_note(f"in {named(task)}")
            raise
        desk.take(task, found)
        if desk.stop.asked and desk.waiting():
            raise KeyboardInterrupt  # it ended before it looked again


@dataclass(frozen=True)
class _AtDesk:
    """A `Reporter` in the writer's own process."""

    desk: Desk
    task: Task

    def begun(self, step: int) -> None:
        self.desk.take(self.task, Begun(step))

    def at_step(self, step: int) -> None:
        self.desk.take(self.task, AtStep(step))

    def revise(self, from_step: int, trials: Sequence[int]) -> None:
        self.desk.take(self.task, Revise(from_step, tuple(trials)))
