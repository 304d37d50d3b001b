"""Train each population over all processes that `torchrun` started, every tensor split between them.

The process of rank 0 runs the study as any other does: it alone opens the store, and takes populations from the desk.
The others follow it: they are told of every population before it begins, and train their part of it.

    torchrun --nproc-per-node 8 -m widthwise study run SPEC --store FILE

For models that do not fit one device; where they do, workers that train whole populations need to send nothing.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from widthwise.study import runner
from widthwise.study.checkpoints import shards_path
from widthwise.study.desk import Desk
from widthwise.study.executor import Crew, Executor, train_at_desk
from widthwise.study.sharded_size import require_tensors
from widthwise.study.task import Job, Task
from widthwise.study.train_stored import Bench, train_stored
from widthwise.study.worker import open_bench

if TYPE_CHECKING:
    import torch

    from widthwise.train import Checkpoints, Corpus, Outcome

Value = TypeVar("Value")
PATIENCE = timedelta(days=7)
"""How long those who follow wait for the next population: rank 0 reads a text, or decides a round, in the meantime."""


@dataclass(frozen=True)
class Sharded:
    """In all processes of `torchrun` at once; without it, in this one."""

    def open(self, device: str) -> "AbstractContextManager[Crew]":
        """See `Executor`; what `led` gives in its place is what opens.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "a sharded study is run by `run_study` or `resume_study`, in every process of the group"
        )


def started_processes() -> int:
    """How many processes `torchrun` has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def led(executor: Executor, device: str) -> "Iterator[Executor | None]":
    """Around a run of a study: the executor to run it with; None in a process that has followed another one's run.

    Args:
        device: `cpu`, `cuda` or `auto`.

    Raises:
        ValueError: `torchrun` started several processes, and the executor is none that they share; no such device.
    """
    if not isinstance(executor, Sharded):
        if started_processes() > 1 and not isinstance(executor, _Leading):
            raise ValueError(
                f"torchrun started {started_processes()} processes, and with {type(executor).__name__}() each of them "
                "would run the study: use --executor sharded, or start it without torchrun"
            )
        yield executor
        return
    if follow(executor, device):
        yield None
        return
    from widthwise.wide.processes import process_group

    with process_group(runner.choose_device(device).type) as mine:
        channel = _Channel.open()
        yield _Leading(channel, mine)
        channel.say(
            None
        )  # after an error nobody would hear it: torchrun ends the others when this process ends


def follow(executor: Executor, device: str) -> bool:
    """Train this process's part of all that rank 0 trains, to the end of its run; False if it is not one to follow."""
    if not isinstance(executor, Sharded) or int(os.environ.get("RANK", "0")) == 0:
        return False
    from widthwise.wide.processes import process_group

    with process_group(runner.choose_device(device).type) as mine:
        channel = _Channel.open()
        job = channel.hear()
        if not isinstance(job, Job):
            return True
        bench = replace(open_bench(job), device=mine, train=train_in_parts)
        while isinstance(task := channel.hear(), Task):
            train_stored(bench, task, task.checkpoint(job.store), _Nobody())
    return True


def train_in_parts(*arguments: Any, checkpoints: "Checkpoints", **options: Any) -> "tuple[Outcome, ...]":
    """`wide.train_sharded`, which keeps its state in a folder where one process has a file."""
    from widthwise.wide.train_sharded import train_sharded

    folder = replace(checkpoints, path=shards_path(checkpoints.path))
    return train_sharded(*arguments, checkpoints=folder, **options)


@dataclass(frozen=True)
class _Nobody:
    """A `Reporter` of a process that follows: rank 0 says the same to the writer."""

    def begun(self, step: int) -> None:
        pass

    def at_step(self, step: int) -> None:
        pass

    def revise(self, from_step: int, trials: Sequence[int]) -> None:
        pass


@dataclass(frozen=True)
class _Leading:
    """The executor of rank 0, in a run that `led` is around."""

    channel: "_Channel"
    chosen: "torch.device"

    def open(self, device: str) -> "AbstractContextManager[Crew]":
        return nullcontext(_ShardedCrew(self.channel, self.chosen))


@dataclass(frozen=True)
class _ShardedCrew:
    """All processes of the group, as one."""

    channel: "_Channel"
    chosen: "torch.device"
    places: int = 1
    longest_first: bool = False

    @property
    def device(self) -> str:
        return self.chosen.type

    @property
    def split(self) -> int:
        return started_processes()

    @property
    def sharing(self) -> int:
        return started_processes() if self.chosen.type == "cpu" else 1

    def call(self, function: Callable[..., Value], *arguments: object) -> Value:
        return function(*arguments)

    def train(self, desk: Desk, corpus: "Corpus | None") -> None:
        facts = runner.host_facts(self.chosen)
        desk.register({**facts, "device": f"{self.split} x {facts['device']}, sharded"})
        self.channel.say(desk.job)
        bench = Bench(corpus, self.chosen, desk.job.checkpoint_seconds, desk.job.measure, train_in_parts)
        train_at_desk(desk, bench, announce=self._announce)

    def _announce(self, task: Task) -> None:
        for trial in task.trials:
            require_tensors(json.loads(trial.recipe))
        self.channel.say(task)


class _Channel:
    """What rank 0 says to the others, in order."""

    def __init__(self, group: Any) -> None:
        self._group = group

    @classmethod
    def open(cls) -> "_Channel":
        """Called by every process at once."""
        import torch.distributed as dist

        return cls(dist.new_group(backend="gloo", timeout=PATIENCE))

    def say(self, value: object) -> None:
        """Called by rank 0."""
        self._pass([value])

    def hear(self) -> object:
        """Called by every other."""
        return self._pass([None])

    def _pass(self, values: list[object]) -> object:
        import torch.distributed as dist

        dist.broadcast_object_list(values, src=0, group=self._group)
        return values[0]
