"""Plans by hand, at the base width, and as the ratio of two absolute plans."""

from fractions import Fraction
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling_plans import ARMS, ROLES, Arm, arm_name, factors, plan_of
from widthwise.scaling import Anchor, EpsilonPolicy, Gauge, ReferencePlan, make_reference_plan, resolve
from widthwise.theory import (
    ADAFACTOR,
    ADAM,
    FULL_RATES,
    GLOBAL_RATE,
    MATRIX_ROLES,
    MEAN_FIELD,
    MUP,
    NONE,
    NONE_RATES,
    NTK,
    SGD,
    STANDARD,
    Alignment,
    PerLayerAlignment,
    Prescription,
    Role,
)

EXPLICIT, FOLDED = Gauge.EXPLICIT, Gauge.FOLDED
ABSOLUTE, RELATIVE = Anchor.ABSOLUTE, Anchor.RELATIVE
widths = st.integers(min_value=1, max_value=32_768)


# By hand: base width 16, width 64 (ratio 4), so that every power is exact. Per role (init, multiplier, rate); the
# standard parameterization starts the base model at (1, s/4, s/4), with s = 1/2 (hidden) and 3/4 (readout).
BY_HAND = {
    (STANDARD, ADAM, FULL_RATES, FOLDED): [(1, 1, 1), (1 / 16, 1, 1 / 4), (3 / 32, 1, 1 / 4)],
    (STANDARD, ADAM, NONE_RATES, FOLDED): [(1, 1, 1), (1 / 16, 1, 1 / 2), (3 / 32, 1, 1 / 2)],
    (STANDARD, ADAM, GLOBAL_RATE, FOLDED): [(1, 1, 1), (1 / 16, 1, 1), (3 / 32, 1, 1)],
    (NTK, ADAM, FULL_RATES, EXPLICIT): [(1, 1, 1), (1 / 8, 1 / 2, 1 / 2), (3 / 16, 1 / 2, 1 / 2)],
    (MUP, ADAM, FULL_RATES, EXPLICIT): [(1 / 2, 2, 1 / 2), (1 / 16, 1, 1 / 4), (3 / 32, 1 / 2, 1 / 2)],
    (MUP, ADAM, FULL_RATES, FOLDED): [(1, 1, 1), (1 / 16, 1, 1 / 4), (3 / 64, 1, 1 / 4)],
    (MEAN_FIELD, ADAM, FULL_RATES, EXPLICIT): [(1, 1, 1), (1 / 8, 1 / 2, 1 / 2), (3 / 16, 1 / 4, 1)],
    (MUP, ADAM, GLOBAL_RATE, FOLDED): [(1, 1, 2), (1 / 16, 1, 1), (3 / 64, 1, 1 / 2)],
    (STANDARD, SGD, FULL_RATES, FOLDED): [(1, 1, 2), (1 / 16, 1, 1 / 2), (3 / 32, 1, 1 / 4)],
    (MUP, SGD, FULL_RATES, EXPLICIT): [(1 / 2, 2, 1), (1 / 16, 1, 1), (3 / 32, 1 / 2, 1)],
    (MUP, SGD, FULL_RATES, FOLDED): [(1, 1, 4), (1 / 16, 1, 1), (3 / 64, 1, 1 / 4)],
    (STANDARD, ADAFACTOR, FULL_RATES, FOLDED): [(1, 1, 1), (1 / 16, 1, 1 / 2), (3 / 32, 1, 1 / 2)],
    (NTK, ADAFACTOR, FULL_RATES, FOLDED): [(1, 1, 1), (1 / 16, 1, 1 / 2), (3 / 32, 1, 1 / 2)],
}


BY_ROLE = PerLayerAlignment(
    "measured",
    {
        "hidden": NONE,
        "readout": Alignment("readout", alpha=Fraction(3, 4), omega=Fraction(1, 2), u=Fraction(1, 4)),
    },
)


def test_a_prescription_may_have_its_own_alignment_for_every_role() -> None:
    """Hidden layers without alignment, 4^(-1/2); the readout's is 3/4, 4^(-3/4)."""
    rows = plan_of(
        (STANDARD, ADAM, Prescription("measured", BY_ROLE)), width=64, base_width=16, gauge=FOLDED
    ).rows
    assert [r.rate for r in list(rows.values())[:3]] == [1, 1 / 2, 4**-0.75]


def case_name(case: object) -> str:
    return " ".join(getattr(part, "name", "") for part in case) if isinstance(case, tuple) else ""


