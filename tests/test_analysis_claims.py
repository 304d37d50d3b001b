"""The judge of claims: worlds in which they hold, in which they do not, and studies that cannot tell."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest

from claim_study import Law, evidence, runs
from widthwise.analysis import ArmLabel, ClaimVerdict, Evidence, Interval, Standing, fit_table, judge_claims
from widthwise.analysis.claim import Condition, Gap, above_zero, all_of, any_of, below_zero, within
from widthwise.analysis.evidence import PARAMETERIZATIONS

GLOBAL = {"standard": -0.95, "ntk": -0.68, "mup": -1.12, "mean-field": -0.22}
BEST = {"standard": 2.00, "ntk": 2.05, "mup": 2.10, "mean-field": 2.15}


def paper() -> dict[ArmLabel, Law]:
    """A world in which every claim holds, with the paper's exponents."""
    laws: dict[ArmLabel, Law] = {}
    for name in PARAMETERIZATIONS:
        floor = BEST[name]
        laws[ArmLabel(name, "adam", "global")] = Law(GLOBAL[name], floor + 0.05, alpha=0.45, edge=3.0)
        laws[ArmLabel(name, "adam", "full")] = Law(0.02, floor, edge=1.6)
        laws[ArmLabel(name, "adam", "none")] = Law(0.3, floor, edge=4.6)
        laws[ArmLabel(name, "adam", "full", constants="optimal")] = Law(0.0, floor - _gain(name))
        laws[ArmLabel(name, "adam", "global", horizon="compute-optimal")] = Law(GLOBAL[name] - 0.25, floor)
        laws[ArmLabel(name, "adam-ps", "full")] = Law(0.0, floor)
        laws[ArmLabel(name, "adam-ps", "none")] = Law(0.0, floor - 0.02)
        laws[ArmLabel(name, "sgd", "global")] = Law(-0.3, 3.0, noise=0.02, bump={1024: 0.8})
    return laws


def _gain(parameterization: str) -> float:
    return 0.05 if parameterization == "mup" else 0.01


def verdicts(laws: Mapping[ArmLabel, Law]) -> dict[int, ClaimVerdict]:
    return {verdict.number: verdict for verdict in judge_claims(evidence(laws))}


@pytest.fixture(scope="module")
def in_the_papers_world() -> dict[int, ClaimVerdict]:
    return verdicts(paper())


def test_every_claim_is_judged_in_order(in_the_papers_world: dict[int, ClaimVerdict]) -> None:
    assert list(in_the_papers_world) == list(range(1, 17))


def test_a_claim_says_how_many_trials_it_rests_on(in_the_papers_world: dict[int, ClaimVerdict]) -> None:
    """Four widths, three seeds, 17 rates: 204 runs a prescription, those that diverged included."""
    prescriptions = {1: 4, 2: 4, 3: 3, 4: 2, 5: 2, 6: 2, 7: 4, 8: 8, 9: 24, 10: 8, 16: 8}
    found = {number: verdict.trials for number, verdict in in_the_papers_world.items()}
    none = dict.fromkeys((11, 12, 13, 14), 0)
    assert found == {n: 204 * count for n, count in prescriptions.items()} | none | {15: 4 * 204}


def test_a_run_that_serves_two_prescriptions_counts_once() -> None:
    """Standard and muP are the same runs at width 128."""
    labels = {name: ArmLabel(name, "adam", "full") for name in ("standard", "mup")}
    observations = [
        replace(o, prescription=name, run=f"{name if o.width > 128 else ''}/{o.width}/{o.rate}/{o.seed}")
        for name in labels
        for o in runs("x", Law())
    ]
    (verdict,) = [v for v in judge_claims(Evidence(fit_table(observations), labels)) if v.number == 4]
    assert verdict.trials == (4 + 3) * 3 * 17


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
def test_a_claim_holds_where_it_is_true(in_the_papers_world: dict[int, ClaimVerdict], number: int) -> None:
    found = in_the_papers_world[number]
    assert found.standing is Standing.HOLDS, found


def test_claim_16_is_reported_and_never_decided(in_the_papers_world: dict[int, ClaimVerdict]) -> None:
    found = in_the_papers_world[16]
    assert found.standing is Standing.OPEN
    measured = [c.measured.estimate for c in found.conditions if c.measured]
    assert measured == pytest.approx([-0.25] * 4, abs=0.02)


