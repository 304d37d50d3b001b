"""The gauge symmetry: a group that maps NTK to the standard parameterization and muP to mean field."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widthwise.theory import (
    ADAFACTOR,
    ADAM,
    ALIGNMENTS,
    MATRIX_ROLES,
    MEAN_FIELD,
    MUP,
    NTK,
    OPTIMIZER_RULES,
    SGD,
    STANDARD,
    Alignment,
    OptimizerRule,
    Parameterization,
    Role,
    RoleExponents,
    exponent_table,
    rate_power,
    role_exponents,
    shift_gauge,
)

exponents = st.fractions(min_value=-2, max_value=2, max_denominator=8)
cells = st.builds(RoleExponents, a=exponents, b=exponents, c=exponents, g=exponents)
optimizers = st.sampled_from(list(OPTIMIZER_RULES.values()))


def effective(cell: RoleExponents, optimizer: OptimizerRule) -> tuple[Fraction, Fraction, Fraction]:
    """What the gauge cannot change: of the effective weight n^(-a) W, its init, gradient and update.

    W moves by eta gradient^p RMS^q ~ n^(-(c + p g + q b)); the effective weight by n^(-a) times that.
    """
    update = cell.c + optimizer.gradient_power * cell.g + optimizer.parameter_power * cell.b
    return cell.a + cell.b, cell.g - cell.a, cell.a + update


@given(cells, optimizers, exponents)
def test_the_run_is_the_same(cell: RoleExponents, optimizer: OptimizerRule, theta: Fraction) -> None:
    assert effective(shift_gauge(cell, optimizer, theta), optimizer) == effective(cell, optimizer)


@given(cells, optimizers, exponents)
def test_the_multiplier_moves_by_theta(
    cell: RoleExponents, optimizer: OptimizerRule, theta: Fraction
) -> None:
    assert shift_gauge(cell, optimizer, theta).a - cell.a == theta


@given(cells, optimizers, exponents, exponents)
def test_shifts_compose(
    cell: RoleExponents, optimizer: OptimizerRule, first: Fraction, second: Fraction
) -> None:
    twice = shift_gauge(shift_gauge(cell, optimizer, first), optimizer, second)
    assert twice == shift_gauge(cell, optimizer, first + second)


@given(cells, optimizers, exponents)
def test_shifts_have_an_inverse_and_a_unit(
    cell: RoleExponents, optimizer: OptimizerRule, theta: Fraction
) -> None:
    assert shift_gauge(shift_gauge(cell, optimizer, theta), optimizer, -theta) == cell
    assert shift_gauge(cell, optimizer, Fraction(0)) == cell


@pytest.mark.parametrize(("optimizer", "power"), [(SGD, 2), (ADAM, 1), (ADAFACTOR, 0)], ids=lambda x: str(x))
def test_rate_powers(optimizer: OptimizerRule, power: int) -> None:
    assert rate_power(optimizer) == power


@pytest.mark.parametrize("role", MATRIX_ROLES)
@pytest.mark.parametrize("alignment", ALIGNMENTS.values(), ids=lambda alignment: alignment.name)
@pytest.mark.parametrize("optimizer", OPTIMIZER_RULES.values(), ids=lambda optimizer: optimizer.name)
@pytest.mark.parametrize(
    ("start", "end"), [(NTK, STANDARD), (STANDARD, NTK), (MUP, MEAN_FIELD), (MEAN_FIELD, MUP)]
)
def test_named_parameterizations_are_gauges_of_each_other(
    start: Parameterization,
    end: Parameterization,
    optimizer: OptimizerRule,
    alignment: Alignment,
    role: Role,
) -> None:
    theta = end[role].a - start[role].a
    shifted = shift_gauge(role_exponents(start, optimizer, alignment, role), optimizer, theta)
    assert shifted == role_exponents(end, optimizer, alignment, role)


def test_standard_and_mup_are_different_runs() -> None:
    """The two pairs are two classes: no shift makes muP's readout the standard one's."""
    folded = {
        row.parameterization.name: shift_gauge(row.exponents, ADAM, -row.exponents.a)
        for row in exponent_table()
        if (row.optimizer, row.alignment.name, row.role) == (ADAM, "full", Role.READOUT)
    }
    assert folded["standard"] == folded["ntk"]
    assert folded["mup"] == folded["mean-field"]
    assert folded["standard"] != folded["mup"]
