"""Optimizer rules, controlled logits, vectors and fixed tensors, and what a gauge can and cannot undo."""

from dataclasses import replace
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widthwise.theory import (
    ADAFACTOR,
    ADAM,
    ALIGNMENTS,
    FULL,
    MATRIX_ROLES,
    MEAN_FIELD,
    MUON,
    MUP,
    NONE,
    NTK,
    OPTIMIZER_RULES,
    PARAMETERIZATIONS,
    SGD,
    STANDARD,
    GaugeEffect,
    InitExponents,
    Logits,
    Network,
    OptimizerRule,
    Parameterization,
    Role,
    Solution,
    chain,
    compare,
    gauge_effect,
    gradient_exponent,
    largest_stable_rate,
    pareto_corners,
    role_exponents,
    solve,
)

HALF, ONE, ZERO = Fraction(1, 2), Fraction(1), Fraction(0)


def rates(solution: Solution) -> list[Fraction | None]:
    return [layer.c for layer in solution.layers.values()]


# Rules


def test_a_rule_of_ones_own() -> None:
    """||update||_F = 1: n x n entries of size 1/n, so every hidden rate is a power of n above Adam's."""
    normalized = OptimizerRule("normalized", entry_exponent=ONE, elsewhere=ADAM)
    assert rates(solve(STANDARD, normalized, FULL)) == [0, 0, 1]
    assert rates(solve(STANDARD, ADAM, FULL)) == [0, 1, 1]
    assert rates(solve(STANDARD, replace(normalized, elsewhere=None), FULL)) == [-1, 0, 0]


def test_a_rule_can_fix_its_alignment() -> None:
    """A low-rank update that always meets activations fully needs c = 1 whatever is assumed."""
    always = OptimizerRule("always", alignment=ONE)
    assert rates(solve(STANDARD, always, NONE)) == rates(solve(STANDARD, ADAM, FULL)) == [0, 1, 1]
    amplified = replace(NONE, omega=Fraction(3, 4))
    assert solve(STANDARD, always, amplified)["embedding"].r == HALF, (
        "omega is the weights', not the update's"
    )


def test_a_rule_with_both_powers() -> None:
    """Gradient and weights: sizes add, s = a + b + G + a; no rate falls below c = 0."""
    both = OptimizerRule("both", gradient_power=1, parameter_power=1)
    assert rates(solve(STANDARD, both, FULL)) == [0, 0, HALF]
    assert rates(solve(MUP, both, FULL)) == [0, 0, 0]


def test_muon_needs_no_alignment_in_hidden_layers() -> None:
    """n x n entries n^(-1/2) met at n^(1/2): c = -a whatever is assumed; Adam does the rest."""
    for parameterization in PARAMETERIZATIONS.values():
        for assumed in ALIGNMENTS.values():
            muon, adam = (solve(parameterization, rule, assumed) for rule in (MUON, ADAM))
            assert muon.rate("hidden") == -parameterization.hidden.a
            assert muon.rate("embedding") == adam.rate("embedding")
            assert muon.rate("readout") == adam.rate("readout")


@pytest.mark.parametrize("rule", OPTIMIZER_RULES.values(), ids=lambda rule: rule.name)
def test_every_rule_says_where_it_comes_from(rule: OptimizerRule) -> None:
    assert rule.source
    assert rule.at(Role.HIDDEN) is rule
    assert rule.at(Role.READOUT) is (ADAM if rule is MUON else rule)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gradient_power": 2}, "optimizer 'bad': the gradient's power is 2, must be 0 or 1"),
        ({"parameter_power": -1}, "optimizer 'bad': the parameter's power is -1, must be 0 or 1"),
        ({"elsewhere": MUON}, "optimizer 'bad': its rule elsewhere, 'muon', has one of its own"),
    ],
)
def test_rules_that_make_no_sense_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OptimizerRule("bad", **change)  # pyright: ignore[reportArgumentType]


