"""Claims 12 and 13: worlds in which epsilon costs what the paper says, others, and noise that hides it."""

import math
import random
from collections.abc import Mapping

import pytest

from widthwise.analysis import (
    ArmLabel,
    ClaimVerdict,
    Evidence,
    Interval,
    Observation,
    Standing,
    fit_table,
    judge_claims,
)
from widthwise.analysis.claims_of_epsilon import subtracted
from widthwise.analysis.evidence import PARAMETERIZATIONS

POLICIES = {
    "1e-09": "constant",
    "1e-12": "constant 1e-12",
    "1e-15": "constant 1e-15",
    "1e-30": "constant 1e-30",
    "per layer": "per-layer",
    "atan2": "none",
}
Costs = Mapping[tuple[str, str], float]
"""(parameterization, policy) -> its cost at width 1024; at 256 a share of it."""

PAPER: Costs = {
    ("mean-field", "1e-09"): 0.03,
    ("ntk", "1e-09"): 0.02,
    ("standard", "1e-09"): 0.002,
    **{(name, "1e-30"): 0.05 for name in PARAMETERIZATIONS},
}
HOLDS, DOES_NOT, OPEN, NOT_RUN = Standing.HOLDS, Standing.DOES_NOT, Standing.OPEN, Standing.NOT_RUN


def evidence(
    costs: Costs, *, noise: float = 2e-4, seeds: int = 3, without: str = "", small: float = 0.1
) -> Evidence:
    """Seed 0 at every rate, the others at the best; seeds differ by 0.05, policies of one seed by `noise` besides."""
    labels: dict[str, ArmLabel] = {}
    observations: list[Observation] = []
    for parameterization in PARAMETERIZATIONS:
        for policy, epsilon in POLICIES.items():
            name, optimizer = f"{parameterization} {policy}", "adam-atan2" if policy == "atan2" else "adam"
            labels[name] = ArmLabel(parameterization, optimizer, "full", epsilon=epsilon)
            if policy == without:
                continue
            for width in (256, 1024):
                cost = costs.get((parameterization, policy), 0.0) * (1 if width == 1024 else small)
                for seed in range(seeds):
                    shared = random.Random(f"{parameterization}/{width}/{seed}").gauss(0, 0.05)
                    for x in range(-10, -5):
                        jitter = random.Random(f"{name}/{width}/{seed}/{x}").gauss(0, noise)
                        loss = 2 + cost + 0.02 * (x + 8) ** 2 + shared + jitter
                        if seed == 0 or x == -8:
                            found = None if math.isinf(cost) else loss
                            observations.append(
                                Observation(name, width, 2.0**x, seed, found, group=optimizer)
                            )
    return Evidence(fit_table(observations), labels, epsilon=1e-9)


def judged(number: int, study: Evidence) -> ClaimVerdict:
    (verdict,) = [v for v in judge_claims(study) if v.number == number]
    return verdict


def standings(verdict: ClaimVerdict) -> list[Standing]:
    return [condition.standing for condition in verdict.conditions]


def test_claims_12_and_13_hold_where_they_are_true() -> None:
    study = evidence(PAPER)
    twelve, thirteen = judged(12, study), judged(13, study)
    assert twelve.standing is thirteen.standing is HOLDS, (twelve, thirteen)
    assert (len(twelve.conditions), len(thirteen.conditions)) == (16, 8)
    first = twelve.conditions[0]
    assert first.what == "excess of 1e-9 at width 1024, mean-field less standard"
    assert first.measured is not None
    # 0.03 - 0.002, and six standard errors of differences of means of three: 2e-4 * sqrt(2/3) * sqrt 2 each
    assert first.measured.estimate == pytest.approx(0.028, abs=6 * 2e-4 * math.sqrt(4 / 3))
    # 2 widths, 5 rates and two seeds more at one: 14 runs for each of six policies of four parameterizations
    assert twelve.trials == 14 * 24


WRONG_12: list[tuple[str, Costs, int]] = [
    ("standard is hurt first", {("standard", "1e-09"): 0.05}, 0),
    ("mup is hurt before ntk", {("mup", "1e-09"): 0.025}, 3),
    ("1e-12 costs", {("ntk", "1e-12"): 0.02}, 6),
    ("1e-15 costs, at the largest width alone", {("mean-field", "1e-15"): 0.012}, 11),
    ("1e-30 costs nothing", {("mup", "1e-30"): 0.0}, 14),
]


@pytest.mark.parametrize(
    ("change", "condition"), [case[1:] for case in WRONG_12], ids=[c[0] for c in WRONG_12]
)
def test_claim_12_does_not_hold_where_it_is_false(change: Costs, condition: int) -> None:
    verdict = judged(12, evidence({**PAPER, **change}))
    assert verdict.standing is DOES_NOT
    assert standings(verdict)[condition] is DOES_NOT, verdict.conditions[condition]


