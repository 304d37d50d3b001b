"""The noise of loss differences: by hand, by Welch's test, by the likelihood itself, and what must not matter."""

import math
import random
from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from scipy import optimize, stats

from widthwise.analysis import Interval, Observation, fit_table
from widthwise.analysis.best_loss import loss_difference, loss_difference_slope
from widthwise.analysis.difference_noise import (
    DifferenceNoise,
    WidthNoise,
    common_cells,
    difference_noise,
    relative_variances,
)
from widthwise.analysis.noise import Noise
from widthwise.analysis.optimum import CellFit
from widthwise.analysis.optimum_loss import LossDifference

WIDTHS = (128, 256, 512)
Losses = Mapping[int, Iterable[float]]
"""Width -> each seed's loss at the best rate."""


def cells(**prescriptions: Losses) -> dict[str, tuple[CellFit, ...]]:
    """Seed 0 on a parabola about a rate that was run, so that f is 1 / S; other seeds at that rate alone."""
    observations = [
        Observation(name, width, 2.0**x, seed, loss + 0.02 * x**2)
        for name, by_width in prescriptions.items()
        for width, losses in by_width.items()
        for seed, loss in enumerate(losses)
        for x in (range(-2, 3) if seed == 0 else (0,))
    ]
    return dict(fit_table(observations).prescriptions)


def invented(seed: int, names: str, *, seeds: int = 3, widths: Iterable[int] = WIDTHS) -> dict[str, Losses]:
    rng = random.Random(seed)
    return {
        name: {w: [2 + rng.gauss(0, 0.01 * (k + 1) * 128 / w) for _ in range(seeds)] for w in widths}
        for k, name in enumerate(names)
    }


def compare(
    fits: Mapping[str, tuple[CellFit, ...]], a: str = "a", b: str = "b", width: int = 512
) -> list[float]:
    """Estimate and half-width at a width, then of the slope."""
    noise = difference_noise(fits.values())
    pairs = common_cells(fits[a], fits[b])
    found: list[float] = []
    for one in (loss_difference(pairs, width, noise), loss_difference_slope(pairs, noise)):
        assert one is not None
        assert one.high - one.estimate == pytest.approx(one.estimate - one.low, rel=1e-9)
        found += [one.estimate, one.high - one.estimate]
    return found


def test_by_hand() -> None:
    """Two widths, v 1 and 1/4; scatter 4e-4 and 2e-4 of two degrees of freedom each: rho = (4 + 8) e-4 / 4 = 3e-4."""
    a, b = 0.01 * math.sqrt(2), 0.01
    compared = {
        128: LossDifference(0.0, np.array([a, -a, 0.0]), 1 / 3, 0.0),
        256: LossDifference(0.0, np.array([b, -b, 0.0]), 1 / 3, 0.0),
    }
    noise = DifferenceNoise({128: WidthNoise(1.0, 10.0), 256: WidthNoise(0.25, 20.0)}, {128: None, 256: None})
    found = noise.variance(compared, {128: 0.0, 256: 1.0})
    assert found is not None
    # s^2 = 3e-4 / 4 / 3; all of it is width 256's, so 1 / nu = 1 / 4 + (1 - 1/2)^2 / 20 + (0 - 1/2)^2 / 10
    assert found == pytest.approx((2.5e-5, 1 / (0.25 + 0.0125 + 0.025)), rel=1e-12)
    slope = noise.variance(compared, {128: -1.0, 256: 1.0})
    assert slope is not None  # shares 4/5 and 1/5, so 0.3 beyond 1/2 either way
    assert slope == pytest.approx((1.25e-4, 1 / (0.25 + 0.09 / 10 + 0.09 / 20)), rel=1e-12)


