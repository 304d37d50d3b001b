"""Different ways to write the same run: folding a multiplier, and the arms that coincide in a relative plan."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling_plans import ARMS, Arm, factors, plan_of, without_epsilon
from widthwise.scaling import Anchor, EpsilonPolicy, Gauge
from widthwise.theory import (
    ADAFACTOR,
    ADAM,
    FULL_RATES,
    GLOBAL_RATE,
    MEAN_FIELD,
    MUP,
    NONE_RATES,
    NTK,
    SGD,
    STANDARD,
    OptimizerRule,
)

widths = st.integers(min_value=1, max_value=32_768)
POWERS = {SGD: 2, ADAM: 1, ADAFACTOR: 0}
"""How often the multiplier enters the update of the effective weight: gradient and weight, weight, neither."""


@given(st.sampled_from(ARMS), widths, widths, st.sampled_from(Anchor), st.sampled_from(EpsilonPolicy))
def test_folding_moves_the_multiplier_into_the_rest(
    arm: Arm, width: int, base: int, anchor: Anchor, epsilon: EpsilonPolicy
) -> None:
    """init * m, rate * m^k, epsilon / m, and the multiplier 1; a few powers, each good to an ulp."""
    explicit = plan_of(
        arm, width=width, base_width=base, anchor=anchor, gauge=Gauge.EXPLICIT, epsilon=epsilon
    )
    folded = plan_of(arm, width=width, base_width=base, anchor=anchor, gauge=Gauge.FOLDED, epsilon=epsilon)
    for name, row in explicit.rows.items():
        m = row.multiplier
        by_hand = (row.init * m, 1.0, row.rate * m ** POWERS[arm[1]], row.epsilon / m)
        assert factors(folded.rows[name]) == pytest.approx(by_hand, rel=1e-14)


SAME_RUN = {
    "NTK global = standard none": ((NTK, ADAM, GLOBAL_RATE), (STANDARD, ADAM, NONE_RATES)),
    "NTK full = standard full": ((NTK, ADAM, FULL_RATES), (STANDARD, ADAM, FULL_RATES)),
    "mean-field full = muP full": ((MEAN_FIELD, ADAM, FULL_RATES), (MUP, ADAM, FULL_RATES)),
    "mean-field none = muP none": ((MEAN_FIELD, ADAM, NONE_RATES), (MUP, ADAM, NONE_RATES)),
    "SGD: NTK full = standard full": ((NTK, SGD, FULL_RATES), (STANDARD, SGD, FULL_RATES)),
    "SGD: mean-field full = muP full": ((MEAN_FIELD, SGD, FULL_RATES), (MUP, SGD, FULL_RATES)),
    "Adafactor: NTK full = standard full": ((NTK, ADAFACTOR, FULL_RATES), (STANDARD, ADAFACTOR, FULL_RATES)),
}
"""Two arms that are one run when epsilon plays no part or follows the gradient."""

DIFFERENT_RUNS = {
    "muP full, standard full": ((MUP, ADAM, FULL_RATES), (STANDARD, ADAM, FULL_RATES)),
    "NTK global, standard global": ((NTK, ADAM, GLOBAL_RATE), (STANDARD, ADAM, GLOBAL_RATE)),
    "mean-field global, muP global": ((MEAN_FIELD, ADAM, GLOBAL_RATE), (MUP, ADAM, GLOBAL_RATE)),
    "standard full, standard none": ((STANDARD, ADAM, FULL_RATES), (STANDARD, ADAM, NONE_RATES)),
}

same = pytest.mark.parametrize("pair", SAME_RUN.values(), ids=SAME_RUN)


@same
@pytest.mark.parametrize("width", [32, 48, 200, 8192])
def test_arms_that_coincide_in_init_and_rate(pair: tuple[Arm, Arm], width: int) -> None:
    """Bit for bit: the folded plans come from equal fractions."""
    one, other = (without_epsilon(plan_of(arm, width=width, base_width=32)) for arm in pair)
    assert one == other


@same
def test_a_constant_epsilon_keeps_them_apart(pair: tuple[Arm, Arm]) -> None:
    """It is constant in two different gauges."""
    one, other = (plan_of(arm, width=128, base_width=32) for arm in pair)
    assert one.rows != other.rows
    assert {row.epsilon for row in one.rows.values()} != {row.epsilon for row in other.rows.values()}


@same
@pytest.mark.parametrize("width", [32, 48, 200, 8192])
def test_an_epsilon_per_layer_does_not(pair: tuple[Arm, Arm], width: int) -> None:
    one, other = (plan_of(arm, width=width, base_width=32, epsilon=EpsilonPolicy.PER_LAYER) for arm in pair)
    assert one.rows == other.rows


@same
@pytest.mark.parametrize("width", [64, 200])
def test_folded_absolute_plans_differ_where_the_base_rates_do(pair: tuple[Arm, Arm], width: int) -> None:
    """Absolute plans at one width are different starting points: the multiplier at the base width is folded too.

    Adafactor's rate does not take it up, so there the plans coincide.
    """
    one, other = (
        {
            name: row.rate
            for name, row in plan_of(arm, width=width, base_width=32, anchor=Anchor.ABSOLUTE).rows.items()
        }
        for arm in pair
    )
    assert (one == other) == (pair[0][1] is ADAFACTOR)


@pytest.mark.parametrize("pair", DIFFERENT_RUNS.values(), ids=DIFFERENT_RUNS)
def test_arms_that_do_not_coincide(pair: tuple[Arm, Arm]) -> None:
    one, other = (without_epsilon(plan_of(arm, width=128, base_width=32)) for arm in pair)
    assert one != other


@pytest.mark.parametrize("optimizer", POWERS, ids=lambda optimizer: optimizer.name)
def test_standard_needs_no_folding(optimizer: OptimizerRule) -> None:
    """Its multipliers are 1 in every gauge, so both gauges are one plan."""
    arm = (STANDARD, optimizer, FULL_RATES)
    explicit, folded = (plan_of(arm, width=200, base_width=32, gauge=gauge) for gauge in Gauge)
    assert explicit.rows == folded.rows
