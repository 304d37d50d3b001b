"""How many members train side by side: as many as memory holds and as end in time.

A step runs whole if a single member fits so. Otherwise its batch is cut, as long as the pieces fill the device; then
blocks are recomputed, which costs a third more arithmetic; then the batch is cut down to single sequences.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from widthwise.train.activation_table import activation_table
from widthwise.train.available import free_bytes, kept_bytes, total_bytes
from widthwise.train.execution import Execution, execution_for
from widthwise.train.member import Recipe
from widthwise.train.memory import member_memory, program_memory
from widthwise.train.memory_sums import ProgramMemory, readable
from widthwise.train.micro_batch import ActivationPlan, divisors
from widthwise.train.proof_copy import MARGIN
from widthwise.train.throughput import Throughput, step_seconds

SECONDS_LIMIT = 480.0
"""How long a population may take by its estimate: what a kill costs at most, and how often results come in."""


NOTHING = ProgramMemory(())
"""A program that needs no memory but its members'."""


@dataclass(frozen=True)
class PopulationChoice:
    """How many members, and how their steps run.

    Args:
        members: P.
        activations: pieces of a batch, and whether blocks are recomputed.
        bytes: predicted, of the whole population.
        seconds: estimated, of its whole training.
    """

    members: int
    activations: ActivationPlan
    bytes: int
    seconds: float


def choose_population(
    recipe: Recipe,
    *,
    available_bytes: int,
    rate: Throughput,
    execution: Execution,
    program: ProgramMemory = NOTHING,
    margin: float = MARGIN,
    seconds_limit: float = SECONDS_LIMIT,
    at_least: int = 1,
    at_most: int | None = None,
    host_bytes: int = 0,
) -> PopulationChoice:
    """The largest population that fits and ends in time.

    Where a plan does not fit with a copy of all that a recorded step changes, against which it is proven, the copy is
    on the host (`proof_copy`): that costs seconds, while the next plan costs more of every step.

    Args:
        available_bytes: of the device, for everything.
        rate: what the device attains.
        execution: the engine and the kernels; its `activations` are chosen here.
        program: what does not grow with P.
        margin: the share of the bytes left free, from 0 to below 1.
        seconds_limit: of the whole training; one member may take longer.
        at_least: members that have to fit, however the batch is cut.
        at_most: members that there are; None for no bound.
        host_bytes: what the host has for the copy.

    Raises:
        ValueError: a margin outside [0, 1), or fewer than `at_least` members fit.

    Example:
        >>> from widthwise.models import Transformer
        >>> from widthwise.optim import AdamUpdate
        >>> from widthwise.train import Precision, WarmupCosine
        >>> from widthwise.train.throughput import throughput_of
        >>> model = Transformer(width=128, depth=8, head_dim=128, vocabulary=256, context=256)
        >>> recipe = Recipe(model, AdamUpdate(0.9, 0.98), WarmupCosine(1000, 10), 16, Precision.BFLOAT16, 16, 50)
        >>> choose_population(recipe, available_bytes=2**34, rate=throughput_of("NVIDIA H200", cuda=True),
        ...     execution=Execution(cuda=True, fused=True, copies=True)).members
        81
    """
    if not 0 <= margin < 1:
        raise ValueError(f"margin is {margin}; it must be at least 0 and below 1")
    usable = int(available_bytes * (1 - margin)) - program.bytes
    for plan, enough in _plans(recipe):
        chosen = replace(execution, activations=plan)
        memory = member_memory(recipe, chosen)
        each = memory.bytes
        members = usable // each
        if members < at_least and memory.copied:
            each = memory.without_copy
            members = min(usable // each, host_bytes // memory.copied)
        if at_most is not None:
            members = min(members, at_most)
        if members < at_least or (enough and not _fills(recipe, members, plan, rate)):
            continue
        seconds = recipe.schedule.steps * step_seconds(recipe, chosen, rate)
        members = int(min(members, max(at_least, seconds_limit / seconds)))
        return PopulationChoice(members, plan, program.bytes + members * each, members * seconds)
    raise ValueError(_too_large(recipe, execution, program, available_bytes, margin, at_least, host_bytes))


def _plans(recipe: Recipe) -> Iterator[tuple[ActivationPlan, bool]]:
    """The plans in the order of their cost, and whether one has to fill the device to be taken."""
    pieces = divisors(recipe.batch)
    recomputable = activation_table(recipe.model).recomputable
    for recompute in (False, True) if recomputable else (False,):
        for count in pieces:
            yield ActivationPlan(count, recompute=recompute), count > 1
    for count in pieces[1:]:
        yield ActivationPlan(count, recompute=recomputable), False


def _fills(recipe: Recipe, members: int, plan: ActivationPlan, rate: Throughput) -> bool:
    tokens = members * plan.sequences(recipe.batch) * recipe.model.context
    return tokens * recipe.model.width >= rate.filled_by


def _too_large(
    recipe: Recipe,
    execution: Execution,
    program: ProgramMemory,
    available: int,
    margin: float,
    members: int,
    host: int,
) -> str:
    model = recipe.model
    plans = (plan for plan, _ in _plans(recipe))
    each = (member_memory(recipe, replace(execution, activations=plan)) for plan in plans)
    smallest = min(m.without_copy if members * m.copied <= host else m.bytes for m in each)
    what = "a model" if members == 1 else f"{members} models"
    need = "needs" if members == 1 else "need"
    remedy = "a smaller width, depth or context" if members == 1 else "a smaller population size"
    return (
        f"{what} of width {model.width} and {model.parameter_count:,} parameters, batch {recipe.batch} x "
        f"{model.context}, {need} {readable(members * smallest + program.bytes)} however the batch is cut; "
        f"of {readable(available)} available, {margin:.0%} is left free: choose {remedy}, or a device with more memory"
    )


def population_for(
    recipe: Recipe,
    device: torch.device,
    *,
    rate: Throughput,
    corpus_bytes: int,
    data_seeds: int,
    at_most: int,
    starts: int = 1,
    members: int | None = None,
    sharing: int = 1,
    seconds_limit: float = SECONDS_LIMIT,
) -> PopulationChoice:
    """`choose_population` on a device as it is now.

    Args:
        corpus_bytes, data_seeds, starts: see `program_memory`.
        at_most: the members that there are, or the largest P that is wanted.
        members: exactly so many, whatever time they take; None for as many as fit and end in time.
        sharing: how many populations share what is free.

    Raises:
        ValueError: they do not fit.
    """
    execution = execution_for(recipe, device)
    exact = None if members is None else min(members, at_most)
    on_device, on_host = kept_bytes(device)
    return choose_population(
        recipe,
        available_bytes=free_bytes(device) // sharing,
        host_bytes=on_host // sharing,
        rate=rate,
        execution=execution,
        program=program_memory(
            recipe,
            execution,
            corpus_bytes=corpus_bytes,
            data_seeds=data_seeds,
            starts=min(starts, at_most),
            starts_bytes=on_device // sharing,
            device_bytes=total_bytes(device),
        ),
        seconds_limit=seconds_limit,
        at_least=1 if exact is None else exact,
        at_most=at_most if exact is None else exact,
    )