@pytest.mark.parametrize(("case", "expected"), BY_HAND.items(), ids=case_name)
def test_relative_plan_by_hand(case: tuple[object, ...], expected: list[tuple[float, float, float]]) -> None:
    *arm, gauge = case
    rows = plan_of(tuple(arm), width=64, base_width=16, gauge=gauge).rows
    assert [(r.init, r.multiplier, r.rate) for r in list(rows.values())[:3]] == expected


def test_absolute_plan_by_hand() -> None:
    """NTK at n = 64, base 16: W_eff = n^(-1/2) W with W ~ N(0, s^2); full Adam rates fall as (n / 16)^(-1/2)."""
    plan = plan_of((NTK, ADAM, FULL_RATES), width=64, base_width=16, anchor=ABSOLUTE, gauge=EXPLICIT)
    assert [factors(row) for row in plan.rows.values()] == [
        (1, 1, 1, 1),
        (1 / 2, 1 / 8, 1 / 2, 1),
        (3 / 4, 1 / 8, 1 / 2, 1),
        (1, 1, 1, 1),
    ]


def test_absolute_plan_folded_by_hand() -> None:
    """The same, with the multiplier 1/8 in init and rate, and epsilon 8 times larger against the gradient."""
    plan = plan_of((NTK, ADAM, FULL_RATES), width=64, base_width=16, anchor=ABSOLUTE)
    assert [factors(row) for row in plan.rows.values()] == [
        (1, 1, 1, 1),
        (1 / 16, 1, 1 / 16, 8),
        (3 / 32, 1, 1 / 16, 8),
        (1, 1, 1, 1),
    ]


def test_epsilon_per_layer_by_hand() -> None:
    """muP's gradients fall as n^(-g), g = (1/2, 1, 1/2, 1): ratio 4 gives (1/2, 1/4, 1/2, 1/4)."""
    plan = plan_of(
        (MUP, ADAM, FULL_RATES), width=64, base_width=16, gauge=EXPLICIT, epsilon=EpsilonPolicy.PER_LAYER
    )
    assert [row.epsilon for row in plan.rows.values()] == [1 / 2, 1 / 4, 1 / 2, 1 / 4]
    assert [row.exponents.g for row in plan.rows.values()] == [Fraction(1, 2), 1, Fraction(1, 2), 1]


@pytest.mark.parametrize(
    ("policy", "epsilons"),
    # muP's multipliers at ratio 4 are (2, 1, 1/2, 1): folding divides epsilon by them.
    [(EpsilonPolicy.CONSTANT, [1 / 2, 1, 2, 1]), (EpsilonPolicy.PER_LAYER, [1 / 4, 1 / 4, 1, 1 / 4])],
)
def test_epsilon_folded_by_hand(policy: EpsilonPolicy, epsilons: list[float]) -> None:
    plan = plan_of((MUP, ADAM, FULL_RATES), width=64, base_width=16, epsilon=policy)
    assert [row.epsilon for row in plan.rows.values()] == epsilons


@pytest.mark.parametrize("epsilon", EpsilonPolicy)
@pytest.mark.parametrize("gauge", Gauge)
@pytest.mark.parametrize("arm", ARMS, ids=arm_name)
def test_relative_plan_is_the_users_model_at_the_base_width(
    arm: Arm, gauge: Gauge, epsilon: EpsilonPolicy
) -> None:
    """Every factor is 1 and the init is the standard parameterization's, s or s n_b^(-1/2): bit for bit."""
    for base in (1, 16, 48, 97):
        rows = plan_of(arm, width=base, base_width=base, gauge=gauge, epsilon=epsilon).rows
        narrow = base**-0.5
        assert {name: factors(row) for name, row in rows.items()} == {
            "embedding": (1.0, 1.0, 1.0, 1.0),
            "hidden": (0.5 * narrow, 1.0, 1.0, 1.0),
            "readout": (0.75 * narrow, 1.0, 1.0, 1.0),
            "vector": (1.0, 1.0, 1.0, 1.0),
        }


@given(st.sampled_from(ARMS), widths, widths, st.sampled_from(EpsilonPolicy))
def test_relative_plan_is_the_ratio_of_two_absolute_plans(
    arm: Arm, width: int, base: int, epsilon: EpsilonPolicy
) -> None:
    """A few powers, each good to an ulp: 1e-14."""

    def absolute(n: int) -> ReferencePlan:
        return plan_of(arm, width=n, base_width=base, anchor=ABSOLUTE, gauge=EXPLICIT, epsilon=epsilon)

    relative = plan_of(arm, width=width, base_width=base, gauge=EXPLICIT, epsilon=epsilon)
    for name, row in relative.rows.items():
        there, here = absolute(width).rows[name], absolute(base).rows[name]
        standard = ROLES[name].constant * base ** -float(STANDARD[ROLES[name].role].b)
        ratios = [x / y for x, y in zip(factors(there), factors(here), strict=True)]
        ratios[0] *= standard
        assert factors(row) == pytest.approx(tuple(ratios), rel=1e-14)


