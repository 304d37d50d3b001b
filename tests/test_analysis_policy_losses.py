"""Excess losses of policies that share their seeds: by hand, by the response to every run, and over invented tables."""

import math
import random

import numpy as np
import pytest
from scipy import stats

from widthwise.analysis import Interval, Observation, fit_table
from widthwise.analysis.difference_noise import difference_noise
from widthwise.analysis.optimum import CellFit
from widthwise.analysis.optimum_loss import OptimumLoss
from widthwise.analysis.policy_losses import DIVERGED, excess

A = (2.0, 2.1, 2.3)
B = (2.01, 2.13, 2.29)
RATES = range(-2, 3)


def cell(
    name: str, losses: tuple[float, ...], *, best: float = 0.0, everywhere: int = 1, cubic: float = 0.0
) -> CellFit:
    """The first seeds at five rates, on a parabola about `best`; the others at the middle one alone."""
    observations = [
        Observation(name, width, 2.0**x, seed, loss + 0.02 * ((x - best) ** 2 - best**2) + cubic * x**3)
        for width in (64, 128)
        for seed, loss in enumerate(losses)
        for x in RATES
        if seed < everywhere or x == 0
    ]
    return fit_table(observations).prescriptions[name][0]


def of(policies: dict[str, CellFit], policy: str, others: list[str], *, among: int = 1) -> Interval | None:
    """The excess at width 64, the only one."""
    cells = {name: (fit,) for name, fit in policies.items()}
    noise = difference_noise(cells.values())
    return excess(cells, policy, others, noise, width=64, level=0.95, among=among)


def test_excess_by_hand() -> None:
    """Differences A - B of -0.01, -0.03, 0.01: mean -0.01, deviations 0, -0.02, 0.02, two degrees of freedom."""
    policies = {"a": cell("a", A), "b": cell("b", B)}
    # the parabola through -1, 0, 1 has its minimum at 0: nothing between the best rate and the optimum, f = 1/3
    half = stats.t.ppf(0.975, 2) * math.sqrt(8e-4 / 2 / 3)
    found = of(policies, "b", ["a"])
    assert found is not None
    assert [found.estimate, found.low, found.high] == pytest.approx(
        [0.01, 0.01 - half, 0.01 + half], rel=1e-9
    )
    floored = of(policies, "b", ["a", "b"])
    assert floored == Interval(found.estimate, 0.0, found.high)
    least = of(policies, "a", ["a", "b"])
    assert least is not None
    assert (least.estimate, least.low) == (0.0, 0.0)
    assert least.high == pytest.approx(half - 0.01, rel=1e-9)


def test_several_comparisons_share_the_level() -> None:
    """C - A is 0.02 for every seed; C - B is 0.01, -0.01, 0.03, whose interval ends above."""
    policies = {"a": cell("a", A), "b": cell("b", B), "c": cell("c", (2.02, 2.12, 2.32))}
    found = of(policies, "c", ["a", "b"], among=3)
    half = stats.t.ppf(1 - 0.05 / (3 * 2) / 2, 2) * math.sqrt(8e-4 / 2 / 3)
    assert found is not None
    assert [found.estimate, found.low, found.high] == pytest.approx([0.02, 0.02, 0.01 + half], rel=1e-9)


@pytest.mark.parametrize("everywhere", [1, 2])
@pytest.mark.parametrize("best", [0.0, 0.3, -0.45])
def test_the_variance_is_the_response_to_every_run(best: float, everywhere: int) -> None:
    """f = sum over runs of the squared derivative of the mean, whatever share of it the fit has."""
    step = 1e-6

    def mean(changed: tuple[int, int] | None) -> float:
        observations = [
            Observation("p", width, 2.0**x, seed, 2 + 0.02 * (x - best) ** 2 + step * ((seed, x) == changed))
            for width in (64, 128)
            for seed in range(3)
            for x in RATES
            if seed < everywhere or x == 0
        ]
        fit = fit_table(observations).prescriptions["p"][0]
        assert fit.local is not None
        return float(np.mean(list(OptimumLoss(fit, fit.local).by_seed.values())))

    runs = [(seed, x) for seed in range(3) for x in RATES if seed < everywhere or x == 0]
    response = [(mean(run) - mean(None)) / step for run in runs]
    fit = cell("p", (2.0, 2.0, 2.0), best=best, everywhere=everywhere)
    assert fit.local is not None
    # step^1 curvature terms and rounding of 2 + 1e-6: 1e-4 of a derivative
    assert OptimumLoss(fit, fit.local).variance_factor(3) == pytest.approx(
        np.sum(np.square(response)), rel=1e-3
    )


def test_the_shape_of_the_loss_widens_the_interval() -> None:
    """Without any noise half the width is by how much the two fits of a loss with a cubic part differ."""
    policies = {"a": cell("a", A), "b": cell("b", A, best=0.2, cubic=0.004)}
    own = policies["b"].local
    assert own is not None
    miss = abs(own.loss_difference)
    assert miss > 1e-5
    found = of(policies, "b", ["a"])
    assert found is not None
    assert found.high - found.estimate == pytest.approx(miss, rel=1e-9)


def test_the_same_runs_differ_by_nothing() -> None:
    runs = cell("a", A)
    policies = {"a": runs, "b": runs, "c": cell("c", B)}
    assert of(policies, "b", ["a"]) == Interval(0.0, 0.0, 0.0)


def test_what_has_no_optimum() -> None:
    edge = [Observation("e", w, 2.0**x, 0, 2 + 0.1 * x) for w in (64, 128) for x in RATES]
    none = [Observation("d", w, 2.0**x, 0, None) for w in (64, 128) for x in RATES]
    table = fit_table([*edge, *none]).prescriptions
    policies = {"a": cell("a", A), "e": table["e"][0], "d": table["d"][0]}
    assert of(policies, "d", ["a"]) == DIVERGED
    assert of(policies, "e", ["a"]) is None
    assert of(policies, "a", ["e", "d"]) is None


def test_one_seed_leaves_the_noise_unknown() -> None:
    assert of({"a": cell("a", A[:1]), "b": cell("b", B[:1])}, "a", ["b"]) is None


def test_intervals_cover_the_truth() -> None:
    """95 % of 120 tables: 114, standard deviation 2.4."""
    rng, inside = random.Random(5), 0
    for _ in range(120):
        shared = [rng.gauss(0, 0.05) for _ in range(3)]
        policies = {
            name: cell(name, tuple(2 + cost + s + rng.gauss(0, 0.002) for s in shared))
            for name, cost in (("a", 0.0), ("b", 0.01), ("c", 0.0))
        }
        found = of(policies, "b", ["a"])
        assert found is not None
        inside += found.low <= 0.01 <= found.high
    assert inside >= 107
