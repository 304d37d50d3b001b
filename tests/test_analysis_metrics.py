"""Loss laws, robustness, fit error and gap: hand values, an independent fit, invariances, coverage."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize

from claim_study import WIDTHS, Law, runs
from widthwise.analysis import Metric, Observation, TransferMetrics, fit_table, transfer, transfer_metrics
from widthwise.analysis.loss_law import ALPHA_HIGH, fit_loss_laws
from widthwise.analysis.noise import student_quantile
from widthwise.analysis.resample import Resampler


def metrics(
    *laws: Law, seeds: int = 3, reference: str | None = None, samples: int = 300
) -> tuple[TransferMetrics, ...]:
    observations = [o for k, law in enumerate(laws) for o in runs(f"p{k}", law, seeds=seeds)]
    return transfer_metrics(fit_table(observations), reference=reference, samples=samples)


def estimate(metric: Metric | None) -> float:
    assert metric is not None
    return metric.estimate


def bounds(metric: Metric | None) -> tuple[float, float]:
    assert metric is not None
    assert metric.interval is not None
    return metric.interval.low, metric.interval.high


@pytest.mark.parametrize(("floor", "alpha"), [(2.0, 0.5), (0.5, 1.3), (3.0, 0.1)])
def test_loss_law_is_found_again(floor: float, alpha: float) -> None:
    log_C = np.log2(np.array(WIDTHS) / WIDTHS[0])
    found = fit_loss_laws(WIDTHS, (floor + 2.0 ** (-alpha * log_C))[None, :])
    # alpha is searched to a relative 1e-6 or so; the floor answers to it in the ratio of the law's own slopes
    assert found.alpha[0] == pytest.approx(alpha, rel=1e-4)
    assert found.floor[0] == pytest.approx(floor, abs=1e-3)
    assert not any(at[0] for at in found.at_bound().values())


def test_loss_law_agrees_with_a_general_least_squares_fit() -> None:
    rng = np.random.default_rng(0)
    widths = (64, 128, 256, 512, 1024)
    log_C = np.log2(np.array(widths) / 64)
    loss_C = 2 + 2.0 ** (-0.7 * log_C) + 0.01 * rng.standard_normal(5)

    def law(x: np.ndarray, floor: float, amplitude: float, alpha: float) -> np.ndarray:
        return floor + amplitude * 2.0 ** (-alpha * x)

    independent, _ = optimize.curve_fit(law, log_C, loss_C, p0=(1.5, 1.0, 1.0), xtol=1e-14, ftol=1e-14)
    found = fit_loss_laws(widths, loss_C[None, :])
    assert (found.floor[0], found.amplitude[0], found.alpha[0]) == pytest.approx(independent, rel=1e-4)


def test_loss_law_says_when_it_is_at_a_bound() -> None:
    widths = (64, 128, 256)
    losses = np.array([[2.0, 2.1, 2.2], [4.0, 2.0, 0.9], [3.0, 2.0, 2.0], [3.0, 2.5, 2.25]])
    reasons = {word: at.tolist() for word, at in fit_loss_laws(widths, losses).at_bound().items()}
    rising, to_zero, low, high = reasons.values()
    assert rising == [True, False, False, False]
    assert to_zero == [False, True, False, False]
    assert low == [False] * 4
    assert high == [False, False, True, False]
    laws = fit_loss_laws(widths, losses)
    assert laws.alpha[2] == pytest.approx(ALPHA_HIGH, rel=1e-3)
    # where the floor is held at 0 the rest is a pure power law, fitted through it: 4, 2, 0.9 falls by log2(4 / 0.9) / 2
    assert laws.floor[1] == 0
    assert laws.alpha[1] == pytest.approx(1.03, abs=0.03)
    assert laws.values(widths)[1] == pytest.approx(losses[1], abs=0.1)


def test_exponents_by_hand() -> None:
    """eta ~ n^-0.4, c ~ n^0.3: gamma = 0.3 + 2 * 0.4, and kappa = 0.5 - 0.8 + 1.1 = alpha + 0.3."""
    (found,) = metrics(Law(exponent=-0.4, alpha=0.5, curvature_exponent=0.3, noise=1e-7))
    # the parabola's three points are exact but for the noise, of 1e-9 in losses of curvature 0.04
    assert estimate(found.beta) == pytest.approx(0.4, abs=1e-5)
    assert estimate(found.alpha) == pytest.approx(0.5, abs=1e-4)
    assert estimate(found.gamma) == pytest.approx(1.1, abs=1e-5)
    assert estimate(found.kappa) == pytest.approx(0.8, abs=1e-4)
    assert estimate(found.floor) == pytest.approx(2.0, abs=1e-3)
    assert estimate(found.fit_error) == pytest.approx(0.0, abs=1e-6)


def test_gamma_is_the_curvature_in_the_rate_itself() -> None:
    """Parabolas in eta, L = c (eta - n^-1)^2 with c = n^gamma: in log2 eta their curvature is not constant."""
    gamma, widths = 1.5, (64, 128, 256, 512)
    step = 0.01  # octaves: the parabola in log2 eta is then exact to second order
    observations = [
        Observation("p", n, 2.0**x, s, 2 + n**-0.5 + n**gamma * (2.0**x - 1 / n) ** 2)
        for n in widths
        for x in [-math.log2(n) + step * k for k in range(-3, 4)]
        for s in (0, 1)
    ]
    (found,) = transfer_metrics(fit_table(observations), samples=10)
    assert estimate(found.beta) == pytest.approx(1.0, abs=1e-3)
    assert estimate(found.gamma) == pytest.approx(gamma, abs=2e-3)


def test_fit_error_by_hand() -> None:
    """Best rates at 0, d, 0 miss their line by -d/3, 2d/3, -d/3; a miss m gives c/2 ((m + u)^2 - u^2) / loss."""
    d, c = 0.3, 0.04
    losses = {64: 3.0, 128: 2.5, 256: 2.25}  # on a law exactly
    observations = [
        Observation("p", n, 2.0**x, s, least + c / 2 * (x - (d if n == 128 else 0.0)) ** 2)
        for n, least in losses.items()
        for x in range(-4, 5)
        for s in (0, 1)
    ]
    (found,) = transfer_metrics(fit_table(observations), samples=10)
    u = np.linspace(-1, 1, 9)
    parts = [
        (c / 2 * ((m + u) ** 2 - u**2) / least) ** 2
        for m, least in zip((-d / 3, 2 * d / 3, -d / 3), losses.values(), strict=True)
    ]
    assert estimate(found.fit_error) == pytest.approx(math.sqrt(np.mean(parts)), rel=1e-4)


def test_the_interval_of_the_fit_error_has_it_and_reaches_0_where_noise_is_all_of_it() -> None:
    """Resampled tables miss their laws by more than the measured one does: plain percentiles would not hold it."""
    exact, bent = metrics(Law(noise=0.01), Law(noise=0.01, bump={256: 0.1}))
    low, high = bounds(exact.fit_error)
    assert low == 0.0 < estimate(exact.fit_error) < high
    low, high = bounds(bent.fit_error)
    truth = estimate(metrics(Law(noise=0.0, bump={256: 0.1}))[0].fit_error)
    assert 0.0 < low < truth < high
    assert high**2 - estimate(bent.fit_error) ** 2 == pytest.approx(
        estimate(bent.fit_error) ** 2 - low**2, rel=1e-9
    )


def test_gap_is_against_the_lowest_floor_unless_another_is_named() -> None:
    laws = Law(floor=2.1), Law(floor=2.0), Law(floor=2.3)
    found = metrics(*laws)
    assert [m.reference for m in found] == ["p1"] * 3
    # three seeds of scatter 1e-3 over four widths: a floor is uncertain by a few of it, amplified by the extrapolation
    assert [estimate(m.gap) for m in found] == pytest.approx([0.1, 0.0, 0.3], abs=0.03)
    assert bounds(found[1].gap) == (0.0, 0.0)
    named = metrics(*laws, reference="p0")
    assert [estimate(m.gap) for m in named] == pytest.approx([0.0, -0.1, 0.2], abs=0.03)


def test_gap_is_not_against_a_floor_that_is_a_bound() -> None:
    """A loss that falls ever faster has the lowest floor that there may be, and that is no loss at infinite width."""
    faster, sound = metrics(Law(bump={512: -0.05, 1024: -0.3}), Law())
    assert estimate(faster.floor) < estimate(sound.floor)
    assert (faster.reference, sound.reference) == ("p1", "p1")
    assert estimate(sound.gap) == 0.0


def test_metrics_do_not_depend_on_the_units_of_the_rate() -> None:
    observations = runs("p", Law(exponent=-0.5, noise=1e-3))
    scaled = [replace(o, rate=o.rate * 8) for o in observations]
    (a,), (b,) = (transfer_metrics(fit_table(o), samples=50) for o in (observations, scaled))
    for one, other in ((a.kappa, b.kappa), (a.fit_error, b.fit_error), (a.floor, b.floor), (a.beta, b.beta)):
        assert estimate(one) == pytest.approx(estimate(other), rel=1e-6, abs=1e-9)
        assert bounds(one) == pytest.approx(bounds(other), rel=1e-5, abs=1e-8)


def test_resampled_optima_scatter_as_the_noise_says() -> None:
    """A mean of S draws from deviations that make up for their mean: sigma / sqrt(S), stretched by t over normal."""
    table = fit_table([o for k in range(8) for o in runs(f"p{k}", Law(noise=0.02))])
    noise = table.noises[""]
    assert noise is not None
    fits = [
        replace(fit, local=replace(fit.local, cubic=fit.local.parabola))
        for fit in table.members("")
        if fit.local
    ]
    resampler = Resampler(fits, noise, level=0.95, samples=20_000, seed=0)
    local = fits[0].local
    assert local is not None
    scatter = resampler.deviations(local).std(axis=0)
    stretch = student_quantile(0.95, noise.degrees_of_freedom) / student_quantile(0.95, math.inf)
    # 20,000 samples: 0.5 %; the pool's mean square is sigma^2 (S - 1) / S of 96 deviations times S / (S - 1): exact
    assert scatter[0] == pytest.approx(stretch * noise.sigma / math.sqrt(3), rel=0.03)
    assert scatter[2] == pytest.approx(stretch * noise.level / math.sqrt(3), rel=0.03)


def test_equal_seeds_of_the_bootstrap_give_equal_intervals() -> None:
    table = fit_table(runs("p", Law()))
    assert transfer_metrics(table, samples=50) == transfer_metrics(table, samples=50)
    assert transfer_metrics(table, samples=50) != transfer_metrics(table, samples=50, seed=1)


def test_what_cannot_be_said_is_said() -> None:
    wide = metrics(Law(noise=0.1, curvature=0.004))[0]
    assert any("wide: not even its sign is known" in flag for flag in wide.flags)
    steep = metrics(Law(noise=0.02, curvature_exponent=-3.0))[0]
    assert any("wide: its sign is known, its size is not" in flag for flag in steep.flags)
    one_seed = metrics(Law(), seeds=1)[0]
    assert one_seed.kappa is not None
    assert one_seed.kappa.interval is None
    assert any("second seed" in flag for flag in one_seed.flags)
    three = transfer_metrics(fit_table(runs("p", Law(), widths=(128, 256, 512))), samples=50)[0]
    assert any("three widths determine" in flag for flag in three.flags)
    (few,) = transfer_metrics(fit_table(runs("p", Law(), widths=(128, 256))), samples=50)
    assert few.kappa is few.fit_error is few.gap is None
    assert few.flags == ("2 widths with a bracketed optimum; the laws need 3",)
    rising = metrics(Law(bump={256: 0.5, 512: 1.0, 1024: 1.5}))[0]
    assert any("does not fall with the width: alpha" in flag for flag in rising.flags)


def test_an_unknown_reference_is_refused() -> None:
    table = fit_table([*runs("p", Law()), *runs("q", Law(), widths=(128, 256))])
    with pytest.raises(ValueError, match=r"reference 'r' is no prescription.*\['p', 'q'\]"):
        transfer_metrics(table, reference="r")
    with pytest.raises(ValueError, match="reference 'q' has fewer than 3 widths"):
        transfer_metrics(table, reference="q")


def test_beta_is_the_exponents_interval_and_covers() -> None:
    """The bootstrap's interval of beta against the analysis' own, of which coverage was measured."""
    observations = [o for k in range(4) for o in runs(f"p{k}", Law(exponent=-0.3, noise=0.02), seeds=3)]
    table = fit_table(observations)
    own = transfer(table).results
    for found, result in zip(transfer_metrics(table), own, strict=True):
        low, high = bounds(found.beta)
        assert result.exponent.total is not None
        assert estimate(found.beta) == pytest.approx(-result.exponent.total.estimate, abs=1e-9)
        # both estimate one number; 2000 percentiles of 96 deviations against a closed form
        assert (high - low) / (result.exponent.total.high - result.exponent.total.low) == pytest.approx(
            1, abs=0.25
        )
