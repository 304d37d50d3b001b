"""What a trial that is trained layer by layer needs on a named GPU, before there is one: it alone."""

from typing import TYPE_CHECKING

from widthwise.study.fit import Fit
from widthwise.study.gpu import Gpu
from widthwise.study.recipe import Recipe
from widthwise.study.train_wide import require_room, storage_of

if TYPE_CHECKING:
    from widthwise.train import Recipe as TrainRecipe

BLOCK_SECONDS = 6e-3
"""A block's share of the shortest step: 0.04 to 0.06 s for 8 blocks, up to width 1024 (wide_check.json)."""
TRIAL_SECONDS = 0.5
"""Of a trial beside its steps and what is measured: reading, freeing memory, writing (the same)."""
BYTES = {"sgd": 10, "adam": 14, "adam-atan2": 14, "adafactor": 156}
"""Read and written by an update for each parameter: weights, gradient and state in few bits; Adafactor goes over the
gradient three times in float32, operation by operation. Counted in the code."""
PASSES = 5
"""Products of a measurement in float32: W z, W_0 z_0, and the three with what has changed."""


def fit_wide(stored: Recipe, recipe: "TrainRecipe", gpu: Gpu) -> Fit:
    """How such a trial runs.

    Args:
        stored: as the study keeps it.
        recipe: the same as the training room takes it, with what is measured.

    Raises:
        ValueError: the GPU does not hold it; the message says which machine does.
    """
    from widthwise.train import Precision, throughput_of
    from widthwise.train.throughput import step_flops

    storage = storage_of(stored)
    held = require_room(recipe, storage, there=gpu.bytes, where=f"one {gpu.name}")
    rate = throughput_of(gpu.device, cuda=gpu.capability is not None)
    parameters = recipe.model.parameter_count
    arithmetic = step_flops(recipe, recompute=True) / rate.flops[recipe.precision]
    traffic = BYTES.get(stored["optimizer"]["kind"], max(BYTES.values())) * parameters / rate.bandwidth
    measured = 0.0
    if recipe.alignment is not None:
        times = len(recipe.alignment.measured(recipe.schedule.steps))
        tokens = recipe.alignment.windows(recipe.model.context) * recipe.model.context
        measured = times * PASSES * 2 * parameters * tokens / rate.flops[Precision.FLOAT32]
    return Fit(
        members=1,
        micro_batches=storage.micro_batches,
        recompute=True,
        gpus=1,
        bytes=held,
        step_seconds=(arithmetic + traffic) / rate.share,
        floor_seconds=BLOCK_SECONDS * recipe.model.depth,
        start_seconds=TRIAL_SECONDS + measured,
        layer_major=True,
    )
