"""Scaling plans: what every tensor gets at a width, computed from exact exponents, keyed by the tensor's name.

Each number is a value at the base width n_b times a power of the width ratio,

    value(n) = n_b^(-e_b) * (n / n_b)^(-e)

`anchor` chooses e_b. *Absolute*, as in the paper: multiplier n^(-a) and init s n^(-b), only the rate and a per-layer
epsilon are relative to the base width; at any one width the parameterizations are different starting points.
*Relative*, as a user's model: the ratio of two absolute plans, at n and at n_b; at the base width every factor is 1,
the init is the standard parameterization's, and all parameterizations are the same model.

`gauge` chooses where a multiplier sits: *explicit* in the forward pass, or *folded* into init, rate and epsilon, which
is the same training run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from widthwise.scaling.reference_roles import TensorRole
from widthwise.theory import (
    STANDARD,
    OptimizerRule,
    Parameterization,
    Prescription,
    Role,
    RoleExponents,
    gradient_exponent,
    prescribed_exponent,
    rate_power,
    shift_gauge,
)

ZERO = Fraction(0)


class Anchor(StrEnum):
    """What the numbers of a plan are measured against: powers of n itself, or ratios to the base width."""

    ABSOLUTE = "absolute"
    RELATIVE = "relative"


class Gauge(StrEnum):
    """Where the multiplier n^(-a) sits: in the forward pass, or folded into init, rate and epsilon."""

    EXPLICIT = "explicit"
    FOLDED = "folded"


class EpsilonPolicy(StrEnum):
    """How an optimizer's epsilon scales: the same for every tensor, or as n^(-g) with the tensor's gradient.

    Constant means constant in the parameterization's own gauge; folding a multiplier moves it like the gradient.
    """

    CONSTANT = "constant"
    PER_LAYER = "per-layer"


@dataclass(frozen=True)
class ReferenceRow:
    """One tensor's numbers at one width.

    Args:
        exponents: (a, b, c, g) in the plan's gauge, c as prescribed.
        init: the standard deviation of the initial draw, or the value of a constant start (gains).
        multiplier: the factor of the layer's output in the forward pass.
        rate: the factor on the base learning rate.
        epsilon: the factor on the optimizer's base epsilon.
    """

    role: Role
    exponents: RoleExponents
    init: float
    multiplier: float
    rate: float
    epsilon: float


@dataclass(frozen=True)
class ReferencePlan:
    """Every tensor's numbers at one width, and what they were computed from."""

    width: int
    base_width: int
    parameterization: Parameterization
    optimizer: OptimizerRule
    prescription: Prescription
    anchor: Anchor
    gauge: Gauge
    epsilon: EpsilonPolicy
    rows: Mapping[str, ReferenceRow]


def make_reference_plan(
    roles: Mapping[str, TensorRole],
    *,
    width: int,
    base_width: int,
    parameterization: Parameterization,
    optimizer: OptimizerRule,
    prescription: Prescription,
    anchor: Anchor = Anchor.RELATIVE,
    gauge: Gauge = Gauge.FOLDED,
    epsilon: EpsilonPolicy = EpsilonPolicy.CONSTANT,
) -> ReferencePlan:
    """The plan of a reference model at a width.

    Args:
        roles: tensor name -> role and initial constant, as `assign_roles` gives them.
        width: n, at least 1.
        base_width: n_b, the width that rates are relative to, at least 1.

    Raises:
        ValueError: a width below 1.

    Example:
        >>> from widthwise.scaling import mlp_roles
        >>> from widthwise.theory import ADAM, FULL_RATES, STANDARD
        >>> roles = {"hidden.0": mlp_roles(1)["hidden.*"]}
        >>> plan = make_reference_plan(roles, width=256, base_width=64, parameterization=STANDARD,
        ...                            optimizer=ADAM, prescription=FULL_RATES)
        >>> plan.rows["hidden.0"].rate
        0.25
    """
    laws = reference_laws(
        roles,
        parameterization=parameterization,
        optimizer=optimizer,
        prescription=prescription,
        anchor=anchor,
        gauge=gauge,
        epsilon=epsilon,
    )
    return laws.at(width, base_width=base_width)