# Controlled logits: arXiv 2505.22491


def test_cross_entropy_lets_the_standard_sgd_rate_be_larger() -> None:
    """The largest single rate for all layers is n^(-1) with bounded logits and n^(-1/2) with controlled ones."""
    bounded, controlled = (solve(STANDARD, SGD, FULL, logits=logits) for logits in Logits)
    assert max(c for c in rates(bounded) if c is not None) == 1
    assert max(c for c in rates(controlled) if c is not None) == HALF
    assert controlled["readout"].r is not None
    assert controlled["readout"].r == -HALF, "the logits grow"


@pytest.mark.parametrize("optimizer", [ADAM, MUON], ids=lambda rule: rule.name)
def test_the_readout_of_a_normalizing_optimizer_is_then_unlimited(optimizer: OptimizerRule) -> None:
    solution = solve(STANDARD, optimizer, FULL, logits="controlled")
    bounded = solve(STANDARD, optimizer, FULL)
    assert solution["readout"].unconstrained
    assert solution["readout"].c is None
    assert solution["readout"].r is None
    assert rates(solution)[:2] == rates(bounded)[:2]
    assert solution.total == bounded.total - bounded.rate("readout")
    with pytest.raises(ValueError, match="readout rate unconstrained"):
        solution.rate("readout")


def test_adafactors_readout_stays_limited_by_its_weights() -> None:
    solution = solve(STANDARD, ADAFACTOR, FULL, logits=Logits.CONTROLLED)
    assert rates(solution) == [0, HALF, 0]
    assert solution.why("readout").startswith("readout rate limited by the size of its own weights")


def test_words_that_mean_no_logits_are_refused() -> None:
    with pytest.raises(ValueError, match="logits 'free': must be one of bounded, controlled"):
        solve(STANDARD, ADAM, FULL, logits="free")


def test_a_negative_slack_is_refused() -> None:
    with pytest.raises(
        ValueError, match="slack -1/2 must not be negative: no feature may change by more than its own"
    ):
        solve(STANDARD, ADAM, FULL, slack=-HALF)
    assert solve(STANDARD, ADAM, FULL, slack=ZERO).slack == 0


@pytest.mark.parametrize("optimizer", [ADAM, SGD], ids=lambda rule: rule.name)
def test_a_network_in_which_nothing_is_trained(optimizer: OptimizerRule) -> None:
    network = Network(tuple(replace(layer, frozen=True) for layer in chain(1).layers))
    solution = solve(STANDARD, optimizer, FULL, network=network)
    assert rates(solution) == [None, None, None]
    assert (solution.total, solution.gradient, solution.unique) == (0, HALF, True)


def test_the_corners_of_nothing_are_one_empty_corner() -> None:
    network = Network(tuple(replace(layer, frozen=True) for layer in chain(1).layers))
    assert pareto_corners(solve(STANDARD, ADAM, FULL, network=network)).corners == ({},)


# Vectors and fixed tensors


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS.values(), ids=lambda p: p.name)
def test_fixed_tensors_ignore_the_width(parameterization: Parameterization) -> None:
    for optimizer, assumed in product(OPTIMIZER_RULES.values(), ALIGNMENTS.values()):
        found = role_exponents(parameterization, optimizer, assumed, Role.FIXED)
        assert (found.a, found.b, found.c, found.g) == (0, 0, 0, 0)
        vector = largest_stable_rate(parameterization, optimizer, assumed, Role.VECTOR)
        g = gradient_exponent(parameterization, Role.VECTOR)
        assert vector == (-g if optimizer is SGD else 0)


