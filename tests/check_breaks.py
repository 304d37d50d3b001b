"""Plans with one rule deliberately broken, each as the projects in the field have broken it."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from widthwise.scaling import PlanRow, ScalingPlan
from widthwise.theory import Role

Planner = Callable[[int], ScalingPlan]


def _rows(planner: Planner, change: Callable[[PlanRow, ScalingPlan], PlanRow]) -> Planner:
    def broken(width: int) -> ScalingPlan:
        plan = planner(width)
        return replace(plan, rows={name: change(row, plan) for name, row in plan.rows.items()})

    return broken


def embedding_rate(planner: Planner) -> Planner:
    """The embedding's rate falls as the hidden layers' does."""

    def change(row: PlanRow, plan: ScalingPlan) -> PlanRow:
        hidden = next(other.rate for other in plan.rows.values() if other.role is Role.HIDDEN)
        return replace(row, rate=hidden) if row.role is Role.EMBEDDING else row

    return _rows(planner, change)


def readout_init(planner: Planner) -> Planner:
    """The readout starts as the other parameterizations' does: too large by the root of the width for muP, too small
    for the standard one."""

    def change(row: PlanRow, plan: ScalingPlan) -> PlanRow:
        if row.role is not Role.READOUT:
            return row
        sign = 1 if row.exponents.b > 0.75 else -1
        return replace(row, init=row.init * (plan.width / plan.base_width) ** (sign / 2))

    return _rows(planner, change)


def hidden_rate(planner: Planner) -> Planner:
    """The hidden layers' rate does not fall enough: by the root of the width too little."""

    def change(row: PlanRow, plan: ScalingPlan) -> PlanRow:
        more = (plan.width / plan.base_width) ** 0.5
        return replace(row, rate=row.rate * more) if row.role is Role.HIDDEN else row

    return _rows(planner, change)


def fan_in(planner: Planner) -> Planner:
    """n is each layer's fan-in instead of the model's width, so nothing follows it where the fan-in is fixed."""

    def change(row: PlanRow, plan: ScalingPlan) -> PlanRow:
        return row if row.role in (Role.HIDDEN, Role.READOUT) else replace(row, rate=1.0)

    return _rows(planner, change)


BREAKS: Mapping[str, tuple[Callable[[Planner], Planner], Role]] = {
    "embedding rate": (embedding_rate, Role.EMBEDDING),
    "readout init": (readout_init, Role.READOUT),
    "hidden rate": (hidden_rate, Role.HIDDEN),
    "n = fan-in": (fan_in, Role.EMBEDDING),
}
"""What is broken, and the role of the tensors that a check must name."""


def changes_plan(broken: Planner, planner: Planner, width: int) -> bool:
    """Whether a broken plan differs at all: with Adam, no rate of a fixed fan-in follows the width."""
    return bool(broken(width).diff(planner(width)))
