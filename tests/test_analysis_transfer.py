"""From a table to verdicts: hand values, invariances, and every reason to be undecided."""

import math
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis_study import Design, quadratic, simulate, steep_above
from widthwise.analysis import CellStatus, Interval, Observation, TransferResult, Verdict, transfer
from widthwise.analysis.result import ExponentFit, PrescriptionResult, Regret
from widthwise.analysis.verdict import judge

Runs = tuple[Observation, ...]


def runs(
    *,
    optima: dict[int, float],
    seeds: int = 2,
    rates: range = range(-11, -2),
    noise: float = 1e-6,
    prescription: str = "p",
    diverges_above: dict[int, float] | None = None,
) -> Runs:
    """Parabolas of 0.02 per squared octave over a loss of 2."""
    rng = random.Random(0)
    above = diverges_above or {}
    return tuple(
        Observation(
            prescription,
            width,
            2.0**x,
            seed,
            None if x > above.get(width, 99) else 2 + 0.02 * (x - best) ** 2 + noise * rng.gauss(0, 1),
        )
        for width, best in optima.items()
        for x in rates
        for seed in range(seeds)
    )


@pytest.mark.parametrize(
    ("offset", "verdict"), [(0.2, Verdict.TRANSFERS), (-0.9, Verdict.TRANSFERS), (1.5, Verdict.DOES_NOT)]
)
def test_regret_by_hand(offset: float, verdict: Verdict) -> None:
    """On a parabola the kept rate gives up 0.02 d^2 / 2 inside the window; |d| = 1 is the margin of one per cent."""
    result = transfer(runs(optima={128: -7.0, 256: -7.0 - offset / 2, 512: -7.0 - offset})).results[0]
    assert result.verdict is verdict
    assert result.regret.offset is not None
    assert result.regret.loss is not None
    assert result.regret.offset.estimate == pytest.approx(offset, abs=1e-3)
    assert result.exponent.exponent == pytest.approx(-offset / 2, abs=1e-3)
    # beyond the window the interpolation stands in for the parabola: within 5 % of it half-way between points
    assert result.regret.loss.estimate == pytest.approx(
        0.01 * offset**2, rel=0.005 if abs(offset) < 0.5 else 0.05
    )
    assert result.regret.loss.low <= result.regret.loss.estimate <= result.regret.loss.high
    assert str(result.regret.base_width) in result.reason
    assert f"2^{-7.0:.2f}" in result.reason


def test_interval_across_zero_starts_at_zero() -> None:
    result = transfer(runs(optima={128: -7.0, 512: -7.0}, noise=0.002)).results[0]
    assert result.regret.loss is not None
    assert result.regret.loss.low == 0
    assert result.regret.loss.high > result.regret.loss.estimate >= 0


def test_offset_interval_by_hand() -> None:
    table = runs(optima={128: -7.2, 256: -7.4, 512: -7.1}, noise=0.001, seeds=3)
    result = transfer(table, level=0.9)
    found = result.results[0]
    spread = np.std([c.parabola - c.cubic for c in found.cells if c.parabola and c.cubic], ddof=1)
    (noise,) = result.noises
    s_2, b_2 = noise.sigma**2 * 2 / 3, 2 * float(spread) ** 2
    nu = (s_2 + b_2) ** 2 / (s_2**2 / 6 + b_2**2 / 2)
    half = stats.t.ppf(0.95, nu) * math.sqrt(s_2 + b_2)
    floor = stats.t.ppf(0.95, 6) * math.sqrt(s_2)
    worst = floor + sum(found.cells[i].systematic or 0 for i in (0, 2))
    assert found.regret.offset is not None
    assert found.regret.offset.high - found.regret.offset.estimate == pytest.approx(
        min(max(half, floor), worst)
    )