def changed(change: dict[ArmLabel, Law]) -> dict[ArmLabel, Law]:
    laws = paper()
    assert set(change) <= set(laws)
    return laws | change


WRONG: dict[int, dict[ArmLabel, Law]] = {
    1: {ArmLabel("mean-field", "adam", "global"): Law(-1.3, 2.2, edge=3.0)},
    2: {ArmLabel("ntk", "adam", "full"): Law(0.4, 2.05, edge=1.6)},
    3: {ArmLabel("standard", "adam", "full"): Law(0.4, 2.0, edge=3.6)},
    4: {ArmLabel("mup", "adam", "full"): Law(0.02, 1.9, edge=1.6)},
    5: {ArmLabel("mup", "adam", "full", constants="optimal"): Law(0.0, 1.9)},
    6: {ArmLabel("standard", "adam", "global"): Law(-0.95, 1.9, edge=3.0)},
    7: {ArmLabel("standard", "adam", "full", constants="optimal"): Law(0.0, 1.8)},
    8: {ArmLabel("ntk", "adam-ps", "none"): Law(0.0, 2.2)},
    9: {ArmLabel(name, "sgd", "global"): Law(-0.3, 3.0, noise=1e-3) for name in PARAMETERIZATIONS},
    10: {ArmLabel("mup", "adam", "full"): Law(0.02, 2.1, curvature=0.01, edge=7.6)},
}


@pytest.mark.parametrize("number", sorted(WRONG))
def test_a_claim_does_not_hold_where_it_is_false(number: int) -> None:
    found = verdicts(changed(WRONG[number]))[number]
    assert found.standing is Standing.DOES_NOT, found
    if number == 9:
        assert [c.standing for c in found.conditions] == [Standing.DOES_NOT, Standing.DOES_NOT]


def test_a_gain_that_does_not_grow_is_no_growth() -> None:
    """Claim 6 asks for both: a difference below 0 at the largest width, and one that falls with the width."""
    laws = changed({ArmLabel("standard", "adam", "global"): Law(-0.95, 2.01, alpha=0.7, edge=3.0)})
    laws[ArmLabel("standard", "adam", "full")] = Law(0.02, 2.0, alpha=0.9, edge=1.6)
    difference, slope = verdicts(laws)[6].conditions
    assert difference.standing is Standing.HOLDS
    assert slope.measured is not None
    # n/128 = r: floors 0.01 apart plus 2^-0.7r - 2^-0.9r, which first grows and then falls
    assert slope.standing is not Standing.HOLDS or slope.measured.high < 0


def test_a_study_without_the_runs_cannot_tell() -> None:
    only = {
        label: law
        for label, law in paper().items()
        if label.optimizer == "adam" and label.constants == "default"
    }
    found = verdicts(only)
    assert {n for n, v in found.items() if v.standing is Standing.NOT_RUN} == {5, 7, 8, 9, *range(11, 16)}
    assert found[16].standing is Standing.OPEN
    assert found[5].conditions[0].reason == (
        "the study has no adam standard full with optimal constants and no adam mup full with optimal constants"
    )
    assert "no adam-ps standard none" in found[8].conditions[0].reason


def test_what_is_planned_and_not_finished_is_not_judged() -> None:
    """Every other run of the claim is there, and one condition is false: still it is not judged."""
    laws = changed(WRONG[8])
    whole = evidence(laws)
    waiting = ArmLabel("mup", "adam-ps", "none")
    kept = {name: cells for name, cells in whole.table.prescriptions.items() if whole.labels[name] != waiting}
    partial = replace(whole, table=replace(whole.table, prescriptions=kept))
    found = {v.number: v for v in judge_claims(partial)}[8]
    assert found.standing is Standing.NOT_RUN
    assert [c.standing for c in found.conditions] == [
        Standing.HOLDS, Standing.DOES_NOT, Standing.NOT_RUN, Standing.HOLDS
    ]  # fmt: skip
    assert found.conditions[2].reason == "adam-ps mup none: not finished"


