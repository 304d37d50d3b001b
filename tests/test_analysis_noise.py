"""Pooled noise, contrasts and the exponent, against hand values and scipy's own t distribution."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analysis_study import Design, quadratic, simulate, steep_above
from widthwise.analysis import ExponentFit, Observation, transfer
from widthwise.analysis.fitted_table import fit_table
from widthwise.analysis.noise import Noise, contrast, pool_noise, student_quantile
from widthwise.analysis.optimum import CellFit, LocalFit
from widthwise.analysis.polynomial import Minimum


def optimum(best: float, cubic: float, shifts: list[float], identity: str = "") -> LocalFit:
    def at(x: float) -> Minimum:
        return Minimum(x, 2.0, 1.0, np.zeros(3), np.zeros(3), np.zeros(3))

    deviations = np.array(shifts)
    return LocalFit(
        at(best), at(cubic), at(best), (best - 1, best + 1), (), (), len(shifts), deviations,
        deviations / 10, deviations / 2, np.zeros(0), 0, identity,
    )  # fmt: skip


def cells(*optima: LocalFit) -> list[CellFit]:
    from widthwise.analysis import CellStatus
    from widthwise.analysis.cell import make_cell

    cell = make_cell([Observation("p", 1, 1.0, 0, 1.0)])
    return [CellFit(cell, CellStatus.BRACKETED, 0, found) for found in optima]


def test_pooled_noise_by_hand() -> None:
    # Two seeds at -0.1 and 0.1, three at -0.2, 0, 0.2: sum of squares 0.1 over 1 + 2 degrees of freedom.
    # Differences of the fits 0.3 and 0.1: standard deviation 0.1 sqrt 2.
    noise = pool_noise(cells(optimum(1.3, 1.0, [-0.1, 0.1], "a"), optimum(2.1, 2.0, [-0.2, 0.0, 0.2], "b")))
    assert noise is not None
    assert noise.degrees_of_freedom == 3
    assert noise.cells == 2
    assert noise.sigma == pytest.approx(math.sqrt(0.1 / 3), rel=1e-12)
    assert noise.bend == pytest.approx(math.sqrt(0.001 / 3), rel=1e-12)
    assert noise.level == pytest.approx(math.sqrt(0.025 / 3), rel=1e-12)
    assert noise.spread == pytest.approx(0.1 * math.sqrt(2), rel=1e-12)


def runs_with_seeds_at(extra: tuple[int, ...]) -> tuple[Observation, ...]:
    """Parabolas of curvature 0.04, the seed 0 at every rate, the seeds 1 and 2 (0.003 and 0.006 higher) at some."""
    return tuple(
        Observation("p", width, 2.0**x, seed, 2 + 0.02 * (x + 0.25) ** 2 + 0.003 * seed)
        for width in (64, 128)
        for x in range(-4, 5)
        for seed in range(3)
        if seed == 0 or x in extra
    )


def test_seeds_at_the_best_rate_alone_give_the_noise() -> None:
    # Scatter -0.003, 0, 0.003 over 2 + 2 degrees of freedom: sigma_p = 0.003. The vertex t = -1/4 of 0.02 (t + 1/4)^2
    # moves by -p'[dy](t) / 0.04, with Lagrange's derivatives (t - 1/2, -2 t, t + 1/2) = (-3/4, 1/2, 1/4).
    runs = runs_with_seeds_at((0,))
    noise = fit_table(runs).noises[""]
    assert noise is not None
    assert noise.degrees_of_freedom == 4
    assert noise.level == pytest.approx(0.003, rel=1e-9)
    assert noise.sigma == pytest.approx(0.003 / 0.04 * math.sqrt(9 / 16 + 1 / 4 + 1 / 16), rel=1e-9)
    result = transfer(runs).results[0]
    assert [cell.best for cell in result.cells] == pytest.approx(
        [-0.25, -0.25], abs=1e-9
    )  # seed 0 alone locates it
    assert result.exponent.total is not None
    assert result.exponent.total.high > 0 > result.exponent.total.low


def test_seeds_at_some_rates_do_not_choose_the_best() -> None:
    """Seeds that ran one rate alone, far above the first seed's losses: the best rate is still the first seed's."""
    runs = [replace(o, loss=(o.loss or 0) + 0.1 * (o.seed > 0)) for o in runs_with_seeds_at((0,))]
    (fit, _) = fit_table(runs).prescriptions["p"]
    assert fit.best_index == 4
    assert fit.cell.mean()[4] == pytest.approx(2 + 0.02 / 16, abs=1e-12)


def test_seeds_at_every_rate_come_before_the_scatter() -> None:
    noise = fit_table(runs_with_seeds_at(tuple(range(-4, 5)))).noises[""]
    assert noise is not None
    assert noise.sigma == pytest.approx(0.0, abs=1e-12)  # what all rates of a seed share moves no optimum
    assert noise.level == pytest.approx(0.003, rel=1e-9)


def test_the_same_runs_count_once() -> None:
    a, b = optimum(1.0, 1.1, [-0.1, 0.1], "a"), optimum(2.0, 2.0, [-0.3, 0.3], "b")
    assert pool_noise(cells(a, b)) == pool_noise(cells(a, b, a, replace(a)))


def test_one_seed_leaves_the_noise_unknown() -> None:
    assert pool_noise(cells(optimum(1.0, 1.0, [0.0], "a"), optimum(2.0, 2.0, [0.0], "b"))) is None
    assert pool_noise([]) is None


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("freedom", [1, 2.5, 7, 100])
def test_quantile_agrees_with_the_t_distribution(level: float, freedom: float) -> None:
    assert student_quantile(level, freedom) == pytest.approx(stats.t(freedom).interval(level)[1], rel=1e-9)


def test_contrast_by_hand() -> None:
    a, b = optimum(1.0, 3.0, [0.0] * 2), optimum(4.0, 2.0, [0.0] * 3)
    noise = Noise(sigma=0.6, bend=0.0, level=0.0, degrees_of_freedom=7, spread=0.2, cells=5)
    found = contrast([a, b], [1.0, -2.0], noise, level=0.95)
    s_2, b_2 = 0.36 * (1 / 2 + 4 / 3), 0.04 * 5
    half = stats.t.ppf(0.975, 7) * math.sqrt(s_2)
    nu = (s_2 + b_2) ** 2 / (s_2**2 / 7 + b_2**2 / 4)
    total = stats.t.ppf(0.975, nu) * math.sqrt(s_2 + b_2)
    assert found.statistical.estimate == found.total.estimate == -7.0
    assert found.statistical.high == pytest.approx(-7 + half, rel=1e-12)
    assert found.statistical.low == pytest.approx(-7 - half, rel=1e-12)
    assert found.total.high == pytest.approx(-7 + total, rel=1e-12)
    assert found.total.low == pytest.approx(-7 - total, rel=1e-12)
    assert total > half


def test_total_lies_between_the_statistical_interval_and_the_worst_case() -> None:
    a, b = optimum(1.0, 1.01, [0.0] * 2), optimum(2.0, 2.03, [0.0] * 2)
    few = Noise(
        sigma=0.01, bend=0.0, level=0.0, degrees_of_freedom=2, spread=0.5, cells=2
    )  # t with 1 degree of freedom
    found = contrast([a, b], [1.0, -1.0], few, level=0.95)
    half = stats.t.ppf(0.975, 2) * 0.01
    assert found.total.high == pytest.approx(-1 + half + 0.04, rel=1e-12)
    many = Noise(
        sigma=0.1, bend=0.0, level=0.0, degrees_of_freedom=1, spread=0.01, cells=50
    )  # Satterthwaite's t is smaller
    found = contrast([a, b], [1.0, -1.0], many, level=0.95)
    assert found.total == found.statistical


def fitted(observations: tuple[Observation, ...], prescription: int = 0) -> ExponentFit:
    return transfer(observations).results[prescription].exponent


@pytest.mark.parametrize("widths", [2, 3, 5])
def test_exponent_is_the_least_squares_line_through_the_optima(widths: int) -> None:
    study = simulate(np.random.default_rng(widths), steep_above(), Design(widths=widths, prescriptions=1))
    result = transfer(study.observations).results[0]
    x, y = np.log2([c.width for c in result.cells]), np.array([c.best for c in result.cells], dtype=float)
    line = stats.linregress(x, y)
    assert result.exponent.exponent == pytest.approx(line.slope, abs=1e-10)
    assert result.exponent.intercept == pytest.approx(line.intercept, abs=1e-9)
    cubic = stats.linregress(x, np.array([c.cubic for c in result.cells], dtype=float))
    assert result.exponent.cubic == pytest.approx(cubic.slope, abs=1e-10)


def test_exponent_interval_recomputed_from_the_seeds() -> None:
    """Noise pooled by hand: each seed's own deviation, over the seven distinct cells of three prescriptions."""
    design = Design(noise=1e-5)
    study = simulate(np.random.default_rng(0), quadratic(), design)
    groups = fit_table(study.observations).prescriptions
    fits = [groups["p0"][0], *(fit for name in groups for fit in groups[name][1:])]
    assert len(fits) == 7
    squares = sum(float((f.local.shifts**2).sum()) for f in fits if f.local)
    sigma = math.sqrt(squares / 7)
    result = transfer(study.observations)
    (noise,) = result.noises
    assert noise.degrees_of_freedom == 7
    assert noise.sigma == pytest.approx(sigma, rel=1e-12)
    exponent = result.results[1].exponent
    assert exponent.statistical is not None
    assert exponent.exponent is not None
    # weights -1/2, 0, 1/2 and two seeds: standard error sigma sqrt(1/2) / sqrt(2)
    assert exponent.statistical.high - exponent.exponent == pytest.approx(
        stats.t.ppf(0.975, 7) * sigma / 2, rel=1e-9
    )
    assert result.results[0].cells[0].standard_error == pytest.approx(sigma / math.sqrt(2), rel=1e-12)


def test_more_seeds_narrow_the_interval() -> None:
    def width(seeds: int) -> float:
        study = simulate(np.random.default_rng(1), quadratic(), Design(seeds=seeds))
        found = fitted(study.observations).statistical
        assert found is not None
        return found.high - found.low

    assert width(32) < width(2) / 2  # 1/4, up to the noise's own noise


def test_two_usable_widths_are_needed() -> None:
    runs = tuple(
        Observation("p", w, 2.0**x, s, 2 + 0.02 * (x - best) ** 2)
        for w, best in ((64, 3), (128, 20))
        for x in range(8)
        for s in range(2)
    )
    found = fitted(runs)
    assert found.widths == (64,)
    assert found.exponent is found.statistical is found.total is None