def test_curvature_noise_widens_the_regret() -> None:
    """All of the noise in the curvature, none in the position: both optima are exact and the regret is still unsure."""
    table = tuple(
        Observation("p", width, 2.0**x, seed, 2 + (0.02 + 0.002 * (seed - 0.5)) * (x - best) ** 2)
        for width, best in ((128, -7), (512, -8))
        for x in range(-12, -2)
        for seed in range(2)
    )
    loss = transfer(table).results[0].regret.loss
    assert loss is not None
    assert loss.estimate == pytest.approx(0.01, rel=1e-9)
    # relative deviations -0.05 and 0.05 in each of two cells: sigma_a^2 = 0.01 / 2, two seeds, t with 2
    half = stats.t.ppf(0.975, 2) * math.sqrt(0.005 / 2) * 0.01
    assert loss.high - loss.estimate == pytest.approx(half, rel=1e-6)
    assert loss.estimate - loss.low == pytest.approx(half, rel=1e-6)


def test_beyond_the_window_the_curvature_noise_is_that_of_its_end() -> None:
    """Two seeds of curvature 0.04 (1 +- e) at equal optima, -4 against -8: only the parabola's noise is left."""
    e = 0.1
    table = tuple(
        Observation("p", width, 2.0**x, seed, 2 + 0.02 * (1 + (e if seed else -e)) * (x - best) ** 2)
        for width, best in ((128, -4), (256, -8))
        for x in range(-11, -1)
        for seed in (0, 1)
    )
    loss = transfer(table).results[0].regret.loss
    assert loss is not None
    # the kept rate is 4 octaves off: 0.02 * 16 / 2; the window ends 1 octave off: 0.02 / 2
    half_width = stats.t.ppf(0.975, 2) * math.sqrt(2) * e / math.sqrt(2) * 0.01
    assert loss.estimate == pytest.approx(0.16, rel=1e-6)
    assert loss.low == pytest.approx(0.16 - half_width, rel=1e-6)
    assert loss.high == pytest.approx(0.16 + half_width, rel=1e-6)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        (Interval(0.1, 0.0, 0.2), Verdict.UNDECIDED),
        (Interval(0.001, 0.0, 0.009), Verdict.TRANSFERS),
        (Interval(0.02, 0.011, math.inf), Verdict.DOES_NOT),
        (Interval(math.inf, math.inf, math.inf), Verdict.DOES_NOT),
        (Interval(0.005, 0.0, 0.01), Verdict.UNDECIDED),
        (Interval(0.02, 0.01, 0.03), Verdict.UNDECIDED),
        (None, Verdict.UNDECIDED),
    ],
)
def test_judge(interval: Interval | None, verdict: Verdict) -> None:
    assert judge(interval, 0.01) is verdict


def test_kept_rate_that_diverges_does_not_transfer() -> None:
    result = transfer(runs(optima={128: -5.0, 512: -9.0}, diverges_above={512: -7})).results[0]
    assert result.verdict is Verdict.DOES_NOT
    assert result.regret.loss is not None
    assert result.regret.loss.low == math.inf
    assert "diverges" in result.reason


def test_kept_rate_just_above_the_grid_is_bounded_by_its_edge() -> None:
    table = runs(optima={128: -5.0, 512: -9.0})
    table = tuple(o for o in table if not (o.width == 512 and o.rate > 2.0**-6))
    loss = transfer(table).results[0].regret.loss
    assert loss is not None
    assert loss.low == pytest.approx(0.01 * 9, rel=0.01)
    assert loss.high == math.inf


def test_edge_at_the_largest_width_bounds_the_regret_from_below() -> None:
    """Best at the lowest rate, 2^-11, with 2.02; kept 2^-6.5, and the last rate run before it, 2^-7, has 2.5."""
    result = transfer(runs(optima={128: -6.5, 256: -9.5, 512: -12.0})).results[0]
    assert result.cells[-1].status is CellStatus.EDGE_LOW
    assert result.cells[-1].best is None
    assert result.regret.offset is None
    assert result.regret.loss is not None
    assert result.regret.loss.low == pytest.approx(0.48 / 2.02, rel=1e-4)
    assert result.regret.loss.high == math.inf
    assert result.verdict is Verdict.DOES_NOT
    assert "at least 24 %" in result.reason
    assert result.exponent.widths == (128, 256)