def test_noise_over_all_of_an_optimizers_prescriptions_waits_for_all_of_them() -> None:
    whole = evidence(paper())
    waiting = ArmLabel("ntk", "sgd", "global")
    kept = {name: cells for name, cells in whole.table.prescriptions.items() if whole.labels[name] != waiting}
    partial = replace(whole, table=replace(whole.table, prescriptions=kept))
    found = {v.number: v for v in judge_claims(partial)}[9]
    assert found.standing is Standing.NOT_RUN
    assert {c.reason for c in found.conditions} == {"sgd ntk global: not finished"}


def test_noise_that_hides_a_difference_leaves_it_open() -> None:
    loud = {
        label: Law(0.0, law.floor, noise=0.3)
        for label, law in paper().items()
        if label.prescription == "full"
    }
    assert verdicts(loud)[4].standing is Standing.OPEN


def test_one_seed_decides_nothing() -> None:
    laws = {label: law for label, law in paper().items() if label.prescription in ("full", "global")}
    found = judge_claims(evidence(laws, seeds=1))
    # a grid alone bounds the edge of stability, so only claim 10 may be decided, and it has no prescription `none`
    standings = {v.number: v.standing for v in found}
    assert {n for n, standing in standings.items() if standing is Standing.OPEN} == {
        1, 2, 3, 4, 5, 6, 7, 9, 16
    }  # fmt: skip
    assert set(standings.values()) == {Standing.OPEN, Standing.NOT_RUN}
    assert found[3].conditions[0].reason == "the noise is unknown: no rate has two seeds"


def test_the_seeds_common_part_cancels_in_a_difference() -> None:
    """Two prescriptions whose seeds share their offsets: the interval is that of what they do not share."""
    a, b = (runs("x", Law(floor=floor, noise=0.05)) for floor in (2.0, 2.1))
    rename = {"standard": a, "mup": b}
    observations = [replace(o, prescription=name) for name, found in rename.items() for o in found]
    labels = {name: ArmLabel(name, "adam", "full") for name in rename}
    (verdict,) = [v for v in judge_claims(Evidence(fit_table(observations), labels)) if v.number == 4]
    measured = verdict.conditions[0].measured
    assert measured is not None
    assert measured.estimate == pytest.approx(-0.1, abs=1e-9)
    assert measured.high - measured.low < 1e-9


@pytest.mark.parametrize(
    ("interval", "standing"),
    [
        (Interval(0.0, -0.1, 0.1), Standing.HOLDS),
        (Interval(0.1, -0.1, 0.2), Standing.OPEN),
        (Interval(0.5, 0.2, 0.8), Standing.DOES_NOT),
        (Interval(0.0, -math.inf, math.inf), Standing.OPEN),
        (None, Standing.OPEN),
    ],
)
def test_a_bound_is_met_by_the_whole_interval(interval: Interval | None, standing: Standing) -> None:
    assert within("x", interval, -0.15, 0.15, missing=Gap("m"), demand="d").standing is standing


def test_signs_and_combinations() -> None:
    minus, plus, both = Interval(-1, -2, -0.5), Interval(1, 0.5, 2), Interval(0, -1, 1)
    assert [below_zero("x", i, missing=Gap("")).standing.name for i in (minus, plus, both)] == [
        "HOLDS",
        "DOES_NOT",
        "OPEN",
    ]
    assert [above_zero("x", i, missing=Gap("")).standing.name for i in (minus, plus, both)] == [
        "DOES_NOT",
        "HOLDS",
        "OPEN",
    ]
    holds, not_, open_ = (below_zero("x", i, missing=Gap("")) for i in (minus, plus, both))
    assert all_of([holds, holds]) is Standing.HOLDS
    assert all_of([holds, open_]) is Standing.OPEN
    assert all_of([holds, open_, not_]) is Standing.DOES_NOT
    not_run = Condition("x", "", None, Standing.NOT_RUN)
    assert all_of([holds, not_, not_run]) is any_of([holds, not_, not_run]) is Standing.NOT_RUN
    assert any_of([not_, open_, holds]) is Standing.HOLDS
    assert any_of([not_, open_]) is Standing.OPEN
    assert any_of([not_, not_]) is Standing.DOES_NOT
    assert any_of([]) is Standing.OPEN
