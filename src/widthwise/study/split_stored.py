"""A population that does not fit on the device goes on in halves: recorded by the store's writer."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from widthwise.records import PopulationRow, TrialRow, TrialStatus, read_study
from widthwise.study import runner
from widthwise.study.checkpoints import checkpoint_path
from widthwise.study.measure_spec import MeasureSpec
from widthwise.study.other_ways import other_ways
from widthwise.study.store import StoreWriter
from widthwise.study.task import OutOfMemory
from widthwise.study.train_stored import stored_revisions
from widthwise.study.trial_result import TrialResult

if TYPE_CHECKING:
    from widthwise.train import Checkpoint, Corpus, Member, Recipe


def split_stored(
    writer: StoreWriter,
    store: Path,
    corpus: "Corpus",
    population: int,
    lack: OutOfMemory,
    *,
    measure: MeasureSpec | None = None,
) -> int:
    """Record that a population goes on as smaller ones, or, if it is one trial, that this has failed.

    Nothing is lost: the parts go on from the population's last checkpoint, or, without one, begin as it did.

    Args:
        store: the file that is open in `writer`.
        measure: what is measured on the way.

    Returns:
        How many trials of it have ended, if it was the last of them that failed; 0 if it was split.
    """
    study = read_study(store)
    row = next(p for p in study.populations if p.id == population)
    trials = [study.trials[id_] for id_ in row.trials]
    recipe, members = runner.training_inputs(trials, measure)
    path = checkpoint_path(store, population)
    found = _checkpoint(path, row, recipe, members, corpus)
    if found is not None and not _save_parts(writer, store, found, recipe, members, corpus):
        found = None
    going_on = tuple(range(len(trials))) if found is None else found.members
    ended = {} if found is None else found.ended
    results = [runner.trial_result(trials[p].id, outcome) for p, outcome in ended.items()]
    if len(going_on) == 1:
        results.append(_failed(trials[going_on[0]], recipe, lack))
        writer.finish_population(population, results, seconds=0.0)
        path.unlink(missing_ok=True)
        return len(results)
    step, parts = 0 if found is None else found.step, halves(going_on)
    writer.split_population(
        population, [[trials[p].id for p in part] for part in parts], from_step=step, results=results
    )
    path.unlink(missing_ok=True)
    warnings.warn(
        f"{len(going_on)} models of width {recipe.model.width} do not fit on the device together: they go on "
        f"from step {step} in parts of {' and '.join(str(len(part)) for part in parts)}",
        stacklevel=3,
    )
    return 0


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
    writer: StoreWriter,
    store: Path,
    found: "Checkpoint",
    recipe: "Recipe",
    members: "Sequence[Member]",
    corpus: "Corpus",
) -> bool:
    """Write the parts' checkpoints before the store knows of them: a kill in between leaves the population whole."""
    from widthwise.train import part_of_checkpoint, run_identity, save_checkpoint

    if len(found.members) == 1:
        return True
    for id_, part in enumerate(halves(found.members), start=writer.next_population()):
        identity = run_identity(recipe, [members[p] for p in part], corpus)
        path = checkpoint_path(store, id_)
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


def _failed(trial: TrialRow, recipe: "Recipe", lack: OutOfMemory) -> TrialResult:
    parameters = recipe.model.parameter_count
    ways = other_ways(json.loads(trial.recipe), recipe, there=lack.there, one_gpu=lack.one_gpu)
    reason = (
        f"out of memory: one model of {parameters} parameters, {4 * parameters} bytes of weights alone, does not fit "
        f"on the device ({lack.says}); choose a smaller width, batch or context, or a device with more memory{ways}"
    )
    return TrialResult(trial.id, TrialStatus.FAILED, reason, None, None, ())
