"""A plan as text: the table that is printed, and what differs between two plans."""

from collections.abc import Sequence
from dataclasses import fields

from widthwise.scaling.initializers import InitializerFit
from widthwise.scaling.role_decision import numberless
from widthwise.scaling.scaling_plan import PlanRow, ScalingPlan
from widthwise.text_table import aligned
from widthwise.theory import Role, RoleExponents

HEADER = ("tensor", "role", "init", "rate", "epsilon", "decay", "b", "c", "g", "rule", "decided by")


def plan_table(plan: ScalingPlan) -> str:
    """Every tensor's factors; layers that differ only in their number in one row."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, row in plan.rows.items():
        groups.setdefault((numberless(name), *_cells(row), _remark(row)), []).append(name)
    lines: list[tuple[str, ...]] = [HEADER]
    remarks = [""]
    for (pattern, *cells, remark), names in groups.items():
        lines.append((names[0] if len(names) == 1 else f"{pattern} (x{len(names)})", *cells))
        remarks.append(remark)
    body = [
        line + (f"  # {remark}" if remark else "")
        for line, remark in zip(aligned(lines), remarks, strict=True)
    ]
    return "\n".join([_head(plan), *plan.notes, *body])


def _head(plan: ScalingPlan) -> str:
    return (
        f"width {plan.width}, base width {plan.base_width}: {plan.parameterization.name} parameterization, "
        f"{plan.optimizer.name}, {plan.alignment.name} alignment; factors on what the base width has"
    )


def _cells(row: PlanRow) -> tuple[str, ...]:
    factors = (row.init, row.rate, row.epsilon, row.decay)
    exponents = (row.exponents.b, row.exponents.c, row.exponents.g)
    decided = row.decided_by if row.decided_by.startswith("Rule(") else row.decided_by.rpartition(".")[2]
    return (row.role.value, *(f"{x:.4g}" for x in factors), *map(str, exponents), row.rule, decided)


def _remark(row: PlanRow) -> str:
    return "; ".join([*([] if row.trainable else ["frozen"]), *filter(None, [row.note])])


def plan_diff(plan: ScalingPlan, other: ScalingPlan) -> tuple[str, ...]:
    """One line a difference: of the plans' settings, of their tensors, of a tensor's facts; none for equal plans."""
    lines = [
        f"{field.name.replace('_', ' ')}: {_setting(one, two)} against {_setting(two, one)}"
        for field in fields(plan)
        if field.name != "rows"
        for one, two in ((getattr(plan, field.name), getattr(other, field.name)),)
        if one != two
    ]
    lines += [f"{name}: in the first plan alone" for name in plan.rows if name not in other.rows]
    lines += [f"{name}: in the second plan alone" for name in other.rows if name not in plan.rows]
    for name, row in plan.rows.items():
        if name in other.rows and row != other.rows[name]:
            lines += _row_diff(name, row, other.rows[name])
    return tuple(lines)


def _setting(value: object, other: object) -> str:
    """The name of a parameterization, optimizer or alignment; all that it holds where the other has the same name."""
    name = getattr(value, "name", None)
    return str(name) if name is not None and name != getattr(other, "name", None) else repr(value)


def _row_diff(name: str, row: PlanRow, other: PlanRow) -> Sequence[str]:
    lines: list[str] = []
    for field in fields(row):
        one, two = getattr(row, field.name), getattr(other, field.name)
        if one != two:
            lines.append(f"{name}: {field.name.replace('_', ' ')} {_shown(one)} against {_shown(two)}")
    return lines


def _shown(value: object) -> str:
    match value:
        case Role():
            return value.value
        case RoleExponents():
            return f"(a, b, c, g) = ({value.a}, {value.b}, {value.c}, {value.g})"
        case InitializerFit():
            return value.evidence()
        case _:
            return str(value) or "none"