@dataclass(frozen=True)
class _Law:
    """One tensor's numbers as exponents: each is n_b^(-e at the base) * (n / n_b)^(-e).

    Args:
        exponents: (a, b, c, g) in the plan's gauge, c as prescribed.
        powers: (e at the base, e) of multiplier, init, rate and epsilon, as floats: a study asks at many widths.
    """

    tensor: TensorRole
    exponents: RoleExponents
    powers: tuple[tuple[float, float], ...]

    def row(self, width: int, base_width: int) -> ReferenceRow:
        base, ratio = float(base_width), width / base_width
        multiplier, init, rate, epsilon = (base**-at_base * ratio**-e for at_base, e in self.powers)
        return ReferenceRow(
            role=self.tensor.role,
            exponents=self.exponents,
            init=self.tensor.constant * init,
            multiplier=multiplier,
            rate=rate,
            epsilon=epsilon,
        )


@dataclass(frozen=True)
class ReferenceLaws:
    """Every tensor's exponents, from which the plan of any width follows; see `make_reference_plan`."""

    parameterization: Parameterization
    optimizer: OptimizerRule
    prescription: Prescription
    anchor: Anchor
    gauge: Gauge
    epsilon: EpsilonPolicy
    laws: Mapping[str, _Law]

    def at(self, width: int, *, base_width: int) -> ReferencePlan:
        """The plan at a width.

        Raises:
            ValueError: a width below 1.
        """
        if width < 1 or base_width < 1:
            raise ValueError(f"width {width} and base width {base_width} must both be at least 1")
        made = {
            id(law): law.row(width, base_width) for law in {id(x): x for x in self.laws.values()}.values()
        }
        return ReferencePlan(
            width=width,
            base_width=base_width,
            parameterization=self.parameterization,
            optimizer=self.optimizer,
            prescription=self.prescription,
            anchor=self.anchor,
            gauge=self.gauge,
            epsilon=self.epsilon,
            rows={name: made[id(law)] for name, law in self.laws.items()},
        )


def reference_laws(
    roles: Mapping[str, TensorRole],
    *,
    parameterization: Parameterization,
    optimizer: OptimizerRule,
    prescription: Prescription,
    anchor: Anchor = Anchor.RELATIVE,
    gauge: Gauge = Gauge.FOLDED,
    epsilon: EpsilonPolicy = EpsilonPolicy.CONSTANT,
) -> ReferenceLaws:
    """The exponents of a reference model's tensors, for a study that plans many widths.

    Args:
        roles: tensor name -> role and initial constant, as `assign_roles` gives them.
    """
    made = {
        tensor: _law(
            tensor,
            own=_prescribed(parameterization, optimizer, prescription, tensor.role),
            optimizer=optimizer.at(tensor.role),
            frame=(anchor, gauge, epsilon),
        )
        for tensor in set(roles.values())
    }
    return ReferenceLaws(
        parameterization=parameterization,
        optimizer=optimizer,
        prescription=prescription,
        anchor=anchor,
        gauge=gauge,
        epsilon=epsilon,
        laws={name: made[tensor] for name, tensor in roles.items()},
    )


def _prescribed(
    parameterization: Parameterization, optimizer: OptimizerRule, prescription: Prescription, role: Role
) -> RoleExponents:
    return RoleExponents(
        a=parameterization[role].a,
        b=parameterization[role].b,
        c=prescribed_exponent(parameterization, optimizer, prescription, role),
        g=gradient_exponent(parameterization, role),
    )


def _law(
    tensor: TensorRole,
    *,
    own: RoleExponents,
    optimizer: OptimizerRule,
    frame: tuple[Anchor, Gauge, EpsilonPolicy],
) -> _Law:
    anchor, gauge, epsilon = frame
    theta = -own.a if gauge is Gauge.FOLDED else ZERO
    shifted = shift_gauge(own, optimizer, theta)
    epsilon_exponent = (own.g if epsilon is EpsilonPolicy.PER_LAYER else ZERO) + theta
    if anchor is Anchor.ABSOLUTE:
        # Folding moves the multiplier at the base width, n_b^(-a), as well as its ratio.
        at_base = RoleExponents(a=shifted.a, b=shifted.b, c=-rate_power(optimizer) * theta, g=theta)
    else:
        at_base = RoleExponents(a=ZERO, b=STANDARD[tensor.role].b, c=ZERO, g=ZERO)
    pairs = (
        (at_base.a, shifted.a),
        (at_base.b, shifted.b),
        (at_base.c, shifted.c),
        (at_base.g, epsilon_exponent),
    )
    return _Law(tensor, exponents=shifted, powers=tuple((float(base), float(e)) for base, e in pairs))