def test_edge_high_bounds_too_and_the_worst_seed_decides() -> None:
    table = runs(optima={128: -8.0, 256: -6.0, 512: -1.5})
    assert transfer(table).results[0].verdict is Verdict.DOES_NOT
    # one seed, shifted at the largest width so that it sees no difference: no bound above the margin is left
    flat = tuple(
        replace(o, loss=2.0) if o.width == 512 and o.seed == 1 and o.rate < 2.0**-4 else o for o in table
    )
    result = transfer(flat).results[0]
    assert result.cells[-1].status is CellStatus.EDGE_HIGH
    assert result.verdict is Verdict.UNDECIDED
    assert "best at the highest rate that trained" in result.reason


def test_edge_next_to_the_kept_rate_is_undecided() -> None:
    result = transfer(runs(optima={128: -10.4, 256: -10.6, 512: -11.5})).results[0]
    assert result.cells[-1].status is CellStatus.EDGE_LOW
    assert result.verdict is Verdict.UNDECIDED
    assert "add lower rates" in result.reason
    assert any(
        "p, not used: width 512: best at the lowest rate, 2^-11.00; add lower rates." in note
        for note in transfer_notes(optima={512: -12.0})
    )


def transfer_notes(*, optima: dict[int, float]) -> tuple[str, ...]:
    return transfer(runs(optima={128: -7.0, **optima})).notes


def test_edge_bound_allows_for_the_shape_error_of_the_base() -> None:
    """No noise, and two fits that disagree equally in every cell: the kept rate may still lie below the next run."""
    steep = steep_above(asymmetry=1.4)
    table = tuple(
        Observation("p", w, 2.0**x, s, 2 + float(steep(np.array(x - best))))
        for w, best in ((128, -6.7), (256, -8.7), (512, -12.0))
        for x in range(-11, -2)
        for s in range(2)
    )
    result = transfer(table).results[0]
    base = result.cells[0]
    assert base.best is not None
    assert base.systematic is not None
    assert base.best > -7
    assert base.best - base.systematic < -7
    assert result.regret.loss is not None
    kept, edge = (float(steep(np.array(x + 12.0))) for x in (-8, -11))
    assert result.regret.loss.low <= (kept - edge) / (2 + edge) + 1e-12


def test_negative_losses_at_an_edge_have_no_bound() -> None:
    table = tuple(replace(o, loss=(o.loss or 0) - 3) for o in runs(optima={128: -6.5, 256: -9.5, 512: -12.0}))
    assert transfer(table).results[0].regret.loss is None


def test_a_hole_below_the_best_rate_does_not_end_the_curve() -> None:
    table = runs(optima={128: -5.5, 512: -7.0})
    holed = tuple(replace(o, loss=None) if (o.width, o.rate) == (512, 2.0**-8) else o for o in table)
    found = transfer(holed).results[0]
    assert found.cells[1].status is CellStatus.BRACKETED
    assert found.regret.loss is not None
    assert found.regret.loss.estimate == pytest.approx(0.01 * 1.5**2, rel=0.05)
    assert math.isfinite(found.regret.loss.high)


def test_systematic_is_the_distance_of_the_two_fits() -> None:
    cells = [cell for result in RESULT.results for cell in result.cells]
    assert any((c.parabola or 0) < (c.cubic or 0) for c in cells)
    for cell in cells:
        assert cell.systematic == pytest.approx(abs((cell.parabola or 0) - (cell.cubic or 0)))


def test_equal_losses_at_two_widths_are_different_runs() -> None:
    table = runs(optima={128: -7.0}, noise=0.001)
    both = (*table, *(replace(o, width=256) for o in table))
    assert transfer(both).noises[0].degrees_of_freedom == 2


def test_flagged_base_is_undecided() -> None:
    result = transfer(runs(optima={128: -2.0, 256: -5.0, 512: -6.0})).results[0]
    assert result.cells[0].status is CellStatus.EDGE_HIGH
    assert result.verdict is Verdict.UNDECIDED
    assert result.regret.loss is None
    assert "base width" in result.reason


def test_one_seed_is_undecided_with_the_estimate_and_the_remedy() -> None:
    result = transfer(runs(optima={128: -7.0, 512: -8.0}, seeds=1))
    found = result.results[0]
    assert found.verdict is Verdict.UNDECIDED
    assert result.noises == ()
    assert found.exponent.exponent == pytest.approx(-0.5, abs=1e-3)
    assert found.exponent.statistical is found.exponent.total is None
    assert found.cells[0].best is not None
    assert found.cells[0].standard_error is None
    assert "gives up 1.0 %" in found.reason
    assert "add a seed" in found.reason
    assert any("add a second seed" in note for note in result.notes)