@pytest.mark.parametrize("weights", [(0.0, 0.0, 1.0), (-0.5, 0.0, 0.5), (1.0, -2.0, 1.0)])
def test_the_degrees_of_freedom_are_by_how_the_variance_answers_to_errors_of_v(
    weights: tuple[float, ...],
) -> None:
    """d log s^2 / d log v_w, numerically; 1 / nu = 1 / N + sum of its squares / M.

    Scatter is in proportion to v here, as it is on average.
    """
    v, c, step = {128: 1.0, 256: 0.5, 512: 0.3}, dict(zip(WIDTHS, weights, strict=True)), 1e-5
    compared = {
        w: LossDifference(0.0, math.sqrt(v[w]) * np.array([1.0, -1.0, 0.0]), 0.4, 0.0) for w in WIDTHS
    }

    def variance(changed: int | None = None) -> tuple[float, float]:
        widths = {w: WidthNoise(v[w] * (1 + step * (w == changed)), 7.0) for w in WIDTHS}
        found = DifferenceNoise(widths, dict.fromkeys(WIDTHS)).variance(compared, c)
        assert found is not None
        return found

    answers = [(math.log(variance(w)[0]) - math.log(variance()[0])) / step for w in WIDTHS]
    assert 1 / variance()[1] == pytest.approx(
        1 / 6 + sum(a**2 for a in answers) / 7, rel=1e-4
    )  # step^1 terms: 1e-5


def test_two_prescriptions_have_the_interval_of_a_paired_t_test_and_welchs_slope() -> None:
    losses = invented(3, "ab")
    fits = cells(**losses)
    differences = {w: np.subtract(losses["a"][w], losses["b"][w]) for w in WIDTHS}
    for width in WIDTHS:
        test = stats.ttest_1samp(differences[width], 0).confidence_interval(0.95)
        assert compare(fits, width=width)[:2] == pytest.approx(
            [(test.low + test.high) / 2, (test.high - test.low) / 2], rel=1e-6
        )
    low, high = differences[128], differences[512]
    welch = stats.ttest_ind(high, low, equal_var=False).confidence_interval(0.95)
    assert compare(fits)[2:] == pytest.approx(
        [(welch.low + welch.high) / 4, (welch.high - welch.low) / 4], rel=1e-6
    )  # the slope over three widths is half the difference of the outer two


def test_v_and_rho_maximize_the_likelihood() -> None:
    """-2 log L = sum nu (log(rho v) + Q / (nu rho v)), minimized by a general method."""
    rng = np.random.default_rng(4)
    freedom = np.array([[2.0, 2.0, 1.0], [2.0, 0.0, 3.0], [1.0, 2.0, 2.0], [2.0, 2.0, 0.0]])
    squares = (
        rng.chisquare(np.maximum(freedom, 1e-9)) * np.array([[4.0, 2.0, 1.0]]) * rng.uniform(0.1, 9, (4, 1))
    )
    squares[freedom == 0] = 0

    def loss(logs: np.ndarray) -> float:
        mean = np.exp(logs[:4, None] + np.array([0.0, *logs[4:]]))
        return float((freedom * np.log(mean) + squares / mean).sum())

    best = optimize.minimize(loss, np.zeros(6), method="BFGS", options={"gtol": 1e-8}).x
    found = relative_variances(squares, freedom)
    assert found / found[0] == pytest.approx(np.exp([0.0, *best[4:]]), rel=1e-5)


def test_many_alike_prescriptions_leave_only_the_pairs_own_factor_unknown() -> None:
    """Sixteen prescriptions: half-widths near t of 6 degrees of freedom and not of 2, at each width its own size."""
    fits = cells(**invented(6, "abcdefghijklmnop"))
    noise = difference_noise(fits.values())
    assert [noise.widths[w].freedom for w in WIDTHS] == [30.0] * 3
    assert noise.widths[512].variance == pytest.approx(
        1 / 16, rel=0.4
    )  # 30 degrees of freedom each: 0.36 of the ratio
    compared = {w: a.less(b) for w, (a, b) in common_cells(fits["a"], fits["b"]).items()}
    found = noise.variance(compared, {128: 0.0, 256: 0.0, 512: 1.0})
    assert found is not None
    assert found[1] == pytest.approx(1 / (1 / 6 + 2 / 3 / 30), rel=1e-9)


def test_near_twins_have_a_small_interval_of_their_own() -> None:
    losses = invented(7, "abcdef")
    losses["b"] = {w: [x + 1e-4 * (-1) ** s for s, x in enumerate(of)] for w, of in losses["a"].items()}
    fits = cells(**losses)
    assert compare(fits, "a", "b")[1] < 5e-4
    assert compare(fits, "a", "c")[1] > 3e-3


