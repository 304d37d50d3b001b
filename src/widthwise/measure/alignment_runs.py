"""Alignment over widths: a planned model trained a few steps at several widths under several seeds, and measured.

plan a width  ->  build, initialize, copy W_0  ->  train  ->  measure on the first batch, which is the probe
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from widthwise.measure.alignment_reference import Snapshot
from widthwise.measure.alignment_report import AlignmentReport
from widthwise.measure.coordinate_check import checked_widths, plan_of
from widthwise.measure.measure_alignment import measure_alignment
from widthwise.measure.optimizers import Groups, optimizer_maker
from widthwise.measure.run_once import Recipe
from widthwise.scaling import ScalingPlan
from widthwise.scaling.seeding import seeded

SEEDS, STEPS = 3, 20


@dataclass(frozen=True)
class AlignmentRun:
    """One model's alignment at the end of its training."""

    width: int
    seed: int
    report: AlignmentReport


def alignment_runs(
    build: Callable[[int], nn.Module],
    batch: Any,
    loss: Callable[[nn.Module, Any], Tensor],
    *,
    plan: Callable[[int], ScalingPlan],
    widths: Sequence[int],
    learning_rate: float,
    seeds: int = SEEDS,
    steps: int = STEPS,
    optimizer: Callable[[list[Groups]], Optimizer] | None = None,
    epsilon: float | None = None,
    device: torch.device | str | None = None,
    listener: Callable[[int, int], None] | None = None,
) -> tuple[AlignmentRun, ...]:
    """Train a model at several widths under a plan and measure its alignment since initialization.

    Models are built under the seeds 0, 1, ... and train as they are built, dropout included. `alignment_rows` and
    `alignment_exponents` of `widthwise.analysis` make exponents of the reports.

    Args:
        build: makes a fresh model of a width.
        batch: what `loss` takes, always the same; or a function of the step (0, 1, ...), whose first is the probe.
        loss: of a model and a batch: the scalar to minimize.
        plan: the plan of a width, such as `plan_ladder` gives.
        widths: three or more.
        learning_rate: the base rate, as tuned at the base width; positive. Alignment depends on it: measure where you
            train.
        seeds: how many models a width.
        steps: of training, one or more.
        optimizer: makes the optimizer of parameter groups; left out, PyTorch's own of the plan's rule.
        epsilon: the optimizer's, per layer; see `ScalingPlan.param_groups`.
        device: where models are built; left out, where the factory puts them. The batch must be there.
        listener: called with each width and seed before its run.

    Raises:
        ValueError: as `coordinate_check` does; a single seed is enough.
    """
    ordered = checked_widths(widths, seeds=seeds, steps=steps, learning_rate=learning_rate, least_seeds=1)
    plans = {width: plan_of(plan, width) for width in ordered}
    recipe = Recipe(
        build=build,
        batch=batch if callable(batch) else lambda _: batch,
        loss=loss,
        optimizers=optimizer_maker(next(iter(plans.values())), learning_rate, epsilon, optimizer),
        steps=steps,
        device=device,
    )
    found: list[AlignmentRun] = []
    for width in ordered:
        for seed in range(seeds):
            if listener is not None:
                listener(width, seed)
            found.append(AlignmentRun(width, seed, _run(recipe, plans[width], seed)))
    return tuple(found)


def _run(recipe: Recipe, plan: ScalingPlan, seed: int) -> AlignmentReport:
    with seeded(seed):
        with torch.device(recipe.device) if recipe.device is not None else nullcontext():
            model = recipe.build(plan.width)
        plan.initialize_(model)
        start = Snapshot.of(model)
        optimizers = recipe.optimizers(plan, model)
        for step in range(recipe.steps):
            for optimizer in optimizers:
                optimizer.zero_grad()
            recipe.loss(model, recipe.batch(step)).backward()
            for optimizer in optimizers:
                optimizer.step()
        return measure_alignment(
            model, recipe.batch(0), reference=start, forward=recipe.loss, roles=plan, spectral_iterations=0
        )
