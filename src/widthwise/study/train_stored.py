"""Train a population of a store: from its checkpoint, by its record, and in parts if it does not fit on the device."""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from widthwise.records import PopulationRow, StoredStudy, TrialStatus, read_study
from widthwise.study import runner
from widthwise.study.checkpoints import checkpoint_path, remove_checkpoint
from widthwise.study.run_state import Tracker
from widthwise.study.store import StoreWriter, TrialResult

if TYPE_CHECKING:
    import torch

    from widthwise.train import Checkpoint, Corpus, Member, Recipe, Revision

Value = TypeVar("Value")


@dataclass(frozen=True)
class StoredTraining:
    """What the trainings of a store's populations have in common; `store` is open in `writer`."""

    store: Path
    writer: StoreWriter
    corpus: "Corpus"
    device: "torch.device"
    checkpoint_seconds: float
    tracker: Tracker


@dataclass(frozen=True)
class OutOfMemory:
    """That a population did not fit, in the device's own words."""

    says: str


def train_stored(
    training: StoredTraining, study: StoredStudy, population: PopulationRow
) -> OutOfMemory | None:
    """Train a population and record its results, or, if it does not fit on the device, that it is split.

    Returns:
        What the device said if the population did not fit; then the study has other populations than before.
    """
    from widthwise.train import Checkpoints

    path = checkpoint_path(training.store, population.id)
    trials = [study.trials[id_] for id_ in population.trials]
    training.tracker.begin(population.id)
    started = time.monotonic()
    found = unless_out_of_memory(
        lambda: runner.train_trials(
            trials,
            training.corpus,
            device=training.device,
            progress=training.tracker.at_step,
            checkpoints=Checkpoints(path, training.checkpoint_seconds),
            record=StoreRecord(training, population),
            micro_batches=population.micro_batches,
            recompute=population.recompute,
        ),
        training.device,
    )
    if isinstance(found, OutOfMemory):
        split_stored(training, population.id, found)
        return found
    training.writer.finish_population(population.id, found, seconds=time.monotonic() - started)
    remove_checkpoint(path)
    training.tracker.end(len(found))
    return None


def unless_out_of_memory(work: Callable[[], Value], device: "torch.device") -> Value | OutOfMemory:
    """The value of a function, or that the device had no memory for it; then what it had taken is free again."""
    from widthwise.train import free_memory

    try:
        return work()
    except Exception as error:
        if (lack := _memory_error(error)) is None:
            raise
        says = str(lack)
        del lack
    # The errors are forgotten here, and with them the frames that held on to what filled the device.
    free_memory(device)
    return OutOfMemory(says)


def _memory_error(error: BaseException | None) -> "torch.OutOfMemoryError | None":
    """The lack of memory that an error is, or comes from: what compiles or records a step raises errors of its own."""
    import torch

    while error is not None and not isinstance(error, torch.OutOfMemoryError):
        error = error.__cause__ or error.__context__
    return error


def split_stored(training: StoredTraining, population: int, lack: OutOfMemory) -> None:
    """Record that a population goes on as smaller ones, or, if it is one trial, that this has failed.

    Nothing is lost: the parts go on from the population's last checkpoint, or, without one, begin as it did.
    """
    study = read_study(training.store)
    row = next(p for p in study.populations if p.id == population)
    trials = [study.trials[id_] for id_ in row.trials]
    recipe, members = runner.training_inputs(trials)
    writer, path = training.writer, checkpoint_path(training.store, population)
    found = _checkpoint(path, row, recipe, members, training.corpus)
    if found is not None and not _save_parts(training, found, recipe, members):
        found = None
    going_on = tuple(range(len(trials))) if found is None else found.members
    ended = {} if found is None else found.ended
    results = [runner.trial_result(trials[p].id, outcome) for p, outcome in ended.items()]
    if len(going_on) == 1:
        results.append(_failed(trials[going_on[0]].id, recipe.model.parameter_count, lack))
        writer.finish_population(population, results, seconds=0.0)
        remove_checkpoint(path)
        training.tracker.end(len(results))
        return
    step, parts = 0 if found is None else found.step, halves(going_on)
    writer.split_population(
        population, [[trials[p].id for p in part] for part in parts], from_step=step, results=results
    )
    remove_checkpoint(path)
    warnings.warn(
        f"{len(going_on)} models of width {recipe.model.width} do not fit on the device together: they go on "
        f"from step {step} in parts of {' and '.join(str(len(part)) for part in parts)}",
        stacklevel=3,
    )


