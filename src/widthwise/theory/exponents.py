"""The largest stable learning-rate exponents, in closed form.

A layer's rate is eta_l ~ n^(-c_l). Its update moves the effective weight by n^(-(a + c + p g + q b)), where g is the
exponent of its gradient and (p, q) are the optimizer's powers. Activations stay bounded when, with every earlier
change of size one (r = 0 in the paper's notation),

    embedding   a + c + p g + q b >= 0
    hidden      a + c + p g + q b >= max(alpha, u)
    readout     a + c + p g + q b >= max(alpha, u)

and the largest stable rate makes these equalities. Two conditions bind in addition:

* an optimizer that scales with the parameter (q = 1) needs c >= 0, or the updates outgrow the weights that set them;
* an optimizer that scales with the gradient (p = 1) keeps the gradient at its initial scale: the readout's update must
  not outgrow the initial readout (a + c + p g >= a + b). Where this binds, a second optimum exists that trades the
  other layers' rates for a larger readout rate; this one has the smallest sum of c.

Source: the stability constraints of Everett et al. 2024 (arXiv 2407.05872), solved by hand. The SGD gradient exponent
is a minimum over the readout's initial and updated weights (the paper's table prints a maximum, which contradicts its
own values).
"""

from dataclasses import dataclass
from fractions import Fraction

from widthwise.theory.alignment import ALIGNMENTS, Alignment
from widthwise.theory.optimizer_rule import OPTIMIZER_RULES, OptimizerRule
from widthwise.theory.parameterization import HALF, PARAMETERIZATIONS, ZERO, Parameterization
from widthwise.theory.role import MATRIX_ROLES, Role


@dataclass(frozen=True)
class RoleExponents:
    """Everything that scales for one role: multiplier n^(-a), init n^(-b), rate n^(-c), gradient n^(-g)."""

    a: Fraction
    b: Fraction
    c: Fraction
    g: Fraction


@dataclass(frozen=True)
class ExponentRow:
    """One cell of the table of exponents."""

    parameterization: Parameterization
    optimizer: OptimizerRule
    alignment: Alignment
    role: Role
    exponents: RoleExponents


def gradient_exponent(parameterization: Parameterization, role: Role) -> Fraction:
    """The exponent g of a tensor's gradient at initialization, gradient entries ~ n^(-g).

        g = a_readout + b_readout + a      (embedding, hidden, vector)
        g = a_readout                      (readout)

    Example:
        >>> from widthwise.theory.parameterization import MEAN_FIELD
        >>> gradient_exponent(MEAN_FIELD, Role.HIDDEN)
        Fraction(3, 2)
    """
    readout = parameterization.readout
    if role is Role.READOUT:
        return readout.a
    return readout.a + readout.b + parameterization[role].a


def largest_stable_rate(
    parameterization: Parameterization, optimizer: OptimizerRule, alignment: Alignment, role: Role
) -> Fraction:
    """The exponent c of the largest stable learning rate of a role, eta ~ n^(-c).

    Example:
        >>> from widthwise.theory import ADAM, FULL, STANDARD
        >>> largest_stable_rate(STANDARD, ADAM, FULL, Role.HIDDEN)
        Fraction(1, 1)

    Raises:
        ValueError: if omega is above 1/2, where the closed form does not hold.

    Source: the closed form of the conditions in this module's head.
    """
    if alignment.omega > HALF:
        raise ValueError(
            f"alignment {alignment.name!r}: omega = {alignment.omega} is above 1/2, so the initial weights amplify "
            "every earlier change and r = 0 is not stable; use omega = 1/2"
        )
    a, b = parameterization[role].a, parameterization[role].b
    g = gradient_exponent(parameterization, role)
    size_without_rate = a + optimizer.gradient_power * g + optimizer.parameter_power * b
    needed = ZERO if role in (Role.EMBEDDING, Role.VECTOR) else alignment.update
    if role is Role.READOUT and optimizer.gradient_power:
        needed = max(needed, a + b)
    c = needed - size_without_rate
    return max(c, ZERO) if optimizer.parameter_power else c


def role_exponents(
    parameterization: Parameterization, optimizer: OptimizerRule, alignment: Alignment, role: Role
) -> RoleExponents:
    """(a, b, c, g) of one role, with c the largest stable rate's exponent."""
    return RoleExponents(
        a=parameterization[role].a,
        b=parameterization[role].b,
        c=largest_stable_rate(parameterization, optimizer, alignment, role),
        g=gradient_exponent(parameterization, role),
    )


def exponent_table() -> tuple[ExponentRow, ...]:
    """All 72 cells: 4 parameterizations x 3 optimizers x 2 alignments x 3 roles.

    Example:
        >>> len(exponent_table())
        72
    """
    return tuple(
        ExponentRow(
            parameterization=parameterization,
            optimizer=optimizer,
            alignment=alignment,
            role=role,
            exponents=role_exponents(parameterization, optimizer, alignment, role),
        )
        for parameterization in PARAMETERIZATIONS.values()
        for optimizer in OPTIMIZER_RULES.values()
        for alignment in ALIGNMENTS.values()
        for role in MATRIX_ROLES
    )
