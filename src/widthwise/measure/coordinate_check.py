"""`coordinate_check`: train a model a few steps at several widths, and compare every exponent with theory's.

    plan a width  ->  build, initialize, measure, step, measure  ->  slopes over widths  ->  a verdict a row

Rows are many (some forty for a small Transformer) and every interval is at 95 %, so a row does not fail because its
interval misses theory: it fails if the whole interval lies beyond a margin that is several standard errors wide. What
that does to false alarms and to detection is measured: benchmarks/results/coordinate_check.json.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from widthwise.measure.check_result import CoordinateCheck
from widthwise.measure.expectation import (
    Runs,
    alignment_rows,
    effect_rows,
    factor_rows,
    update_rows,
)
from widthwise.measure.feature_rows import feature_rows
from widthwise.measure.optimizers import Groups, optimizer_maker
from widthwise.measure.run_once import Key, Recipe, Tensors, run_once
from widthwise.measure.verdict import Margins, Verdict
from widthwise.scaling import ScalingPlan

LEAST_WIDTHS = 3
LEAST_SEEDS = 2


def coordinate_check(
    build: Callable[[int], nn.Module],
    batch: Any,
    loss: Callable[[nn.Module, Any], Tensor],
    *,
    plan: Callable[[int], ScalingPlan],
    widths: Sequence[int],
    learning_rate: float,
    seeds: int = 5,
    steps: int = 3,
    optimizer: Callable[[list[Groups]], Optimizer] | None = None,
    epsilon: float | None = None,
    margins: Margins | None = None,
    device: torch.device | str | None = None,
    listener: Callable[[int, int], None] | None = None,
) -> CoordinateCheck:
    """Measure a plan against its theory: initial draws, first updates, what they do, and every module's output.

    The probe is one fixed batch. Models are built under the seeds 0, 1, ... and run in evaluation mode, so that dropout
    does not differ between two passes; batch norm normalizes by the batch. Nothing of the models is kept.

    Args:
        build: makes a fresh model of a width.
        batch: what `loss` takes, always the same; or a function of the step (0, 1, ...), whose first is the probe. Some
            dozen examples serve best: hundreds blur the alignment of updates and inputs at small widths, and a handful
            leaves gradients to chance.
        loss: of a model and a batch: the scalar to minimize.
        plan: the plan of a width, such as `plan_ladder` gives, or `lambda n: make_plan(build, width=n, ...)`.
        widths: three or more, over a factor of 8 or more for slopes that mean something.
        learning_rate: the base rate, as tuned at the base width; positive.
        seeds: how many models a width; two or more.
        steps: of training, one or more.
        optimizer: makes the optimizer of parameter groups; left out, PyTorch's own of the plan's rule.
        epsilon: the optimizer's, per layer; see `ScalingPlan.param_groups`.
        margins: how far slopes may lie from theory's.
        device: where models are built; left out, where the factory puts them. The batch must be there.
        listener: called with each width and seed before its run.

    Raises:
        ValueError: too few widths or seeds, a learning rate that is not positive; a plan for another model or width; an
            optimizer that the plan was not made for; a tensor that its initializer did not draw.

    Example:
        >>> import torch
        >>> from widthwise.measure import plan_ladder
        >>> from widthwise.theory import ADAM, FULL, STANDARD
        >>> def build(width):
        ...     return nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, 3))
        >>> x, y = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])
        >>> plan = plan_ladder(build, base_width=64, parameterization=STANDARD, optimizer=ADAM, alignment=FULL)
        >>> def loss(model, batch):
        ...     return nn.functional.cross_entropy(model(batch[0]), batch[1])
        >>> check = coordinate_check(build, (x, y), loss, plan=plan, widths=(64, 256, 1024), learning_rate=1e-3)
        >>> check.verdict.value, check.row("update", "2.weight").theory
        ('pass', -1.0)
    """
    ordered = checked_widths(widths, seeds=seeds, steps=steps, learning_rate=learning_rate)
    plans = {width: plan_of(plan, width) for width in ordered}
    recipe = Recipe(
        build=build,
        batch=batch if callable(batch) else lambda _: batch,
        loss=loss,
        optimizers=optimizer_maker(next(iter(plans.values())), learning_rate, epsilon, optimizer),
        steps=steps,
        device=device,
    )
    measured: dict[tuple[int, int], dict[Key, float]] = {}
    tensors: dict[int, Tensors] = {}
    for width in ordered:
        for seed in range(seeds):
            if listener is not None:
                listener(width, seed)
            measured[width, seed], found = run_once(recipe, plans[width], seed)
            tensors.setdefault(width, found)
    return judge(
        Runs(plans, measured, tensors), margins=margins or Margins(), steps=steps, learning_rate=learning_rate
    )


def checked_widths(
    widths: Sequence[int], *, seeds: int, steps: int, learning_rate: float, least_seeds: int = LEAST_SEEDS
) -> tuple[int, ...]:
    """The widths in order, if a measurement over them can be made."""
    ordered = tuple(sorted(set(widths)))
    if len(ordered) < LEAST_WIDTHS or ordered[0] < 1:
        raise ValueError(
            f"widths are {tuple(widths)}; a slope needs {LEAST_WIDTHS} or more, positive and different"
        )
    if seeds < least_seeds:
        raise ValueError(f"seeds = {seeds}; an interval needs {least_seeds} or more")
    if steps < 1:
        raise ValueError(f"steps = {steps}; one update at least is measured")
    if not 0 < learning_rate < float("inf"):
        raise ValueError(
            f"learning rate {learning_rate} must be positive and finite: updates are what is measured"
        )
    return ordered


def plan_of(plan: Callable[[int], ScalingPlan], width: int) -> ScalingPlan:
    """The plan of a width, if it is one."""
    found = plan(width)
    if found.width != width:
        raise ValueError(f"plan({width}) is a plan for width {found.width}; make one for each width")
    return found


def judge(runs: Runs, *, margins: Margins, steps: int, learning_rate: float) -> CoordinateCheck:
    """The check that measurements amount to."""
    updates = update_rows(runs, margins)
    undefined = frozenset(row.name for row in updates if row.verdict is Verdict.UNDEFINED)
    plan = runs.plan
    return CoordinateCheck(
        widths=runs.widths,
        seeds=len(runs.seeds),
        steps=steps,
        base_width=plan.base_width,
        parameterization=plan.parameterization.name,
        optimizer=plan.optimizer.name,
        alignment=plan.alignment.name,
        learning_rate=learning_rate,
        rows=(
            *factor_rows(runs, margins),
            *updates,
            *effect_rows(runs, margins, undefined),
            *alignment_rows(runs),
            *feature_rows(runs, margins),
        ),
        measurements={
            key: tuple(tuple(row) for row in runs.values(key)) for key in next(iter(runs.measured.values()))
        },
    )