def halves(members: Sequence[int]) -> list[tuple[int, ...]]:
    """Two parts in the order given, the second at most one longer.

    Example:
        >>> halves((4, 5, 7))
        [(4,), (5, 7)]
    """
    middle = len(members) // 2
    return [tuple(members[:middle]), tuple(members[middle:])]


def _checkpoint(
    path: Path, row: PopulationRow, recipe: "Recipe", members: "Sequence[Member]", corpus: "Corpus"
) -> "Checkpoint | None":
    """A population's checkpoint, if its record agrees with it."""
    from widthwise.train import load_checkpoint, members_at, run_identity

    found = load_checkpoint(path, identity=run_identity(recipe, members, corpus))
    agreed = found is not None and members_at(stored_revisions(row), found.step) == found.members
    return found if agreed else None


def _save_parts(
    training: StoredTraining, found: "Checkpoint", recipe: "Recipe", members: "Sequence[Member]"
) -> bool:
    """Write the parts' checkpoints before the store knows of them: a kill in between leaves the population whole."""
    from widthwise.train import part_of_checkpoint, run_identity, save_checkpoint

    if len(found.members) == 1:
        return True
    for id_, part in enumerate(halves(found.members), start=training.writer.next_population()):
        identity = run_identity(recipe, [members[p] for p in part], training.corpus)
        path = checkpoint_path(training.store, id_)
        try:
            save_checkpoint(path, part_of_checkpoint(found, part, identity=identity))
        except OSError as error:
            warnings.warn(
                f"checkpoint {str(path)!r} cannot be written: {error}; the parts of a population that does not "
                f"fit on the device begin at step 0 instead of {found.step}",
                stacklevel=2,
            )
            return False
    return True


def _failed(trial: int, parameters: int, lack: OutOfMemory) -> TrialResult:
    reason = (
        f"out of memory: one model of {parameters} parameters, {4 * parameters} bytes of weights alone, does not fit "
        f"on the device ({lack.says}); choose a smaller width, batch or context, or a device with more memory"
    )
    return TrialResult(trial, TrialStatus.FAILED, reason, None, None, ())


def stored_revisions(population: PopulationRow) -> list["Revision"]:
    """What is recorded of a population, as the training room takes it: trials as positions among those who began."""
    from widthwise.train import Revision

    places = {trial: position for position, trial in enumerate(population.trials)}
    return [Revision(row.from_step, tuple(places[t] for t in row.trials)) for row in population.revisions]


class StoreRecord:
    """A population's revisions in the store, as `train_population` asks for them: see `train.Record`."""

    def __init__(self, training: StoredTraining, population: PopulationRow) -> None:
        self._training, self._population = training, population
        self._revisions = stored_revisions(population)

    def revisions(self) -> Sequence["Revision"]:
        """All that are recorded."""
        return tuple(self._revisions)

    def begin(self, step: int) -> None:
        """Say so, where training goes on from a checkpoint."""
        if step:
            self._training.tracker.resume(step)

    def revise(self, revision: "Revision") -> None:
        """Write a revision into the store."""
        trials = [self._population.trials[position] for position in revision.members]
        self._training.writer.revise_population(
            self._population.id, from_step=revision.from_step, trials=trials
        )
        self._revisions.append(revision)
