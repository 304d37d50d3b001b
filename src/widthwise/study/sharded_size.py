"""How large populations are whose tensors are split over the processes of a group."""

from dataclasses import replace
from typing import TYPE_CHECKING

from widthwise.study.compose import PopulationSize
from widthwise.study.own_spec import OWN
from widthwise.study.recipe import Recipe
from widthwise.study.train_wide import is_wide

if TYPE_CHECKING:
    import torch

    from widthwise.train import Recipe as TrainRecipe


def require_tensors(recipe: Recipe) -> None:
    """Check that a trial's tensors can be split over processes.

    Raises:
        ValueError: a user's own function trains it, or it is trained layer by layer on one device.
    """
    if recipe["model"]["kind"] == OWN:
        raise ValueError(
            "a training function of your own has no tensors to split: use --executor local, processes or ray"
        )
    if is_wide(recipe):
        raise ValueError(
            "training layer by layer (training: form) is for one device: use --executor local, processes or ray, or "
            "leave the form out"
        )


def sharded_size(
    recipe: "TrainRecipe",
    device: "torch.device",
    *,
    split: int,
    sharing: int,
    corpus_bytes: int,
    data_seeds: int,
    starts: int,
    at_most: int,
    members: int | None,
    seconds_limit: float,
) -> PopulationSize:
    """As many members as fit and end in time; a batch is cut, and blocks are recomputed, only if nothing fits else.

    Args:
        device: of this process; those of the others are alike.
        split: how many processes there are.
        sharing: how many of them share the device's memory.

    The rest as `train.population_for` takes it.

    Raises:
        ValueError: the processes divide neither the batch nor some tensor, or the members do not fit.
    """
    import torch

    from widthwise.train import ActivationPlan, Engine, execution_for, program_memory, throughput_of
    from widthwise.train.activation_table import activation_table
    from widthwise.train.available import free_bytes, kept_bytes, total_bytes
    from widthwise.train.choose_population import MARGIN
    from widthwise.train.memory_sums import readable
    from widthwise.train.micro_batch import divisors
    from widthwise.train.throughput import step_seconds
    from widthwise.wide import sharded_memory
    from widthwise.wide.shards import sequences_of, shard_dimensions

    shard_dimensions(recipe.model, split)
    part = replace(recipe, batch=sequences_of(recipe.batch, split))
    cuda = device.type == "cuda"
    execution = replace(execution_for(recipe, device), engine=Engine(), copies=False)
    kept = kept_bytes(device)[0] // sharing
    program = program_memory(
        recipe,
        execution,
        corpus_bytes=corpus_bytes,
        data_seeds=data_seeds,
        starts=min(starts, at_most),
        starts_bytes=kept,
        device_bytes=total_bytes(device),
    ).bytes
    available = free_bytes(device) // sharing
    usable = int(available * (1 - MARGIN)) - program
    need = 1 if members is None else min(members, at_most)
    rate = throughput_of(torch.cuda.get_device_name(device) if cuda else "", cuda=cuda)
    least = 0
    for recompute in (False, True) if activation_table(recipe.model).recomputable else (False,):
        for pieces in divisors(part.batch):
            chosen = replace(execution, activations=ActivationPlan(pieces, recompute=recompute))
            each = sharded_memory(part, chosen, split).bytes
            least = min(least or each, each)
            if usable // each < need:
                continue
            seconds = recipe.schedule.steps * step_seconds(part, chosen, rate)
            count = min(usable // each, at_most, max(1, int(seconds_limit / seconds)))
            return PopulationSize(
                need if members is not None else count, split * pieces if pieces > 1 else 1, recompute
            )
    raise ValueError(
        f"{need} model{'s' * (need > 1)} of width {recipe.model.width} and {recipe.model.parameter_count:,} parameters "
        f"need{'s' * (need == 1)} {readable(need * least + program)} on each of {split} devices however the batch is "
        f"cut; of {readable(available)} available, {MARGIN:.0%} is left free: start more processes, on "
        "devices of their own, or take a smaller width"
    )
