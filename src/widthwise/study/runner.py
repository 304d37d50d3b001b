"""Trains a population from its trials' recipes: the bridge from a study's records to the training room."""

import json
import platform
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from widthwise.records import TrialRow, TrialStatus
from widthwise.study.expand import RULES, model_roles
from widthwise.study.measure_spec import MeasureSpec
from widthwise.study.recipe import Recipe, unpack_numbers
from widthwise.study.trial_result import TrialResult
from widthwise.theory import rate_power

if TYPE_CHECKING:
    import torch

    from widthwise.models import ReferenceModel
    from widthwise.optim import MemberUpdate
    from widthwise.train import Checkpoints, Corpus, Member, Outcome, Record
    from widthwise.train import Recipe as TrainRecipe

Train = Callable[..., "tuple[Outcome, ...]"]
"""Trains a population; see `train.train_population`."""

CURVE_POINTS = 50
"""Points of a stored training curve; they observe a run and are no part of its identity."""


def choose_device(name: str) -> "torch.device":
    """The device to train on.

    Args:
        name: `cpu`, `cuda`, or `auto` for CUDA where there is one.

    Raises:
        ValueError: `cuda` where there is none, or another name.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise ValueError(f"device {name!r} is unknown; choose cpu, cuda or auto")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' was asked for but torch sees no CUDA device; choose cpu or auto")
    return torch.device(name)


def host_facts(device: "torch.device") -> dict[str, str]:
    """What results depend on beyond their recipes: machine, versions, threads."""
    import numpy
    import torch

    from widthwise import __version__

    return {
        "machine": platform.platform(),
        "processor": platform.machine(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": str(torch.get_num_threads()),
        "widthwise": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }


def train_trials(
    trials: Sequence[TrialRow],
    corpus: "Corpus",
    *,
    device: "torch.device",
    measure: MeasureSpec | None = None,
    progress: Callable[[int], None] | None = None,
    checkpoints: "Checkpoints | None" = None,
    record: "Record | None" = None,
    micro_batches: int = 1,
    recompute: bool = False,
    train: "Train | None" = None,
) -> list[TrialResult]:
    """Train the trials of one population side by side, in the order given.

    Args:
        trials: all of one shape (`expand.shape_key`).
        measure: what is measured on the way.
        progress: called now and then with the number of steps done.
        checkpoints, record: as `train_population` takes them.
        micro_batches, recompute: how a step's activations are kept small; see `train.ActivationPlan`.
        train: in the place of `train_population`, as which it is called.

    Raises:
        torch.OutOfMemoryError: they do not fit on the device side by side.
    """
    from widthwise.train import ActivationPlan, train_population

    shared, members = training_inputs(trials, measure)
    outcomes = (train_population if train is None else train)(
        shared,
        members,
        corpus,
        device=device,
        progress=progress,
        checkpoints=checkpoints,
        record=record,
        activations=ActivationPlan(micro_batches, recompute=recompute),
    )
    return [trial_result(trial.id, outcome) for trial, outcome in zip(trials, outcomes, strict=True)]


def training_inputs(
    trials: Sequence[TrialRow], measure: MeasureSpec | None
) -> tuple["TrainRecipe", list["Member"]]:
    """What a population shares, and what each of its trials has of its own, as the training room takes it.

    Args:
        measure: what is measured on the way.
    """
    from widthwise.train import Member

    recipes: list[Recipe] = [json.loads(trial.recipe) for trial in trials]
    shared = train_recipe(recipes[0], measure)
    power = rate_power(RULES[recipes[0]["optimizer"]["kind"]])
    tensors = shared.model.tensors()
    members = [
        Member(
            numbers=unpack_numbers(recipe, tensors, rate_power=power),
            init_seed=recipe["seeds"]["init"],
            data_seed=recipe["seeds"]["data"],
        )
        for recipe in recipes
    ]
    return shared, members


def train_recipe(recipe: Recipe, measure: MeasureSpec | None = None) -> "TrainRecipe":
    """What a population shares, as the training room takes it, with what is measured of it."""
    from widthwise.train import LossLimit, Precision, WarmupCosine
    from widthwise.train import Recipe as TrainRecipe

    model = _model(recipe)
    return TrainRecipe(
        model=model,
        update=_update(recipe),
        schedule=WarmupCosine(**recipe["schedule"]),
        batch=recipe["batch"],
        precision=Precision(recipe["precision"]),
        validation_windows=recipe["validation_windows"],
        curve_points=CURVE_POINTS,
        loss_limit=LossLimit(**recipe["divergence"]),
        alignment=None if measure is None else measure.alignment.plan(model, model_roles(model)),
    )


def _model(recipe: Recipe) -> "ReferenceModel":
    from widthwise.models import MLP, Transformer
    from widthwise.train import VOCABULARY

    sizes = {field: value for field, value in recipe["model"].items() if field != "kind"}
    kinds = {"transformer": Transformer, "mlp": MLP}
    return kinds[recipe["model"]["kind"]](**{"vocabulary": VOCABULARY, **sizes})


def _update(recipe: Recipe) -> "MemberUpdate":
    from widthwise.optim import (
        AdafactorConstants,
        AdafactorUpdate,
        AdamAtan2Update,
        AdamUpdate,
        ParameterScaling,
        SgdUpdate,
    )

    constants = {field: value for field, value in recipe["optimizer"].items() if field != "kind"}
    match recipe["optimizer"]["kind"]:
        case "adafactor":
            scaling = ParameterScaling(constants.pop("floor"))
            return AdafactorUpdate(AdafactorConstants(parameter_scaling=scaling, **constants))
        case "adam-ps":
            scaling = ParameterScaling(constants.pop("floor"))
            return AdamUpdate(parameter_scaling=scaling, **constants)
        case kind:
            kinds = {"sgd": SgdUpdate, "adam": AdamUpdate, "adam-atan2": AdamAtan2Update}
            return kinds[kind](**constants)


def trial_result(trial: int, outcome: "Outcome") -> TrialResult:
    """How a trial ended, as the store keeps it."""
    divergence = outcome.divergence
    return TrialResult(
        trial=trial,
        status=TrialStatus.COMPLETED if divergence is None else TrialStatus.DIVERGED,
        reason=None if divergence is None else divergence.reason,
        step=None if divergence is None else divergence.step,
        validation_loss=outcome.validation_loss,
        curve=outcome.curve,
        alignment=outcome.alignment,
    )