def test_losses_below_zero_have_no_relative_regret() -> None:
    table = tuple(replace(o, loss=(o.loss or 0) - 3) for o in runs(optima={128: -7.0, 512: -8.0}))
    result = transfer(table).results[0]
    assert result.regret.loss is None
    assert result.verdict is Verdict.UNDECIDED
    assert "not positive" in result.reason


def test_base_width_chooses_and_refuses() -> None:
    table = runs(optima={128: -5.0, 256: -7.0, 512: -7.0})
    assert transfer(table).results[0].verdict is Verdict.DOES_NOT
    chosen = transfer(table, base_width=256).results[0]
    assert chosen.verdict is Verdict.TRANSFERS
    assert chosen.regret.base_width == 256
    for wrong in (64, 512):
        with pytest.raises(ValueError, match=f"base width is {wrong}; .*128, 256, 512"):
            transfer(table, base_width=wrong)


@pytest.mark.parametrize("option", [{"margin": 0.0}, {"margin": math.nan}, {"level": 0.0}, {"level": 1.0}])
def test_options_out_of_range(option: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="it must"):
        transfer(runs(optima={128: -7.0, 256: -7.0}), **option)


def test_margin_and_level_are_used_and_returned() -> None:
    table = runs(optima={128: -7.0, 512: -8.5})
    result = transfer(table, margin=0.05, level=0.9)
    assert (result.margin, result.level) == (0.05, 0.9)
    assert result.results[0].verdict is Verdict.TRANSFERS
    assert "90 % interval" in result.results[0].reason
    noisy = runs(optima={128: -7.0, 512: -8.5}, noise=0.002)
    narrow, wide = (transfer(noisy, level=level).results[0].exponent.statistical for level in (0.5, 0.99))
    assert narrow is not None
    assert wide is not None
    assert wide.low < narrow.low < narrow.high < wide.high


def test_prescriptions_keep_their_order_and_say_when_they_end_apart() -> None:
    table = runs(optima={128: -7.0, 512: -8.0}, prescription="z") + runs(
        optima={128: -7.0, 256: -8.0}, prescription="a"
    )
    result = transfer(table)
    assert [r.prescription for r in result.results] == ["z", "a"]
    assert any("z: 512, a: 256" in note for note in result.notes)


# Invariances

STUDY = simulate(np.random.default_rng(5), steep_above(), Design())
RESULT = transfer(STUDY.observations)


def changed(change: Callable[[Observation], Observation]) -> TransferResult:
    return transfer(tuple(change(o) for o in STUDY.observations))


def assert_equal_findings(found: TransferResult, expected: TransferResult, *, shift: float = 0.0) -> None:
    """Exponents, regrets and noise agree, and optima are shifted; rounding alone differs."""
    assert found.noises[0].sigma == pytest.approx(expected.noises[0].sigma, rel=1e-6)
    assert found.noises[0].degrees_of_freedom == expected.noises[0].degrees_of_freedom
    for a, b in zip(found.results, expected.results, strict=True):
        assert [c.best for c in a.cells] == pytest.approx([(c.best or 0) + shift for c in b.cells], abs=1e-7)
        assert a.exponent.exponent == pytest.approx(b.exponent.exponent, abs=1e-7)
        assert as_tuple(a.exponent.total) == pytest.approx(as_tuple(b.exponent.total), abs=1e-7)
        assert as_tuple(a.regret.loss) == pytest.approx(as_tuple(b.regret.loss), abs=1e-7)
        assert a.verdict is b.verdict


def as_tuple(interval: Interval | None) -> tuple[float, float, float]:
    assert interval is not None
    return interval.estimate, interval.low, interval.high


@settings(max_examples=10)
@given(st.floats(-20, 20))
def test_scaling_all_rates_shifts_the_optima_alone(octaves: float) -> None:
    found = changed(lambda o: replace(o, rate=o.rate * 2.0**octaves))
    assert_equal_findings(found, RESULT, shift=octaves)


