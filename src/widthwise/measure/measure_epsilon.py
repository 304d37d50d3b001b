"""`measure_epsilon`: how Adam's epsilon compares with the root mean square gradient that it is added to.

    names and roles  ->  moments  ->  sizes, counted on each device  ->  rows, and verdicts  ->  a report

Gradients shrink as n^(-g) with the width n, so that an epsilon that does not follow them comes to dominate: updates of
the wide model vanish, while those of the small one that was tuned did not.
"""

from collections.abc import Sequence

from torch import nn
from torch.optim import Optimizer

from widthwise.measure.adam_moments import check_epsilon, read_moments, unwrapped_optimizer
from widthwise.measure.epsilon_report import EpsilonReport
from widthwise.measure.epsilon_rows import Measured, Plan, base_epsilon_of, role_rows, tensor_row
from widthwise.measure.gathered_sizes import sizes_of
from widthwise.measure.optimizer_names import check_plan, tensor_names


def measure_epsilon(
    optimizer: Optimizer,
    plan: Plan | None = None,
    *,
    model: nn.Module | None = None,
    epsilon: float | None = None,
    base_epsilon: float | None = None,
) -> EpsilonReport:
    """Count where Adam's epsilon is larger than what it is added to, tensor by tensor and role by role.

        step ~ m_hat / (sqrt(v_hat) + epsilon);    below: the fraction of coordinates with sqrt(v_hat) < epsilon

    Nothing is changed. Each device is waited for once, at the end. Where parameters are sharded (DTensor), the counts
    and samples of all processes are put together first, so every process of the mesh must call this.

    Args:
        optimizer: torch's Adam, AdamW, NAdam or RAdam, `AdamAtan2`, any other whose state has `exp_avg`, `step` and
            `exp_avg_sq` or `exp_avg_rms`, or a wrapper that holds one as `optimizer`; after its first step.
        plan: gives each tensor its role, its gradient's exponent and the epsilon that it should have.
        model: names the tensors; left out, the groups' `param_names` do, or else their places.
        epsilon: asked about instead of the groups' `eps`: what a constant one would do. An optimizer without any is
            reported by its sizes alone unless this is given.
        base_epsilon: as tuned at the plan's base width. Left out, it is read off the groups: one epsilon for all is
            taken to be the base width's too; epsilons in the plan's proportion follow it already.

    Raises:
        ValueError: an optimizer of another form, or without any state yet; an epsilon below 0 or not finite; a plan for
            another model or width; a model without these parameters.

    Example:
        >>> import torch
        >>> weight = nn.Parameter(torch.zeros(4))
        >>> adam = torch.optim.Adam([("weight", weight)], eps=1e-8)
        >>> weight.grad = torch.tensor([0.0, 2e-9, 5e-8, 1e-3])
        >>> adam.step()
        >>> row = measure_epsilon(adam).row("weight")
        >>> row.below, row.counted, row.untouched, row.verdict.value
        (1, 3, 1, 'bites')
        >>> round(row.median_ratio, 4), row.largest_fine
        (5.0, 1e-09)

    Source: Everett et al. 2024, arXiv 2407.05872, whose per-layer epsilon is eps_l = eps_base (n / n_base)^(-g_l).
    """
    inner = unwrapped_optimizer(optimizer)
    for name, value in (("epsilon", epsilon), ("base_epsilon", base_epsilon)):
        if value is not None:
            check_epsilon(value, name)
    names = tensor_names(inner, plan, model)
    if plan is not None:
        check_plan(plan, inner, names)
    moments = list(read_moments(inner, epsilon=epsilon))
    if all(entry.first is None for entry in moments):
        raise ValueError(
            f"{type(inner).__name__} has no state yet: call this after its first step (or after loading a state)"
        )
    measured = [
        Measured(name, entry, sizes)
        for name, entry, sizes in zip(names, moments, sizes_of(moments), strict=True)
    ]
    return report_of(type(inner).__name__, measured, plan, base_epsilon=base_epsilon)


def report_of(
    optimizer: str, measured: Sequence[Measured], plan: Plan | None, *, base_epsilon: float | None = None
) -> EpsilonReport:
    """The report on tensors whose sizes are known; the base width's epsilon is read off theirs if it is not given."""
    base = base_epsilon
    if plan is not None and base is None:
        base = base_epsilon_of(plan, measured)
    rows = tuple(tensor_row(entry, plan, base) for entry in measured)
    return EpsilonReport(
        optimizer=optimizer,
        step=max(row.step for row in rows),
        width=plan.width if plan else None,
        base_width=plan.base_width if plan else None,
        parameterization=plan.parameterization.name if plan else None,
        base_epsilon=base,
        rows=rows,
        roles=role_rows(rows, measured) if plan else (),
    )
