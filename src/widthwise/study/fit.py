"""What trials of one shape need on a named GPU, before there is one: some side by side, or one model over several."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from widthwise.study.gpu import Gpu

if TYPE_CHECKING:
    from widthwise.train import Recipe

LAUNCH_SECONDS = 0.14e-3
"""A block's share of the shortest step: one model of width 128 and 8 blocks takes 1.14 ms (population-h200.json)."""
START_SECONDS = 10.0
"""Compiling, proving and recording a population's step: 6 to 23 s in population_engine.json, less with kernels."""
SHARDED_SHARE = 0.8
"""Assumed: what is left of one GPU's rate where weights are gathered and gradients scattered."""


@dataclass(frozen=True)
class Fit:
    """How trials of one shape run on a GPU.

    Args:
        members: side by side at most.
        gpus: 1, or over how many one model is sharded.
        bytes: on each GPU, of the largest population.
        step_seconds: one member's share of a step, times the GPUs it is on.
        floor_seconds: no step is shorter, however few its members.
        start_seconds: of a population, before its first step and after its last one, where steps have a floor.
        layer_major: whether it is trained layer by layer.
    """

    members: int
    micro_batches: int
    recompute: bool
    gpus: int
    bytes: int
    step_seconds: float
    floor_seconds: float
    start_seconds: float = START_SECONDS
    layer_major: bool = False

    def gpu_seconds(self, members: int, steps: int) -> float:
        """Of one population, over all its GPUs."""
        start = self.start_seconds if self.floor_seconds else 0.0
        return self.gpus * start + steps * max(members * self.step_seconds, self.floor_seconds)


def fit(
    recipe: "Recipe", gpu: Gpu, *, trials: int, corpus_bytes: int, seeds: int, starts: int = 1
) -> Fit | None:
    """The way to run trials of one shape, or None if no number of GPUs holds one of them.

    Args:
        trials: how many of this shape there are.
        corpus_bytes, seeds, starts: see `train.program_memory`.
    """
    from widthwise.study.sharded_memory import shard
    from widthwise.train import KEPT_SHARE, choose_population, execution_on, program_memory, throughput_of
    from widthwise.train.throughput import step_seconds

    execution = execution_on(recipe, gpu.capability)
    rate = throughput_of(gpu.device, cuda=gpu.capability is not None)
    program = program_memory(
        recipe,
        execution,
        corpus_bytes=corpus_bytes,
        data_seeds=seeds,
        starts=min(starts, trials),
        starts_bytes=int(gpu.bytes * KEPT_SHARE),
        device_bytes=None if gpu.capability is None else gpu.bytes,
    )
    floor = 0.0 if gpu.capability is None else LAUNCH_SECONDS * recipe.model.depth
    try:
        chosen = choose_population(
            recipe,
            available_bytes=gpu.bytes,
            rate=rate,
            execution=execution,
            program=program,
            at_most=trials,
            host_bytes=gpu.bytes,
        )
    except ValueError:  # a single member does not fit
        sharding = None if gpu.capability is None else shard(recipe, gpu, execution, program.bytes)
        if sharding is None:
            return None
        gpus, plan, held = sharding
        seconds = step_seconds(recipe, replace(execution, activations=plan), rate) / SHARDED_SHARE
        return Fit(1, plan.micro_batches, plan.recompute, gpus, held, seconds, floor)
    plan = chosen.activations
    seconds = step_seconds(recipe, replace(execution, activations=plan), rate)
    return Fit(chosen.members, plan.micro_batches, plan.recompute, 1, chosen.bytes, seconds, floor)