def test_vectors_and_fixed_tensors_give_up_the_embeddings_slack() -> None:
    """omega = 5/8 twice: features change by n^(-1/4), so that whatever moves them must be as slow."""
    steep = replace(FULL, omega=Fraction(5, 8))
    slack = solve(STANDARD, ADAM, steep)["embedding"].r
    assert slack == Fraction(1, 4)
    for optimizer, g in ((ADAM, ZERO), (MUON, ZERO), (SGD, HALF)):
        assert largest_stable_rate(STANDARD, optimizer, steep, Role.VECTOR) == slack - g
        assert largest_stable_rate(STANDARD, optimizer, steep, Role.FIXED) == slack
    shrinking = OptimizerRule("shrinking", parameter_power=1, entry_exponent=-HALF)
    assert largest_stable_rate(STANDARD, shrinking, FULL, Role.VECTOR) == HALF
    growing = OptimizerRule("growing", parameter_power=1, entry_exponent=HALF)
    assert largest_stable_rate(STANDARD, growing, FULL, Role.VECTOR) == 0, "c >= 0 makes features slow"


# Gauges


@pytest.mark.parametrize(
    ("optimizer", "rate", "coupled"), [(SGD, 2, -2), (ADAM, 1, -1), (ADAFACTOR, 0, 0), (MUON, 1, -1)], ids=str
)
def test_gauge_effects_are_the_papers(optimizer: OptimizerRule, rate: int, coupled: int) -> None:
    """a + theta: eps and gradients n^(-theta), weights and Adafactor's floor n^theta, L2 n^(-2 theta)."""
    expected = GaugeEffect(
        weights=1, gradient=-1, rate=rate, coupled_decay=coupled, independent_decay=0, l2=-2
    )
    assert gauge_effect(optimizer) == expected


@given(st.integers(-4, 4), st.sampled_from(list(OPTIMIZER_RULES.values())))
def test_gauge_effects_keep_what_training_sees(theta: int, optimizer: OptimizerRule) -> None:
    """Numbers, not exponents: weight 3, gradient 5 at multiplier 1 against multiplier 2^(-theta)."""
    effect, scale = gauge_effect(optimizer), 2.0**theta
    weight, gradient, rate, coupled, l2 = 3.0, 5.0, 0.25, 0.125, 0.0625
    after = [
        value * scale**power
        for value, power in (
            (weight, effect.weights),
            (gradient, effect.gradient),
            (rate, effect.rate),
            (coupled, effect.coupled_decay),
            (l2, effect.l2),
        )
    ]
    assert after[0] / scale == weight, "the effective weight"
    assert after[2] * after[3] == rate * coupled, "the share that decays in a step"
    assert after[4] * after[0] / after[1] == l2 * weight / gradient, "the penalty's share of the gradient"

    def step(rate: float, gradient: float, weight: float) -> float:
        return rate * gradient**optimizer.gradient_power * weight**optimizer.parameter_power

    assert step(after[2], after[1], after[0]) / scale == step(rate, gradient, weight), "the effective update"


@pytest.mark.parametrize(("first", "second"), [(STANDARD, NTK), (MUP, MEAN_FIELD)], ids=lambda p: p.name)
def test_pairs_that_are_the_same_up_to_gauge(first: Parameterization, second: Parameterization) -> None:
    for start, end in ((first, second), (second, first)):
        found = compare(start, end)
        assert found.same
        assert found.differs == ()
        assert str(found) == "same up to gauge: yes"
        shifted = {
            role.value: InitExponents(start[role].a + found.theta[role], start[role].b - found.theta[role])
            for role in MATRIX_ROLES
        }
        assert Parameterization(end.name, **shifted) == end


def test_what_no_gauge_changes_is_said() -> None:
    found = compare(STANDARD, MEAN_FIELD)
    assert not found.same
    assert str(found) == "same up to gauge: no, differs in the readout's init: n^-(1/2) against n^-(1)"
    assert found.theta == {Role.EMBEDDING: 0, Role.HIDDEN: HALF, Role.READOUT: 1}
    assert compare(MUP, NTK).differs == ("differs in the readout's init: n^-(1) against n^-(1/2)",)
