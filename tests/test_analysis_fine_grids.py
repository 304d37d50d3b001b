"""Optima of grids finer than factors of 2, with a wall above the best rate: as the study of the paper measured them."""

import pytest

from widthwise.analysis import CellStatus, Interval, Observation, Standing, transfer
from widthwise.analysis.best_loss import loss_difference
from widthwise.analysis.cell import make_cell
from widthwise.analysis.claim import Gap, within
from widthwise.analysis.difference_noise import DifferenceNoise, WidthNoise, common_cells, difference_noise
from widthwise.analysis.noise import Noise, student_quantile
from widthwise.analysis.optimum import CellFit, fit_cell
from widthwise.analysis.optimum_loss import OptimumLoss, Pair
from widthwise.analysis.regret import loss_given_up, plain_regret

# Adam with parameter scaling, standard, one rate, width 256: log2 of the rate -> loss less 1.3772.
MEASURED = {-6: 0.092, -5: 0.022, -4.5: 0.009, -4: 0.0, -3.5: 0.029, -3: 1.130, -2: 1.789}


def cell(excess: dict[float, float], seeds: dict[int, float] | None = None, *, width: int = 256) -> CellFit:
    """Seed 0 at all rates, best 1.3772; other seeds at x = -4 alone, by their losses there."""
    runs = [Observation("p", width, 2.0**x, 0, 1.3772 + y, f"{x} 0 {y}") for x, y in excess.items()]
    runs += [Observation("p", width, 2.0**-4, s, loss, f"-4 {s} {loss}") for s, loss in (seeds or {}).items()]
    return fit_cell(make_cell(runs))


def test_where_training_breaks_down_no_fit_reaches() -> None:
    local = cell(MEASURED).local
    assert local is not None
    # -3 and -2 lie above 1.2 times the best. The parabola is over -5, -4.5, -4, -3.5.
    assert local.window == (-5, -3.5)
    # Through 0.009, 0, 0.029 at steps of 1/2: vertex 0.005 / 0.038 below -4, value -0.02^2 / (8 * 0.038).
    assert local.level.x == pytest.approx(-4 - 0.005 / 0.038, abs=1e-9)
    assert local.loss == pytest.approx(1.3772 - 0.0004 / 0.304, abs=1e-9)


def test_a_finer_grid_leaves_the_loss_near_what_was_measured() -> None:
    # Adam, standard, one rate, width 1024: over an octave to each side a parabola passes 0.02 below every loss.
    measured = {-6: 0.2, -5: 0.043, -4.5: 0.011, -4: 0.0, -3.5: 0.056, -3: 0.2749, -2: 0.71}
    local = cell(measured).local
    assert local is not None
    assert local.parabola.value < 1.36
    assert local.loss == pytest.approx(1.3772 - 0.045**2 / (8 * 0.067), abs=1e-9)


def test_a_neighbour_that_no_longer_trains_is_an_edge() -> None:
    # SGD, standard, full alignment, width 512: the next rate is at the loss of a model that has learnt nothing.
    assert cell({-6: 0.239, -5: 0.112, -4: 0.0, -3.5: 3.934, -3: 3.9}).status is CellStatus.EDGE_HIGH


def test_seeds_at_the_best_rate_alone_count_in_a_difference_of_losses() -> None:
    lower = [0.021, 0.012, 0.017]  # by seed; their mean is 1/60
    even = {
        -6: 0.16,
        -5: 0.04,
        -4.5: 0.01,
        -4: 0.0,
        -3.5: 0.01,
        -3: 0.04,
    }  # its optimum is at a rate of the grid
    first = cell(even, {1: 1.39, 2: 1.37})
    second = fit_cell(
        make_cell(
            [Observation("q", 256, 2.0**x, 0, 1.3772 - lower[0] + y, f"q{x}") for x, y in even.items()]
            + [Observation("q", 256, 2.0**-4, s, at - lower[s], f"q{s}") for s, at in ((1, 1.39), (2, 1.37))]
        )
    )
    pairs = common_cells([first], [second])
    found = loss_difference(pairs, 256, difference_noise([[first], [second]]))
    assert found is not None
    assert found.estimate == pytest.approx(0.05 / 3, abs=1e-9)
    # Deviations of 13, -14, 1 in 3000: sigma_d^2 = 366 / (2 * 9e6). The fit adds nothing at a vertex on the middle
    # rate: f = 1/3, two degrees of freedom.
    half = student_quantile(0.95, 2) * (366 / 18e6 / 3) ** 0.5
    assert found.high - found.estimate == pytest.approx(half, abs=1e-9)
    assert found.estimate - found.low == pytest.approx(half, abs=1e-9)


def test_both_neighbours_stay_and_what_is_below_a_bad_rate_does_not_count() -> None:
    # The next rate and that at -5 are above 1.2 times the best: the window keeps the first and ends before the second.
    local = cell({-6: 0.5, -5: 0.4, -4.5: 0.01, -4: 0.0, -3.5: 0.3, -3: 0.5}).local
    assert local is not None
    assert local.window == (-4.5, -3.5)