@pytest.mark.parametrize("remedy", ["per layer", "atan2"])
def test_claim_13_does_not_hold_where_a_remedy_costs(remedy: str) -> None:
    verdict = judged(13, evidence({**PAPER, ("mean-field", remedy): 0.01}))
    assert verdict.standing is DOES_NOT
    wrong = [c.what for c in verdict.conditions if c.standing is DOES_NOT]
    assert wrong == [
        f"loss of {remedy} less that of the best constant epsilon, largest over widths 256, 1024, mean-field"
    ]


def test_a_remedy_that_is_better_than_every_constant_does_no_harm() -> None:
    """It is then what the constants are above: none of them is safe."""
    study = evidence({**PAPER, ("ntk", "atan2"): -0.05})
    assert judged(13, study).standing is HOLDS
    safe = judged(12, study).conditions[6]
    assert safe.what.startswith("largest excess of 1e-12")
    assert safe.what.endswith("ntk")
    assert safe.standing is DOES_NOT


@pytest.mark.parametrize(("cost", "standing"), [(0.004, DOES_NOT), (0.006, HOLDS)])
def test_the_margin_of_a_cost(cost: float, standing: Standing) -> None:
    """The margin is 0.005 nats; the noise is a fiftieth of the distance to it."""
    costs = {**PAPER, **{(name, "1e-30"): cost for name in PARAMETERIZATIONS}}
    assert standings(judged(12, evidence(costs, noise=2e-5)))[12:] == [standing] * 4
    remedies = {(name, policy): cost for name in PARAMETERIZATIONS for policy in ("per layer", "atan2")}
    opposite = HOLDS if standing is DOES_NOT else DOES_NOT
    assert set(standings(judged(13, evidence({**PAPER, **remedies}, noise=2e-5)))) == {opposite}


def test_a_cost_at_the_smaller_width_counts() -> None:
    """0.004 at width 1024, and 0.02 at width 256."""
    costs = {("ntk", "1e-12"): 0.004, ("mup", "atan2"): 0.004}
    study = evidence(costs, noise=2e-5, small=5.0)
    assert standings(judged(12, study))[6] is DOES_NOT
    assert [c.what for c in judged(13, study).conditions if c.standing is DOES_NOT] == [
        "loss of atan2 less that of the best constant epsilon, largest over widths 256, 1024, mup"
    ]


def test_a_policy_under_which_nothing_trains_costs_without_bound() -> None:
    verdict = judged(12, evidence({**PAPER, ("mup", "1e-30"): math.inf}))
    assert verdict.standing is HOLDS
    assert verdict.conditions[14].measured is not None
    assert verdict.conditions[14].measured.low == math.inf


def test_where_epsilon_costs_nobody_anything_the_order_is_open() -> None:
    costs = {key: cost for key, cost in PAPER.items() if key[1] != "1e-09"}
    assert standings(judged(12, evidence(costs)))[:4] == [OPEN] * 4


def test_noise_that_hides_a_cost_leaves_it_open() -> None:
    study = evidence(PAPER, noise=0.03)
    assert judged(12, study).standing is judged(13, study).standing is OPEN


def test_one_seed_decides_nothing() -> None:
    verdict = judged(12, evidence(PAPER, seeds=1))
    assert set(standings(verdict)) == {OPEN}
    assert {c.reason for c in verdict.conditions} == {
        "the noise is unknown: no policy has two seeds at its best rate"
    }


@pytest.mark.parametrize("policy", list(POLICIES))
def test_every_policy_is_waited_for(policy: str) -> None:
    study = evidence(PAPER, without=policy)
    for number in (12, 13):
        verdict = judged(number, study)
        assert set(standings(verdict)) == {NOT_RUN}
        assert verdict.standing is NOT_RUN
        assert "not finished" in verdict.conditions[0].reason


def test_a_study_whose_own_epsilon_is_another() -> None:
    """There, `constant` is not 1e-9, which must be an arm of its own."""
    study = evidence(PAPER)
    other = Evidence(study.table, study.labels, epsilon=1e-8)
    reason = "the study has no adam standard full with epsilon constant 1e-09"
    assert reason in {c.reason for c in judged(12, other).conditions}


def test_an_excess_less_another_is_subtracted_end_by_end() -> None:
    # [1, 4] less [2, 3]: from 1 - 3 to 4 - 2.
    assert subtracted(Interval(2.0, 1.0, 4.0), Interval(2.5, 2.0, 3.0)) == Interval(-0.5, -2.0, 2.0)
