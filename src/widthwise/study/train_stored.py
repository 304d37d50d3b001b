"""Train a population of a store, wherever that happens: from its checkpoint, and by its record."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from widthwise.records import PopulationRow
from widthwise.study import runner
from widthwise.study.measure_spec import MeasureSpec
from widthwise.study.own_trial import own_trial
from widthwise.study.stop import Stop
from widthwise.study.task import OutOfMemory, Task, Trained
from widthwise.study.train_own import train_own
from widthwise.study.train_wide import is_wide, train_wide
from widthwise.study.trial_result import TrialResult
from widthwise.user_code import find_callable

if TYPE_CHECKING:
    import torch

    from widthwise.train import Corpus, Revision

Value = TypeVar("Value")


class Reporter(Protocol):
    """The writer, as a population in training sees it."""

    def begun(self, step: int) -> None:
        """Training begins after this many steps."""
        ...

    def at_step(self, step: int) -> None:
        """So many steps are done."""
        ...

    def revise(self, from_step: int, trials: Sequence[int]) -> None:
        """Record who is trained from a step on; on the disk when this returns."""
        ...


@dataclass(frozen=True)
class Bench:
    """Where populations are trained: the text, the device, how often their state is kept, and what is measured.

    The text is None where a user's own function trains. `train` is None where this process trains whole populations,
    which then look at `stop`.
    """

    corpus: "Corpus | None"
    device: "torch.device"
    checkpoint_seconds: float
    measure: MeasureSpec | None = None
    train: runner.Train | None = None
    stop: Stop | None = None


def train_stored(bench: Bench, task: Task, checkpoint: Path, reporter: Reporter) -> Trained | OutOfMemory:
    """Train a population to its end, or until the device has no memory for it; then its checkpoint stays.

    Args:
        checkpoint: the file that its state is kept in, and gone on from.

    Raises:
        KeyboardInterrupt: it was stopped; its state is kept.
    """
    started = time.monotonic()
    corpus = bench.corpus
    if corpus is None:
        return Trained(tuple(_own_results(task, reporter)), time.monotonic() - started)
    found = unless_out_of_memory(
        lambda: (
            _wide_results(bench, corpus, task, reporter)
            if is_wide(json.loads(task.trials[0].recipe))
            else _population_results(bench, corpus, task, checkpoint, reporter)
        ),
        bench.device,
        split=bench.train is not None,
    )
    if isinstance(found, OutOfMemory):
        return found
    return Trained(tuple(found), time.monotonic() - started)


def _population_results(
    bench: Bench, corpus: "Corpus", task: Task, checkpoint: Path, reporter: Reporter
) -> list[TrialResult]:
    """Those of trials that are trained side by side."""
    from widthwise.train import Checkpoints, train_population

    stop = bench.stop or Stop()
    train = bench.train or partial(train_population, stop=lambda: stop.asked)
    with nullcontext() if bench.train else stop.looked_at():
        return runner.train_trials(
            task.trials,
            corpus,
            device=bench.device,
            measure=bench.measure,
            progress=reporter.at_step,
            checkpoints=Checkpoints(checkpoint, bench.checkpoint_seconds),
            record=TaskRecord(task.population, reporter),
            micro_batches=task.population.micro_batches,
            recompute=task.population.recompute,
            train=train,
        )


def _wide_results(bench: Bench, corpus: "Corpus", task: Task, reporter: Reporter) -> list[TrialResult]:
    """Those of trials that are trained layer by layer, each from its beginning."""
    reporter.begun(0)
    how = {"device": bench.device, "measure": bench.measure, "progress": reporter.at_step}
    return [train_wide(trial, corpus, **how) for trial in task.trials]


def _own_results(task: Task, reporter: Reporter) -> Iterator[TrialResult]:
    """Those of a user's own function: one trial after another, each from its beginning."""
    reporter.begun(0)
    for trial in task.trials:
        recipe = json.loads(trial.recipe)
        function = find_callable(recipe["model"]["runner"], what="model.runner")
        yield train_own(trial.id, own_trial(recipe), function, reporter.at_step)


def unless_out_of_memory(
    work: Callable[[], Value], device: "torch.device", *, split: bool = False
) -> Value | OutOfMemory:
    """The value of a function, or that the device had no memory for it; then what it had taken is free again.

    Args:
        split: whether the device has a part of the population, and others the rest.
    """
    from widthwise.train import device_bytes, free_memory

    try:
        return work()
    except Exception as error:
        if (lack := _memory_error(error)) is None:
            raise
        says = str(lack)
        del lack
    # The errors are forgotten here, and with them the frames that held on to what filled the device.
    free_memory(device)
    return OutOfMemory(says, device_bytes(device), one_gpu=device.type == "cuda" and not split)


def _memory_error(error: BaseException | None) -> "torch.OutOfMemoryError | None":
    """The lack of memory that an error is, or comes from: what compiles or records a step raises errors of its own."""
    import torch

    while error is not None and not isinstance(error, torch.OutOfMemoryError):
        error = error.__cause__ or error.__context__
    return error


def stored_revisions(population: PopulationRow) -> list["Revision"]:
    """What is recorded of a population, as the training room takes it: trials as positions among those who began."""
    from widthwise.train import Revision

    places = {trial: position for position, trial in enumerate(population.trials)}
    return [Revision(row.from_step, tuple(places[t] for t in row.trials)) for row in population.revisions]


class TaskRecord:
    """A population's revisions, as `train_population` asks for them: see `train.Record`."""

    def __init__(self, population: PopulationRow, reporter: Reporter) -> None:
        self._trials, self._reporter = population.trials, reporter
        self._revisions = stored_revisions(population)

    def revisions(self) -> Sequence["Revision"]:
        """All that are recorded."""
        return tuple(self._revisions)

    def begin(self, step: int) -> None:
        """Say so."""
        self._reporter.begun(step)

    def revise(self, revision: "Revision") -> None:
        """Have a revision written into the store."""
        self._reporter.revise(revision.from_step, [self._trials[position] for position in revision.members])
        self._revisions.append(revision)
