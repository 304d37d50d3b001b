"""Over how many GPUs a model has to be sharded (FSDP2): the fewest whose parts fit, by `wide.sharded_memory`."""

from dataclasses import replace
from typing import TYPE_CHECKING

from widthwise.study.gpu import Gpu

if TYPE_CHECKING:
    from widthwise.train import ActivationPlan, Execution, Recipe

MOST_GPUS = 256
"""Powers of two up to this are tried."""


def shard(
    recipe: "Recipe", gpu: Gpu, execution: "Execution", program: int
) -> "tuple[int, ActivationPlan, int] | None":
    """The fewest GPUs, of two or more, that hold a model; None if no number does.

    Returns:
        Their number, how each runs its part of the batch, and the bytes that it holds.

    Args:
        program: the bytes that every GPU holds besides.
    """
    from widthwise.train import ActivationPlan
    from widthwise.train.choose_population import MARGIN
    from widthwise.train.micro_batch import divisors
    from widthwise.wide import sharded_memory

    usable = int(gpu.bytes * (1 - MARGIN)) - program
    gpus = 2
    while gpus <= min(MOST_GPUS, recipe.batch) and recipe.batch % gpus == 0:
        part = replace(recipe, batch=recipe.batch // gpus)
        for recompute in (False, True):
            for pieces in divisors(part.batch):
                plan = ActivationPlan(pieces, recompute=recompute)
                held = sharded_memory(part, replace(execution, activations=plan), gpus).bytes
                if held <= usable:
                    return gpus, plan, held + program
        gpus *= 2
    return None