def compared(*seeds: tuple[float, float], alone: bool = False) -> tuple[Interval, Pair]:
    """A difference of losses; each seed's, at all rates, or for all but the first at the best alone, of either cell."""
    even = {-6: 0.16, -5: 0.04, -4.5: 0.01, -4: 0.0, -3.5: 0.01, -3: 0.04}
    wall = {**even, -3.5: 0.02, -3: 0.11}
    fits = [
        fit_cell(
            make_cell(
                [
                    Observation(name, 256, 2.0**x, s, 1.4 + y + both[which], f"{name} {x} {s}")
                    for s, both in enumerate(seeds)
                    for x, y in shape.items()
                    if s == 0 or not alone or x == -4
                ]
            )
        )
        for which, (name, shape) in enumerate((("p", even), ("q", wall)))
    ]
    pairs = common_cells(fits[:1], fits[1:])
    one_seed = DifferenceNoise({256: WidthNoise(1.0, 9.0)}, {256: Noise(0.0, 0.0, 0.01, 7, 0.0, 2)})
    found = loss_difference(
        pairs, 256, one_seed if len(seeds) == 1 else difference_noise([fits[:1], fits[1:]])
    )
    assert found is not None
    return found, pairs[256]


def test_seeds_at_every_rate_and_the_misfit_of_the_shape() -> None:
    found, (first, second) = compared((0.0, 0.0), (0.01, 0.03))
    shape = abs(first.local.loss_difference - second.local.loss_difference)
    assert shape > 1e-4
    # Differences 0 and -0.02 about their mean: sigma_d^2 = 2e-4 with one degree of freedom, over two seeds.
    half = student_quantile(0.95, 1) * 1e-2 + shape
    assert found.high - found.estimate == pytest.approx(half, rel=1e-9)


def test_one_common_seed_has_the_noise_of_the_table_on_both_sides() -> None:
    found, pair = compared((0.0, 0.0))
    shape = abs(pair[0].local.loss_difference - pair[1].local.loss_difference)
    variance = 0.01**2 * (pair[0].variance_factor(1) + pair[1].variance_factor(1))
    half = student_quantile(0.95, 7) * variance**0.5 + shape
    assert found.estimate - found.low == pytest.approx(half, rel=1e-9)


@pytest.mark.parametrize("ends", [(-0.2, 0.1), (-0.1, 0.2)])
def test_an_interval_that_crosses_one_bound_is_open(ends: tuple[float, float]) -> None:
    found = within("e", Interval(0.0, *ends), -0.15, 0.15, missing=Gap(""), demand="")
    assert found.standing is Standing.OPEN


def test_a_regret_is_above_the_loss_that_differences_are_of() -> None:
    """On a fine grid the parabola over an octave has its minimum below that; its curvature alone is used."""
    shape = {-6: 0.2, -5: 0.043, -4.5: 0.011, -4: 0.0, -3.5: 0.056, -3: 0.2749, -2: 0.71}
    largest, base = cell(shape), cell({x - 0.5: y for x, y in shape.items()}, width=128)
    assert largest.local is not None
    assert largest.local.parabola.value < largest.local.loss - 0.01
    assert plain_regret(largest, largest) == 0
    by_hand = largest.local.parabola.curvature / 2 * 0.5**2 / largest.local.loss
    assert plain_regret(base, largest) == pytest.approx(by_hand, rel=1e-9)
    found = loss_given_up(base, largest, Noise(0.0, 0.0, 0.0, 9, 0.0, 2), level=0.95).loss
    assert found is not None
    assert (found.estimate, found.low, found.high) == pytest.approx((by_hand,) * 3, rel=1e-6)


def test_a_cells_loss_is_over_all_its_seeds_with_the_noise_of_its_width() -> None:
    """Seeds at the best rate alone count, and widths scatter each by itself."""
    even = {-6: 0.16, -5: 0.04, -4.5: 0.01, -4: 0.0, -3.5: 0.01, -3: 0.04}
    lows = {128: (1.5, 1.56, 1.53), 256: (1.4, 1.41, 1.42)}
    runs = [
        Observation("p", width, 2.0**x, s, loss + y)
        for width, losses in lows.items()
        for s, loss in enumerate(losses)
        for x, y in even.items()
        if s == 0 or x == -4
    ]
    for found, spread in zip(transfer(runs).results[0].cells, (0.03, 0.01), strict=True):
        assert found.loss == pytest.approx(sum(lows[found.width]) / 3, abs=1e-9)
        assert found.loss_error == pytest.approx(spread / 3**0.5, rel=1e-6)
        assert found.loss_freedom == 2


def test_the_loss_of_fitted_seeds_is_their_fits() -> None:
    fit = fit_cell(
        make_cell(
            [
                Observation("p", 256, 2.0**x, s, 1.4 + 0.02 * s + 0.03 * (x + 4.3) ** 2)
                for s in range(2)
                for x in range(-7, -1)
            ]
        )
    )
    assert fit.local is not None
    one = OptimumLoss(fit, fit.local)
    assert (one.mean, one.factor) == (pytest.approx(1.41, abs=1e-9), 0.5)
