"""Over how many GPUs a model has to be sharded (FSDP) to be trained, from the terms of `train.member_memory`.

Weights, their gradients and the optimizer's state are split evenly over k GPUs; each runs batch / k sequences; the
block at work and the next one, or the readout if that is larger, are whole, in the precision of products.
"""

from collections.abc import Iterable
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from widthwise.study.gpu import Gpu

if TYPE_CHECKING:
    from widthwise.train import ActivationPlan, Execution, Recipe
    from widthwise.train.memory_sums import Term

MOST_GPUS = 256
"""Powers of two up to this are tried."""
SPLIT_TERMS = frozenset(
    {
        "weights",
        "optimizer state",
        "low copies",
        "sums of gradients",
        "gradients",
        "the largest tensor's update",
        "the optimizer's scratch",
    }
)
"""What k GPUs share, by the names that `train.member_memory` gives its terms."""


def shard(
    recipe: "Recipe", gpu: Gpu, execution: "Execution", program: int
) -> "tuple[int, ActivationPlan, int] | None":
    """The fewest GPUs that hold a model whose steps are not recorded; None if no number does.

    Returns:
        Their number, how each runs its part of the batch, and the bytes that it holds.

    Args:
        program: the bytes that every GPU holds besides.
    """
    from widthwise.train import ActivationPlan, Engine
    from widthwise.train.choose_population import MARGIN
    from widthwise.train.micro_batch import divisors

    usable = int(gpu.bytes * (1 - MARGIN)) - program
    gpus = 1
    while gpus <= min(MOST_GPUS, recipe.batch) and recipe.batch % gpus == 0:
        part = replace(recipe, batch=recipe.batch // gpus)
        for recompute in (False, True):
            for pieces in divisors(part.batch):
                plan = ActivationPlan(pieces, recompute=recompute)
                held = sharded_bytes(part, replace(execution, activations=plan, engine=Engine()), gpus)
                if held <= usable:
                    return gpus, plan, held + program
        gpus *= 2
    return None


def sharded_bytes(part: "Recipe", execution: "Execution", gpus: int) -> int:
    """What one of k GPUs holds of a sharded model.

    Args:
        part: with the sequences of one GPU as its batch.
    """
    from widthwise.train import member_memory
    from widthwise.train.execution import SIZES

    def held(terms: "Iterable[Term]") -> float:
        return sum(term.bytes / gpus if term.name in SPLIT_TERMS else term.bytes for term in terms)

    memory = member_memory(part, execution)
    counts = {name: prod(tensor.shape) for name, tensor in part.model.tensors().items()}
    block = sum(n for name, n in counts.items() if name.startswith(("blocks.0.", "hidden.0")))
    whole = max(2 * block, counts["readout"])
    peak = max(held(moment.terms) for moment in (*memory.moments, *memory.between))
    return round(held(memory.standing) + peak + SIZES[part.precision] * whole)
