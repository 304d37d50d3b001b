"""Table E1's layout, the paper's numbers in it, learning-rate sensitivity and the edge of stability."""

import math

import pytest

from claim_study import Law, evidence
from widthwise.analysis import ArmLabel, Observation, evaluation_table, fit_table, headroom, sensitivity
from widthwise.analysis.cell import Cell, make_cell
from widthwise.analysis.evaluation_table import PAPER_COLUMNS
from widthwise.analysis.noise import pool_noise, student_quantile
from widthwise.analysis.optimum import fit_cell
from widthwise.analysis.published import rate_laws, table_e1


def test_the_papers_table_is_whole() -> None:
    """Three optimizers, four parameterizations, six sizes; SGD has no column with an epsilon."""
    losses = table_e1()
    assert len(losses) == 4 * 6 * (5 + 7 + 7)
    assert {p.width for p in losses} == {3072, 4096, 6144, 8192, 12288, 16384}
    at_largest = {
        (p.parameterization, p.setting.prescription, p.setting.constants, p.setting.epsilon): p.loss
        for p in losses
        if p.optimizer == "adam" and p.width == 16384
    }
    # the headline row as a reader of the paper quotes it
    assert at_largest["standard", "global", "default", "constant"] == 2.625
    assert at_largest["standard", "full", "default", "constant"] == 2.576
    assert at_largest["standard", "full", "optimal", "constant"] == 2.572
    assert at_largest["mup", "full", "optimal", "constant"] == 2.599
    assert at_largest["mean-field", "none", "optimal", "per-layer"] == 2.583


def test_the_papers_laws_of_the_rate() -> None:
    laws = {(w.source, w.horizon, w.parameterization): (w.coefficient, w.exponent) for w in rate_laws()}
    assert len(laws) == 12
    assert laws["Appendix K", "fixed", "ntk"] == (14.9, -0.71)
    assert laws["Figure I2", "compute-optimal", "mean-field"] == (2.94, -0.45)


def test_a_study_in_the_layout_of_table_e1() -> None:
    laws = {
        ArmLabel("mup", "adam", "full"): Law(floor=2.2),
        ArmLabel("mup", "adam", "global"): Law(floor=2.3),
        ArmLabel("standard", "adam", "full", constants="optimal"): Law(floor=2.1),
        ArmLabel("standard", "adam", "mid"): Law(floor=2.0),
        ArmLabel("standard", "sgd", "global"): Law(floor=3.0),
    }
    study = evidence(laws)
    table = evaluation_table(study.table, study.labels)
    named = [(c.prescription, c.constants) for c in table.columns]
    assert named == [("global", "default"), ("full", "default"), ("full", "optimal"), ("mid", "default")]
    assert table.columns[:3] == (PAPER_COLUMNS[0], PAPER_COLUMNS[2], PAPER_COLUMNS[3])
    rows = {(r.optimizer, r.parameterization, r.width): r.entries for r in table.rows}
    assert list(rows)[:2] == [("adam", "mup", 128), ("adam", "mup", 256)]
    assert len(rows) == 3 * 4
    entry = rows["adam", "mup", 1024][1]
    assert entry is not None
    assert entry.loss == pytest.approx(2.2 + 2**-1.5, abs=3e-3)  # three seeds of scatter 1e-3
    # The noise is that of the four prescriptions of that width alone.
    noise = pool_noise(fit for fit in study.table.members("") if fit.cell.width == 1024)
    assert noise is not None
    assert noise.degrees_of_freedom == 5 * 2
    t = student_quantile(0.95, noise.degrees_of_freedom)
    assert entry.half_width == pytest.approx(t * noise.level / math.sqrt(3), rel=1e-12)
    assert rows["adam", "mup", 1024][2] is rows["sgd", "standard", 128][1] is None
    published = {(r.optimizer, r.parameterization, r.width): r.entries for r in table.published}
    assert len(published) == 3 * 6
    losses = [None if e is None else e.loss for e in published["adam", "mup", 16384]]
    assert losses == [2.727, 2.646, 2.599, None]
    assert [e and e.loss for e in published["sgd", "standard", 16384]] == [3.657, 3.510, 3.385, None]


