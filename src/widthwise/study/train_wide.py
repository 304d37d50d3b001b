"""Trials of `training.form: layer-major`: whether one fits on a device, and how it is trained (docs/wide.md)."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from widthwise.records import TrialRow, TrialStatus
from widthwise.study import runner
from widthwise.study.compose import PopulationSize
from widthwise.study.measure_spec import MeasureSpec
from widthwise.study.recipe import Recipe
from widthwise.study.train_own import Curve
from widthwise.study.trial_result import TrialResult

if TYPE_CHECKING:
    import torch

    from widthwise.train import Corpus
    from widthwise.train import Recipe as TrainRecipe
    from widthwise.wide import Storage

FORM = "form"
"""The field of a recipe that says that its trial is trained so."""


def is_wide(recipe: Recipe) -> bool:
    """Whether a trial is trained layer by layer."""
    return FORM in recipe


def storage_of(recipe: Recipe) -> "Storage":
    """How a trial's model is kept; the random bits of its rounding are its own seed's.

    Raises:
        ValueError: its optimizer has no state of this format.
    """
    from widthwise.optim import StateFormat
    from widthwise.train import Precision
    from widthwise.wide import Storage

    form = recipe[FORM]
    storage = Storage(
        weights=Precision(form["weights"]),
        state=StateFormat(form["state"]),
        micro_batches=form["micro_batches"],
        rounding_seed=recipe["seeds"]["init"] % 2**32,
    )
    storage.updates(runner.train_recipe(recipe).update)
    return storage


def needed_bytes(recipe: "TrainRecipe", storage: "Storage") -> int:
    """What a trial takes on its device, its measurements included."""
    from widthwise.models import Transformer
    from widthwise.wide import layer_major_budget, measuring_bytes

    assert isinstance(recipe.model, Transformer)  # checked with the specification
    budget = layer_major_budget(recipe.model, recipe.update, storage, batch=recipe.batch)
    measured = 0 if recipe.alignment is None else budget.kept + measuring_bytes(recipe.model)
    return max(budget.total, measured)


def require_room(recipe: "TrainRecipe", storage: "Storage", *, there: int, where: str) -> int:
    """What a trial takes, in bytes, checked against what there is.

    Raises:
        ValueError: it is more; the message says which named machine has it, or what would.
    """
    from widthwise.models import Transformer
    from widthwise.wide import machine_for

    assert isinstance(recipe.model, Transformer)  # checked with the specification
    need = needed_bytes(recipe, storage)
    if need > there:
        machine = machine_for(recipe.model, recipe.update, storage, batch=recipe.batch)
        raise ValueError(
            f"width {recipe.model.width} ({recipe.model.parameter_count / 1e9:.3g} billion parameters) takes "
            f"{need / 2**30:.3g} GiB layer by layer, and {where} has {there / 2**30:.3g} GiB: "
            f"{machine.name} ({machine.gib:g} GiB) has it; or leave the width out"
        )
    return need


def form_that_fits(recipe: "TrainRecipe", *, there: int) -> str | None:
    """What a specification says for a model to be trained layer by layer, in the fewest pieces of a batch that fit.

    Returns:
        It, and the bytes it takes, as text; None where there is no such training of the model, or no room for it.
    """
    from widthwise.models import Transformer
    from widthwise.records import Since
    from widthwise.train.memory_sums import readable
    from widthwise.train.micro_batch import divisors
    from widthwise.wide import Storage

    if not isinstance(recipe.model, Transformer):
        return None
    if recipe.alignment is not None and Since.UPDATE in recipe.alignment.since:
        return None
    for pieces in divisors(recipe.batch):
        storage = Storage(micro_batches=pieces)
        try:
            storage.updates(recipe.update)
        except ValueError:
            return None
        if (need := needed_bytes(recipe, storage)) <= there:
            return f"training: {{form: {{kind: layer-major, micro_batches: {pieces}}}}}, in {readable(need)}"
    return None


def wide_size(recipe: Recipe, device: "torch.device", measure: MeasureSpec | None) -> PopulationSize:
    """The population of such a trial: it alone.

    Raises:
        ValueError: it does not fit; see `require_room`.
    """
    from widthwise.train import device_bytes

    storage = storage_of(recipe)
    where = f"this {device.type} device"
    require_room(runner.train_recipe(recipe, measure), storage, there=device_bytes(device), where=where)
    return PopulationSize(1, storage.micro_batches)


def train_wide(
    trial: TrialRow,
    corpus: "Corpus",
    *,
    device: "torch.device",
    measure: MeasureSpec | None,
    progress: Callable[[int], None],
) -> TrialResult:
    """Train one such trial, from its beginning.

    Raises:
        torch.OutOfMemoryError: it does not fit on the device.
    """
    from widthwise.train import free_memory
    from widthwise.wide import train_layer_major

    if device.type == "cuda":
        free_memory(device)  # of the trial before
    recipe: Recipe = json.loads(trial.recipe)
    shared, (member,) = runner.training_inputs([trial], measure)
    curve = Curve(shared.schedule.steps, progress, points=shared.curve_points)
    found = train_layer_major(
        shared,
        member,
        corpus,
        device=device,
        storage=storage_of(recipe),
        sizes=measure is not None and measure.sizes,
        report=curve.report,
    )
    diverged = found.divergence
    return TrialResult(
        trial=trial.id,
        status=TrialStatus.COMPLETED if diverged is None else TrialStatus.DIVERGED,
        reason=None if diverged is None else diverged.reason,
        step=None if diverged is None else diverged.step,
        validation_loss=found.validation_loss,
        curve=curve.points(),
        alignment=found.alignment,
        sizes=found.sizes,
        spreads=found.spreads,
    )