@settings(max_examples=5)
@given(st.integers(1, 50))
def test_scaling_all_widths_changes_nothing_but_the_intercept(factor: int) -> None:
    assert_equal_findings(changed(lambda o: replace(o, width=o.width * factor)), RESULT)


@settings(max_examples=10)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rng: random.Random) -> None:
    rows = list(STUDY.observations)
    rng.shuffle(rows)
    found = transfer(rows)
    ordered = sorted(found.results, key=lambda r: r.prescription)
    assert_equal_findings(replace(found, results=tuple(ordered)), RESULT)


@settings(max_examples=10)
@given(st.floats(-1, 100))
def test_a_constant_added_to_the_losses_leaves_optima_and_exponents(constant: float) -> None:
    found = changed(lambda o: replace(o, loss=(o.loss or 0) + constant))
    for a, b in zip(found.results, RESULT.results, strict=True):
        assert [c.best for c in a.cells] == pytest.approx([c.best for c in b.cells], abs=1e-7)
        assert as_tuple(a.exponent.total) == pytest.approx(as_tuple(b.exponent.total), abs=1e-7)


@settings(max_examples=10)
@given(st.floats(0.1, 10))
def test_scaling_the_losses_changes_nothing(factor: float) -> None:
    assert_equal_findings(changed(lambda o: replace(o, loss=(o.loss or 0) * factor)), RESULT)


def test_noise_is_pooled_within_a_group() -> None:
    """A loud optimizer beside a quiet one: each keeps its own intervals, as if the other were not there."""
    quiet = [replace(o, group="adam") for o in runs(optima={128: -7.0, 256: -7.3}, noise=1e-4)]
    loud = [
        replace(o, group="sgd") for o in runs(optima={128: -7.0, 256: -7.3}, noise=1e-3, prescription="q")
    ]
    both = transfer([*quiet, *loud])
    assert [noise.group for noise in both.noises] == ["adam", "sgd"]
    assert both.results[0] == transfer(quiet).results[0]
    assert both.results[1] == transfer(loud).results[0]
    mixed = transfer([replace(o, group="") for o in (*quiet, *loud)])
    assert len(mixed.noises) == 1
    assert mixed.results[0] != both.results[0]


def test_a_prescription_of_two_groups_is_refused() -> None:
    table = runs(optima={128: -7.0, 256: -7.3})
    with pytest.raises(ValueError, match="prescription 'p' has runs of the groups 'adam' and ''"):
        transfer([replace(table[0], group="adam"), *table[1:]])


def test_a_shared_base_adds_no_degrees_of_freedom() -> None:
    assert RESULT.noises[0].degrees_of_freedom == 7  # one base and six other cells, two seeds each
    assert any(note.startswith("2 of 9 optima repeat the same runs") for note in RESULT.notes)
    # without names the runs are recognized by their losses
    assert_equal_findings(changed(lambda o: replace(o, run=None)), RESULT)
    # another prescription that is the first one over again brings nothing new
    again = [replace(o, prescription="again") for o in STUDY.observations if o.prescription == "p0"]
    more = transfer([*STUDY.observations, *again])
    assert_equal_findings(replace(more, results=more.results[:3]), RESULT)


def test_a_diverged_run_changes_nothing_outside_its_cell() -> None:
    """At the highest rate, far above every window, and then at the best rate of one cell."""
    far = changed(lambda o: replace(o, loss=None) if (o.width, o.rate) == (256, 2.0**-5) else o)
    assert_equal_findings(far, RESULT)
    best = RESULT.results[0].cells[1].best
    assert best is not None
    rate = 2.0 ** round(best)
    found = changed(
        lambda o: replace(o, loss=None) if (o.prescription, o.width, o.rate) == ("p0", 256, rate) else o
    )
    for a, b in zip(found.results, RESULT.results, strict=True):
        for x, y in zip(a.cells, b.cells, strict=True):
            if (x.prescription, x.width) != ("p0", 256):
                assert (x.status, x.best, x.cubic, x.points) == (y.status, y.best, y.cubic, y.points)
    assert found.results[0].cells[1].best != RESULT.results[0].cells[1].best