@given(st.sampled_from(ARMS), widths, widths)
def test_absolute_plan_is_powers_of_the_width(arm: Arm, width: int, base: int) -> None:
    """multiplier n^(-a) and init s n^(-b); only the rate is relative to the base width."""
    rows = plan_of(arm, width=width, base_width=base, anchor=ABSOLUTE, gauge=EXPLICIT).rows
    for name, row in rows.items():
        pair = arm[0][ROLES[name].role]
        assert row.multiplier == pytest.approx(width ** -float(pair.a), rel=1e-14)
        assert row.init == pytest.approx(ROLES[name].constant * width ** -float(pair.b), rel=1e-14)
        assert row.rate == pytest.approx((width / base) ** -float(row.exponents.c), rel=1e-14)


@given(st.sampled_from(ARMS), widths, widths, st.sampled_from(Anchor), st.sampled_from(Gauge))
def test_vectors_start_at_their_constant(
    arm: Arm, width: int, base: int, anchor: Anchor, gauge: Gauge
) -> None:
    row = plan_of(arm, width=width, base_width=base, anchor=anchor, gauge=gauge).rows["vector"]
    assert (row.init, row.multiplier) == (1.0, 1.0)


def test_a_plan_says_what_it_was_computed_from() -> None:
    plan = plan_of((MUP, SGD, NONE_RATES), width=64, base_width=16, anchor=ABSOLUTE, gauge=EXPLICIT)
    assert (plan.width, plan.base_width) == (64, 16)
    assert (plan.parameterization, plan.optimizer, plan.prescription) == (MUP, SGD, NONE_RATES)
    assert (plan.anchor, plan.gauge, plan.epsilon) == (ABSOLUTE, EXPLICIT, EpsilonPolicy.CONSTANT)
    assert [row.role for row in plan.rows.values()] == [*MATRIX_ROLES, Role.VECTOR]


def test_defaults_are_a_users() -> None:
    """Relative and folded: the forward pass is left as it is."""
    plan = make_reference_plan(
        ROLES, width=64, base_width=16, parameterization=MUP, optimizer=ADAM, prescription=FULL_RATES
    )
    assert (plan.anchor, plan.gauge, plan.epsilon) == (RELATIVE, FOLDED, EpsilonPolicy.CONSTANT)
    assert {row.multiplier for row in plan.rows.values()} == {1.0}


@pytest.mark.parametrize(("width", "base"), [(0, 16), (64, 0), (-4, -4)])
def test_a_width_below_one_is_refused(width: int, base: int) -> None:
    message = f"width {width} and base width {base} must both be at least 1"
    with pytest.raises(ValueError, match=message):
        plan_of((MUP, ADAM, FULL_RATES), width=width, base_width=base)


def test_resolve_multiplies_the_base_values() -> None:
    plan = plan_of((MUP, ADAM, FULL_RATES), width=64, base_width=16, gauge=EXPLICIT)
    numbers = resolve(plan, learning_rate=0.5, epsilon=1e-8)
    assert set(numbers) == set(plan.rows)
    for name, row in plan.rows.items():
        given_numbers = numbers[name]
        assert (given_numbers.init, given_numbers.multiplier) == (row.init, row.multiplier)
        assert (given_numbers.rate, given_numbers.epsilon) == (0.5 * row.rate, 1e-8 * row.epsilon)


@pytest.mark.parametrize("rate", [0.0, -0.1, nan])
def test_a_rate_that_is_not_positive_is_refused(rate: float) -> None:
    plan = plan_of((MUP, ADAM, FULL_RATES), width=64, base_width=16)
    with pytest.raises(ValueError, match=f"learning rate {rate} must be positive"):
        resolve(plan, learning_rate=rate, epsilon=0.0)


@pytest.mark.parametrize("epsilon", [-1e-8, nan, -inf])
def test_a_negative_epsilon_is_refused(epsilon: float) -> None:
    plan = plan_of((MUP, ADAM, FULL_RATES), width=64, base_width=16)
    with pytest.raises(ValueError, match=f"epsilon {epsilon} must not be negative"):
        resolve(plan, learning_rate=0.1, epsilon=epsilon)
