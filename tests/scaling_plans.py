"""Plans of four tensors, one of each role that grows with the width, for the tests of scaling."""

from dataclasses import replace
from itertools import product

from widthwise.scaling import (
    Anchor,
    EpsilonPolicy,
    Gauge,
    ReferencePlan,
    ReferenceRow,
    TensorRole,
    make_reference_plan,
)
from widthwise.theory import (
    MATRIX_ROLES,
    PAPER_OPTIMIZERS,
    PARAMETERIZATIONS,
    PRESCRIPTIONS,
    OptimizerRule,
    Parameterization,
    Prescription,
    Role,
)

ROLES = {
    role.value: TensorRole(role, constant)
    for role, constant in zip((*MATRIX_ROLES, Role.VECTOR), (1.0, 0.5, 0.75, 1.0), strict=True)
}
"""One tensor per role, named as the role; the constants 1/2 and 3/4 show that constants are kept."""

Arm = tuple[Parameterization, OptimizerRule, Prescription]
ARMS: list[Arm] = list(product(PARAMETERIZATIONS.values(), PAPER_OPTIMIZERS, PRESCRIPTIONS.values()))


def arm_name(arm: Arm) -> str:
    return " ".join(part.name for part in arm)


def plan_of(
    arm: Arm,
    *,
    width: int,
    base_width: int,
    anchor: Anchor = Anchor.RELATIVE,
    gauge: Gauge = Gauge.FOLDED,
    epsilon: EpsilonPolicy = EpsilonPolicy.CONSTANT,
) -> ReferencePlan:
    parameterization, optimizer, prescription = arm
    return make_reference_plan(
        ROLES,
        width=width,
        base_width=base_width,
        parameterization=parameterization,
        optimizer=optimizer,
        prescription=prescription,
        anchor=anchor,
        gauge=gauge,
        epsilon=epsilon,
    )


def factors(row: ReferenceRow) -> tuple[float, float, float, float]:
    """(init, multiplier, rate, epsilon)."""
    return row.init, row.multiplier, row.rate, row.epsilon


def without_epsilon(plan: ReferencePlan) -> dict[str, ReferenceRow]:
    """The rows, with what a constant epsilon and the gradient's exponent say taken out."""
    return {
        name: replace(row, epsilon=0.0, exponents=replace(row.exponents, g=row.exponents.a))
        for name, row in plan.rows.items()
    }