def test_the_order_and_constants_do_not_matter() -> None:
    losses = invented(8, "abcd")
    expected = compare(cells(**losses))
    turned = {n: {w: [x + 1.5 for x in of] for w, of in losses[n].items()} for n in "dbca"}
    assert compare(cells(**turned)) == pytest.approx(expected, rel=1e-6)
    shared = {n: {w: [x + 0.1 * s for s, x in enumerate(of)] for w, of in losses[n].items()} for n in losses}
    assert compare(cells(**shared)) == pytest.approx(expected, rel=1e-6)
    back = compare(cells(**losses), "b", "a")
    assert back == pytest.approx([-expected[0], expected[1], -expected[2], expected[3]], rel=1e-6)


def test_a_width_with_one_seed_is_as_noisy_as_the_noisiest() -> None:
    losses = invented(9, "abcd")
    short = {n: {w: of if w != 512 else list(of)[:1] for w, of in by.items()} for n, by in losses.items()}
    fits = cells(**short)
    noise = difference_noise(fits.values())
    assert noise.widths[512] == WidthNoise(1.0, math.inf)
    compared = {w: a.less(b) for w, (a, b) in common_cells(fits["a"], fits["b"]).items()}
    rho = sum(compared[w].squares / noise.widths[w].variance for w in (128, 256)) / 4
    found = noise.variance(compared, {128: 0.0, 256: 0.0, 512: 1.0})
    assert found is not None
    assert found[0] == pytest.approx(rho, rel=1e-9)  # one seed: f = 1


def test_without_two_common_seeds_anywhere_the_cells_noise_counts() -> None:
    compared = {w: LossDifference(0.1, np.zeros(0), 0.5, 0.0, paired=w == 128) for w in (128, 256)}
    cell = {128: Noise(0, 0, 0.03, 4, 0, 2), 256: Noise(0, 0, 0.01, 8, 0, 2)}
    noise = DifferenceNoise(dict.fromkeys((128, 256), WidthNoise(1.0, math.inf)), cell)
    found = noise.variance(compared, {128: 1.0, 256: 1.0})
    assert found == pytest.approx((1e-3, 1 / (0.9**2 / 4 + 0.1**2 / 8)), rel=1e-9)
    unknown = DifferenceNoise(noise.widths, {128: None, 256: None})
    assert unknown.variance(compared, {128: 1.0, 256: 1.0}) is None


def test_seeds_that_all_agree_leave_no_noise_and_no_warning() -> None:
    fits = cells(a=dict.fromkeys(WIDTHS, (2.0, 2.1)), b=dict.fromkeys(WIDTHS, (2.5, 2.6)))
    pairs = common_cells(fits["a"], fits["b"])
    found = loss_difference(pairs, 256, difference_noise(fits.values()))
    assert found is not None
    assert found == Interval(found.estimate, pytest.approx(found.estimate), pytest.approx(found.estimate))
    assert relative_variances(np.zeros((1, 2)), np.ones((1, 2))).tolist() == [0.0, 0.0]


def test_a_prescription_named_twice_tells_no_more() -> None:
    fits = cells(**invented(10, "abc"))
    twice = difference_noise([*fits.values(), fits["c"]])
    assert [twice.widths[w].freedom for w in WIDTHS] == [4.0] * 3
    assert [difference_noise(fits.values()).widths[w].freedom for w in WIDTHS] == [4.0] * 3


@pytest.mark.parametrize("beside", [0.0, 1e-3])
def test_equal_runs_at_the_best_rate_tell_nothing_of_the_noise_elsewhere(beside: float) -> None:
    """Two policies that are one run at 128 and 256, at all rates or at the best alone, and part at 512."""
    losses = invented(11, "abcd")
    losses["b"] = {**losses["a"], 512: losses["b"][512]}
    observations = [
        Observation(name, width, 2.0**x, seed, loss + (0.02 + (beside if name == "b" else 0)) * x**2)
        for name, by_width in losses.items()
        for width, of in by_width.items()
        for seed, loss in enumerate(of)
        for x in (range(-2, 3) if seed == 0 else (0,))
    ]
    fits = fit_table(observations).prescriptions
    noise = difference_noise(fits.values())
    pairs = common_cells(fits["a"], fits["b"])
    first, second = pairs[128]
    assert (first.local.identity == second.local.identity) == (beside == 0)
    assert first.less(second).freedom == 0
    compared = {width: a.less(b) for width, (a, b) in pairs.items()}
    found = noise.variance(compared, {128: 0.0, 256: 0.0, 512: 1.0})
    assert found == pytest.approx(
        (compared[512].squares / 2 / 3, 2.0), rel=1e-9
    )  # three seeds of that width alone
