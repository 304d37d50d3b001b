"""The certificate: an independent proof of every optimum, which no perturbed point, price or row passes."""

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from functools import cache

import pytest

from theory_problems import random_problem
from widthwise.theory import (
    ADAM,
    FULL,
    MUP,
    NONE,
    SGD,
    STANDARD,
    Certificate,
    InfeasibleError,
    Solution,
    UncertifiedError,
    highs,
    solve,
)
from widthwise.theory.conditions import Logits, layer_terms, stability_conditions
from widthwise.theory.highs import INFEASIBLE, UNBOUNDED, NoVertexError, solve_with_highs
from widthwise.theory.linear_program import LinearProgram, Row
from widthwise.theory.network import ROLE_CHAIN

ONE, ZERO = Fraction(1), Fraction(0)
SMALL = Fraction(1, 1000)
"""Far below any denominator of the problems: a check with a tolerance would let it pass."""


@cache
def solutions() -> tuple[Solution, ...]:
    """Random problems of every kind that have an optimum."""
    found: list[Solution] = []
    for seed in range(60):
        try:
            found.append(random_problem(random.Random(f"a certificate, number {seed}")).solve())
        except (InfeasibleError, UncertifiedError):
            continue
    assert len(found) > 40
    return tuple(found)


def dual_value(certificate: Certificate, stage: int) -> Fraction:
    """Weak duality: cost . x = sum of prices times a . x = minus the prices times the constants, plus slack's share."""
    rows = certificate.program.rows
    return -sum((price * rows[row].constant for row, price in certificate.prices[stage].items()), start=ZERO)


def test_the_prices_bound_the_first_cost() -> None:
    """Strong duality, computed from the constants alone, without the point."""
    for solution in solutions():
        certificate = solution.certificate
        cost = certificate.program.costs[0]
        value = sum((weight * certificate.point[v] for v, weight in cost.items()), start=ZERO)
        assert dual_value(certificate, 0) == value
        assert min(certificate.prices[0].values(), default=ZERO) >= 0


def test_no_other_point_passes() -> None:
    """Every variable moved either way: the preferred costs, the least slack and the largest G fix all of them."""
    for solution in solutions():
        certificate = solution.certificate
        for variable, value in enumerate(certificate.point):
            for step in (SMALL, -SMALL):
                point = (*certificate.point[:variable], value + step, *certificate.point[variable + 1 :])
                with pytest.raises(UncertifiedError, match=r"is violated at the point|has a price and slack"):
                    replace(certificate, point=point).check()


def test_no_other_price_passes() -> None:
    """A price up or down by a little, or left out, no longer adds up to the cost."""
    for solution in solutions():
        certificate = solution.certificate
        for stage, prices in enumerate(certificate.prices):
            for row, price in prices.items():
                for other in (price + SMALL, price - SMALL, ZERO):
                    with pytest.raises(UncertifiedError, match=f"stage {stage}: the prices of variable"):
                        _with_prices(certificate, stage, {**prices, row: other}).check()


def _with_prices(certificate: Certificate, stage: int, prices: Mapping[int, Fraction]) -> Certificate:
    changed = (*certificate.prices[:stage], prices, *certificate.prices[stage + 1 :])
    return replace(certificate, prices=changed)


def test_no_other_constant_passes() -> None:
    """A priced row loosened makes the point suboptimal; a tight row tightened makes it infeasible."""
    for solution in solutions():
        certificate = solution.certificate
        for index, row in enumerate(certificate.program.rows):
            if any(prices.get(index) for prices in certificate.prices):
                with pytest.raises(UncertifiedError, match=f"row {index} has a price and slack"):
                    _with_row(certificate, index, replace(row, constant=row.constant + SMALL)).check()
            if certificate.slack(index) == 0:
                with pytest.raises(UncertifiedError, match=f"row {index} is violated"):
                    _with_row(certificate, index, replace(row, constant=row.constant - SMALL)).check()


def test_no_other_coefficient_passes() -> None:
    for solution in solutions():
        certificate = solution.certificate
        for index, prices in ((i, p) for p in certificate.prices for i in p):
            row = certificate.program.rows[index]
            variable = next(iter(row.coefficients))
            twice = replace(row, coefficients={**row.coefficients, variable: 2 * row.coefficients[variable]})
            assert prices[index]
            with pytest.raises(UncertifiedError):
                _with_row(certificate, index, twice).check()


def _with_row(certificate: Certificate, index: int, row: Row) -> Certificate:
    rows = (*certificate.program.rows[:index], row, *certificate.program.rows[index + 1 :])
    return replace(certificate, program=replace(certificate.program, rows=rows))


# By hand: minimize x + y, then y, where x >= 1, y >= 1, x + y >= 3

HAND = LinearProgram(
    variables=2,
    rows=(Row({0: 1}, -ONE), Row({1: 1}, -ONE), Row({0: 1, 1: 1}, Fraction(-3))),
    costs=({0: 1, 1: 1}, {1: 1}),
)
HAND_PRICES = ({2: ONE}, {1: ONE})


def test_a_proof_by_hand() -> None:
    certificate = Certificate(HAND, (Fraction(2), ONE), HAND_PRICES, "hand").check()
    assert [certificate.slack(row) for row in range(3)] == [1, 0, 0]
    assert certificate.determines([0, 1], stages=2)
    assert not certificate.determines([0], stages=1), "x + y = 3 alone"


