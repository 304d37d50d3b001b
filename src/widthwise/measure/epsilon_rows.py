"""The rows of an epsilon report: a tensor's from its sizes, a role's from all of its tensors' together."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isclose, nan
from typing import TypeVar

from widthwise.measure.adam_moments import Moments
from widthwise.measure.epsilon_report import EpsilonRow
from widthwise.measure.epsilon_verdict import largest_fine
from widthwise.measure.size_summary import Sizes, pooled
from widthwise.scaling import ScalingPlan
from widthwise.scaling.reference_plan import ReferencePlan
from widthwise.theory import Role

Plan = ScalingPlan | ReferencePlan
Value = TypeVar("Value")


@dataclass(frozen=True)
class Measured:
    """A tensor's name, moments and sizes."""

    name: str
    moments: Moments
    sizes: Sizes


def factor(plan: Plan, name: str) -> float:
    """What multiplies the base width's epsilon, (n / n_b)^(-g)."""
    return (plan.width / plan.base_width) ** -float(plan.rows[name].exponents.g)


def base_epsilon_of(plan: Plan, measured: Sequence[Measured]) -> float | None:
    """The base width's epsilon from those in use: one for all, or one that all follow; else None."""
    used = [(entry.moments.epsilon, factor(plan, entry.name)) for entry in measured]
    values = [(epsilon, factor) for epsilon, factor in used if epsilon is not None]
    if len(values) < len(used):
        return None
    for candidates in ([epsilon for epsilon, _ in values], [epsilon / factor for epsilon, factor in values]):
        if all(isclose(candidate, candidates[0], rel_tol=1e-9) for candidate in candidates):
            return candidates[0]
    return None


def tensor_row(entry: Measured, plan: Plan | None, base: float | None) -> EpsilonRow:
    """One tensor's row; `base` is the base width's epsilon."""
    sizes, epsilon = entry.sizes, entry.moments.epsilon
    planned = None if plan is None or base is None else base * factor(plan, entry.name)
    return EpsilonRow(
        name=entry.name,
        role=plan.rows[entry.name].role.value if plan else "",
        tensors=1,
        epsilon=epsilon,
        step=sizes.step,
        coordinates=sizes.coordinates,
        untouched=sizes.untouched,
        non_finite=sizes.non_finite,
        zeros=sizes.vanished,
        below=None if epsilon is None else sizes.below,
        sampled=sizes.sampled,
        low=sizes.low,
        median=sizes.median,
        median_ratio=_ratio(sizes.median, epsilon),
        exponent=plan.rows[entry.name].exponents.g if plan else None,
        planned=planned,
        largest_fine=largest_fine(low=sizes.low, median=sizes.median),
    )


def _ratio(size: float, epsilon: float | None) -> float:
    """size / epsilon; over an epsilon of 0 infinite, or undefined for a size of 0."""
    if epsilon is None:
        return nan
    return size / epsilon if epsilon else inf * size


def role_rows(rows: Sequence[EpsilonRow], measured: Sequence[Measured]) -> tuple[EpsilonRow, ...]:
    """A row for each role that has a tensor, in the theory's order."""
    roles: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        roles.setdefault(row.role, []).append(place)
    return tuple(
        _role_row([rows[i] for i in roles[role]], [measured[i].sizes for i in roles[role]])
        for role in Role
        if role in roles
    )


def _role_row(rows: Sequence[EpsilonRow], sizes: Sequence[Sizes]) -> EpsilonRow:
    """Counts are added before any ratio is taken, samples are pooled by what they stand for."""
    epsilons = [row.epsilon for row in rows]
    low, median = pooled([part for size in sizes for part in size.samples])
    return EpsilonRow(
        name=rows[0].role,
        role=rows[0].role,
        tensors=len(rows),
        epsilon=_common(epsilons),
        step=max(row.step for row in rows),
        coordinates=sum(row.coordinates for row in rows),
        untouched=sum(row.untouched for row in rows),
        non_finite=sum(row.non_finite for row in rows),
        zeros=sum(row.zeros for row in rows),
        below=_sum([row.below for row in rows]),
        sampled=sum(row.sampled for row in rows),
        low=low,
        median=median,
        median_ratio=_pooled_ratio(epsilons, sizes, median),
        exponent=_common([row.exponent for row in rows]),
        planned=_common([row.planned for row in rows]),
        largest_fine=largest_fine(low=low, median=median),
    )


def _pooled_ratio(epsilons: Sequence[float | None], sizes: Sequence[Sizes], median: float) -> float:
    """The median of sqrt(v_hat) / epsilon over tensors of different epsilons."""
    if _common(epsilons) == epsilons[0]:
        return _ratio(median, epsilons[0])
    if not all(epsilons):
        return nan  # some have none, or one of 0
    return pooled(
        [(values / epsilon, weight) for epsilon, size in zip(epsilons, sizes, strict=True) if epsilon
         for values, weight in size.samples]
    )[1]  # fmt: skip


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _common(values: Sequence[Value]) -> Value | None:
    """The value that all have, or None."""
    return values[0] if all(value == values[0] for value in values) else None