def test_an_edge_is_said_and_two_arms_of_one_setting_are_refused() -> None:
    label = ArmLabel("mup", "adam", "full")
    observations = [
        Observation(n, w, 2.0**x, s, 2.0 + 0.1 * x)
        for n in "ab"
        for w in (1, 2)
        for x in range(5)
        for s in (0, 1)
    ]
    table = fit_table(observations)
    entry = evaluation_table(table, {"a": label}).rows[0].entries[0]
    assert entry is not None
    assert (entry.loss, entry.half_width, entry.bracketed) == (2.0, None, False)
    with pytest.raises(ValueError, match="prescriptions 'a' and 'b' are the same setting"):
        evaluation_table(table, {"a": label, "b": label})


def cell(*losses_by_seed: list[float | None], rates: list[float] | None = None) -> Cell:
    return make_cell(
        [
            Observation("p", 64, (rates or [2.0**k for k in range(9)])[r], s, loss)
            for s, losses in enumerate(losses_by_seed)
            for r, loss in enumerate(losses)
        ]
    )


def test_sensitivity_by_hand() -> None:
    # capped at 4: 3, 2, 2.5, 4 (a loss of 9), 4 (diverged); mean 3.1, best 2
    found = sensitivity(cell([3.0, 2.0, 2.5, 9.0, None]), initial_loss=4.0)
    assert found is not None
    assert found.value == pytest.approx(1.1, abs=1e-12)
    assert found.interval is None
    assert found.rates == (1.0, 16.0)


def test_sensitivity_over_seeds() -> None:
    # seeds: 3, 2, 4 -> 3 - 2 = 1; 3.2, 2.2, 4 -> 3.1333 - 2.2 = 0.9333; the mean: 3.1, 2.1, 4 -> 0.9667
    found = sensitivity(cell([3.0, 2.0, None], [3.2, 2.2, 7.0]), initial_loss=4.0)
    assert found is not None
    assert found.value == pytest.approx((3.1 + 2.1 + 4) / 3 - 2.1, abs=1e-12)
    assert found.interval is not None
    half = student_quantile(0.95, 1) * abs(1 - 2.8 / 3) / 2
    assert found.interval.high - found.value == pytest.approx(half, rel=1e-9)


def test_filling_a_grid_does_not_lower_the_sensitivity() -> None:
    """The mean over an evenly spaced grid, the same with rates added around the minimum: a trapezoid's difference."""
    coarse = [2.0**k for k in range(-4, 5)]
    fine = sorted({*coarse, *(2.0 ** (k / 4) for k in range(-4, 5))})
    values = [
        sensitivity(cell([2 + 0.02 * math.log2(r) ** 2 for r in rates], rates=rates), initial_loss=9.0)
        for rates in (coarse, fine)
    ]
    first, second = (v.value for v in values if v is not None)
    # both are the mean of 0.02 x^2 over -4..4 with half a step added at each end; a trapezoid of 0.02 x^2 with step 1
    # is 0.02 / 6 too large where it was not refined
    assert second == pytest.approx(first, abs=0.02 / 6)
    plain_mean = sum(0.02 * math.log2(r) ** 2 for r in fine) / len(fine)
    assert plain_mean < first - 0.03


def test_sensitivity_is_undefined_where_nothing_trained() -> None:
    assert sensitivity(cell([None, None]), initial_loss=4.0) is None


def test_headroom_by_hand() -> None:
    """Best at 2^3, diverged from 2^6: the edge lies 2 to 3 octaves above; a loss above 1.2 times ends it sooner."""
    losses: list[float | None] = [2 + 0.02 * (x - 3) ** 2 for x in range(9)]
    dead = fit_cell(cell([*losses[:6], None, None, None]))
    found = headroom(dead, None)
    assert found is not None
    assert (found.largest_stable, found.first_unstable) == (2.0**5, 2.0**6)
    assert (found.octaves.low, found.octaves.estimate, found.octaves.high) == pytest.approx(
        (2, 2.5, 3), abs=1e-9
    )
    high = fit_cell(cell([*losses[:5], 2.41, *losses[6:]]))
    found = headroom(high, None)
    assert found is not None
    assert found.first_unstable == 2.0**5
    calm = headroom(fit_cell(cell([2 + 0.01 * (x - 3) ** 2 for x in range(9)])), None)
    assert calm is not None
    assert calm.first_unstable is None
    assert (calm.octaves.low, calm.octaves.high) == (pytest.approx(5, abs=1e-9), math.inf)
    assert headroom(fit_cell(cell([3.0, 2.5, 2.4, 2.3, 2.2])), None) is None