LOSSES = st.none() | st.sampled_from([2.0, 2.1, 1e6]) | st.floats(-1, 5)


@settings(max_examples=150)
@given(st.lists(LOSSES, min_size=40, max_size=40), st.integers(0, 2))
def test_any_losses_give_a_consistent_result(losses: list[float | None], missing: int) -> None:
    """Noise, plateaus, holes, missing runs, divergence anywhere: a verdict, in agreement with its own numbers."""
    table = [
        Observation("p", width, 2.0**x, seed, losses[20 * w + 10 * seed + x])
        for w, width in enumerate((64, 128))
        for seed in range(2)
        for x in range(10 - missing * seed)
    ]
    result = transfer(table)
    found = result.results[0]
    assert found.verdict is judge(found.regret.loss, 0.01)
    assert found.reason
    for cell in found.cells:
        assert (cell.status is CellStatus.BRACKETED) == (cell.best is not None)
        if cell.best is not None:
            trained = [math.log2(p.rate) for p in cell.points if p.trained and not p.diverged]
            assert min(trained) <= cell.best <= max(trained)
        else:
            assert any(f"not used: width {cell.width}" in note for note in result.notes)
    if found.regret.loss is not None:
        assert 0 <= found.regret.loss.low <= found.regret.loss.estimate <= found.regret.loss.high


def test_divergence_below_the_best_rate_is_noted() -> None:
    table = runs(optima={128: -7.0, 512: -7.2})
    holed = tuple(
        replace(o, loss=None) if (o.width, o.rate, o.seed) == (512, 2.0**-9, 1) else o for o in table
    )
    result = transfer(holed)
    assert result.results[0].cells[1].status is CellStatus.BRACKETED
    assert any("width 512: a run diverged at 2^-9.00, below the best rate" in note for note in result.notes)
    assert not any("below the best rate" in note for note in transfer(table).notes)


def test_noise_free_quadratic_is_exact() -> None:
    study = simulate(np.random.default_rng(2), quadratic(), Design(noise=0.0))
    for result, exponent in zip(transfer(study.observations).results, study.exponents, strict=True):
        assert result.exponent.exponent == pytest.approx(exponent, abs=1e-10)
        assert result.verdict is not Verdict.UNDECIDED


def test_the_analysis_as_text_by_hand() -> None:
    """One line a prescription; a sentence where a number for the loss is missing, then the notes."""
    inf = math.inf
    given = {
        "drifts": (Interval(0.022, 0.0157, 0.124), ExponentFit("drifts", (128, 512), 0, -0.5, -0.5, -0.5, None,
                   Interval(-0.5, -0.625, -0.381), 8)),
        "edge": (Interval(0.084, 0.084, inf), ExponentFit("edge", (128,), *[None] * 6, 8)),
        "dies": (Interval(inf, inf, inf), ExponentFit("dies", (), *[None] * 6, 8)),
        "wide": (Interval(inf, 0.0031, inf), ExponentFit("wide", (128, 512), 0, -0.004, -0.004, -0.004, None, None, 8)),
        "open": (None, ExponentFit("open", (128,), *[None] * 6, 8)),
    }  # fmt: skip
    results = tuple(
        PrescriptionResult(name, (), fit, Regret(128, 512, None, loss), Verdict.UNDECIDED, f"undecided: {name} why")
        for name, (loss, fit) in given.items()
    )  # fmt: skip
    printed = str(TransferResult(results, margin=0.005, level=0.9, noises=(), notes=("A note.",)))
    assert printed.splitlines() == [
        "loss given up against a margin of 0.5 %, exponent of the best rate; 90 % intervals",
        "prescription  verdict    loss given up   interval        exponent  interval        widths",
        "drifts        undecided  2.2 %           1.6 to 12 %     -0.50     -0.62 to -0.38  128, 512",
        "edge          undecided  at least 8.4 %  -               -         -               128",
        "dies          undecided  diverges        -               -         -               -",
        "wide          undecided  unbounded       0.31 % or more  0.00      -               128, 512",
        "open          undecided  -               -               -         -               128",
        "dies: dies why",
        "wide: wide why",
        "open: open why",
        "A note.",
    ]
