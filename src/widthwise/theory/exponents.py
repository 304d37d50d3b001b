"""The paper's table: the exponents of each role, read off the solver's solution of the chain of three roles."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from widthwise.theory.alignment import FULL, NONE, Alignment, AnyAlignment
from widthwise.theory.gradient import gradient_exponent
from widthwise.theory.optimizer_rule import PAPER_OPTIMIZERS, OptimizerRule
from widthwise.theory.parameterization import PARAMETERIZATIONS, ZERO, Parameterization
from widthwise.theory.role import MATRIX_ROLES, Role
from widthwise.theory.solution import Solution
from widthwise.theory.solver import solve


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


@lru_cache(maxsize=256)
def _role_chain(
    parameterization: Parameterization, optimizer: OptimizerRule, alignment: AnyAlignment
) -> Solution:
    return solve(parameterization, optimizer, alignment)


def largest_stable_rate(
    parameterization: Parameterization, optimizer: OptimizerRule, alignment: AnyAlignment, role: Role
) -> Fraction:
    """The exponent c of the largest stable learning rate of a role, eta ~ n^(-c).

    Vectors and fixed tensors act on features as an embedding does, without contracting a growing dimension, and may
    change them as much as the embedding may:

        c = r_embedding - (a + e + p g + q b)

    Example:
        >>> from widthwise.theory import ADAM, FULL, STANDARD
        >>> largest_stable_rate(STANDARD, ADAM, FULL, Role.HIDDEN)
        Fraction(1, 1)

    Source: `solve` on the chain of three roles.
    """
    solution = _role_chain(parameterization, optimizer, alignment)
    if role in MATRIX_ROLES:
        return solution.rate(role.value)
    rule = optimizer.at(role)
    g = solution.gradient if role is Role.VECTOR else ZERO
    slack = solution["embedding"].r or ZERO
    c = slack - (rule.entry_exponent + rule.gradient_power * g)
    return max(c, ZERO) if rule.parameter_power else c


def role_exponents(
    parameterization: Parameterization, optimizer: OptimizerRule, alignment: AnyAlignment, role: Role
) -> RoleExponents:
    """(a, b, c, g) of one role, with c the largest stable rate's exponent and g the gradient's at initialization."""
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
        for optimizer in PAPER_OPTIMIZERS
        for alignment in (FULL, NONE)
        for role in MATRIX_ROLES
    )