@pytest.mark.parametrize(
    ("point", "prices", "message"),
    [
        ((2, 1), HAND_PRICES[:1], "1 stages of prices for 2 costs"),
        ((1, 1), HAND_PRICES, "row 2 is violated at the point proposed by hand"),
        ((1, 2), HAND_PRICES, "stage 1: row 1 has a price and slack"),
        ((2, 2), HAND_PRICES, "stage 0: row 2 has a price and slack"),
        ((2, 1), ({2: ONE}, {}), "stage 1: the prices of variable 1 do not add up to its cost"),
        ((2, 1), ({2: 2 * ONE}, {1: ONE}), "stage 0: the prices of variable 0 do not add up"),
        ((2, 1), ({2: 2 * ONE, 1: -ONE}, {1: ONE}), "stage 0: row 1 has the negative price -1"),
        # y = 2 is not least: x >= 1 is tight here, but no optimum has to keep it so.
        ((1, 2), ({2: ONE}, {2: ONE, 0: -ONE}), "stage 1: row 0 has the negative price -1"),
    ],
)
def test_what_a_proof_must_not_be(
    point: tuple[int, int], prices: tuple[Mapping[int, Fraction], ...], message: str
) -> None:
    with pytest.raises(UncertifiedError, match=message):
        Certificate(HAND, (Fraction(point[0]), Fraction(point[1])), prices, "hand").check()


def test_later_stages_may_price_earlier_equalities_either_way() -> None:
    """Minimize x + y, then -y: y = 2, priced by x >= 1 and the equality x + y = 3 with a negative price."""
    program = replace(HAND, costs=({0: 1, 1: 1}, {1: -1}))
    certificate = Certificate(program, (ONE, Fraction(2)), ({2: ONE}, {0: ONE, 2: -ONE}), "hand")
    assert certificate.check() is certificate
    swapped = replace(program, costs=tuple(reversed(program.costs)))
    with pytest.raises(UncertifiedError, match="stage 0: row 2 has the negative price"):
        Certificate(swapped, certificate.point, tuple(reversed(certificate.prices)), "hand").check()


# HiGHS proposes, the certificate decides


@pytest.mark.parametrize("stages", [1, 2, 3, 4, 5])
def test_highs_proposals_are_proven_for_any_number_of_costs(stages: int) -> None:
    """Up to three costs are digits of one; more go one after another."""
    names = [{0: 1, 1: 1}, {1: 1}, {0: 1}, {0: -1}, {1: -1}]
    found = solve_with_highs(replace(HAND, costs=tuple(names[:stages])))
    assert found.point[0] + found.point[1] == 3
    if stages > 1:
        assert found.point == (2, 1)


def test_one_program_answers_several_costs_with_prices_of_either_sign(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Minimize x + y, then -y: the equality's second price is negative, and no second program is needed to see it."""

    def refuse(*_: object) -> None:
        raise AssertionError("one cost after another was not needed")

    monkeypatch.setattr(highs, "_one_by_one", refuse)
    found = solve_with_highs(replace(HAND, costs=({0: 1, 1: 1}, {1: -1})))
    assert found.point == (1, 2)
    assert found.prices == ({2: 1}, {0: 1, 2: -1})


def test_highs_reads_denominators_off_the_data() -> None:
    seventh = LinearProgram(2, (Row({0: 3}, Fraction(-1, 7)), Row({1: 1, 0: -1}, ZERO)), ({1: 1},))
    assert seventh.denominator == 7
    assert solve_with_highs(seventh).point == (Fraction(1, 21), Fraction(1, 21))


@pytest.mark.parametrize(
    ("rows", "cost", "status"),
    [
        ((Row({0: 1}, -ONE), Row({0: -1}, ZERO)), {0: 1}, INFEASIBLE),
        ((Row({0: 1}, -ONE),), {0: -1}, UNBOUNDED),
    ],
)
def test_highs_says_that_there_is_no_vertex(rows: tuple[Row, ...], cost: dict[int, int], status: int) -> None:
    with pytest.raises(NoVertexError) as caught:
        solve_with_highs(LinearProgram(1, rows, (cost,)))
    assert (caught.value.status, caught.value.stage) == (status, 0)


def test_the_rows_of_the_smallest_network() -> None:
    """SGD on the paper's chain, written out: 3 + 3 + 3 conditions, r >= 0 twice, and G below 2 bounds."""
    conditions = stability_conditions(
        layer_terms(MUP, SGD, NONE, ROLE_CHAIN), ROLE_CHAIN, logits=Logits.BOUNDED, slack=None
    )
    assert [str(meaning.kind) for meaning in conditions.meanings] == [
        *("update", "bounded"),
        *("update", "cross", "initial", "bounded"),
        *("update", "cross", "initial"),
        *("gradient-initial", "gradient-update"),
    ]
    assert len(conditions.variables) == 6, "c of three layers, r of two, G"
    assert {math.lcm(*map(abs, row.coefficients.values())) for row in conditions.rows} == {1}


def test_both_sources_prove_the_same() -> None:
    """The closed form's program, given to HiGHS: the same total, slack and G."""
    for parameterization in (STANDARD, MUP):
        for optimizer in (ADAM, SGD):
            closed = solve(parameterization, optimizer, FULL).certificate
            assert closed.source == "the closed form"
            other = solve_with_highs(closed.program)
            for cost in closed.program.costs:
                assert sum(k * closed.point[v] for v, k in cost.items()) == sum(
                    k * other.point[v] for v, k in cost.items()
                )
