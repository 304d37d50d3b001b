"""The optimum of one cell: hand values, an independent fit, and every status."""

import numpy as np
import pytest

from analysis_study import quadratic, steep_above
from widthwise.analysis import CellStatus, Observation
from widthwise.analysis.cell import make_cell, rate_points
from widthwise.analysis.optimum import CellFit, LocalFit, fit_cell
from widthwise.analysis.polynomial import polynomial_minimum


def fit(*losses_by_seed: list[float | None], start: int = -10) -> CellFit:
    """The fit of a cell at rates 2^start, 2^(start + 1), ...; missing seeds are not rows, None diverged."""
    return fit_cell(
        make_cell(
            [
                Observation("p", 64, 2.0 ** (start + r), s, loss)
                for s, losses in enumerate(losses_by_seed)
                for r, loss in enumerate(losses)
            ]
        )
    )


def local(found: CellFit) -> LocalFit:
    assert found.status is CellStatus.BRACKETED
    assert found.local is not None
    return found.local


def test_three_points_by_hand() -> None:
    # y = 3, 1, 2 at t = -1, 0, 1: c_1 = -1/2, c_2 = 3/2, vertex 1/6, value 1 - 1/24, y'' = 3.
    found = polynomial_minimum(np.array([-1.0, 0, 1]), np.array([3.0, 1, 2]), degree=2)
    assert found is not None
    assert found.x == pytest.approx(1 / 6, abs=1e-14)
    assert found.value == pytest.approx(1 - 1 / 24, abs=1e-14)
    assert found.curvature == pytest.approx(3, abs=1e-14)
    # d/dy of -c_1 / (2 c_2) with c_1 = (y+ - y-)/2, 2 c_2 = y+ + y- - 2 y0 = 3: (1/2 - 1/6)/3, (1/3)/3, (-1/2 - 1/6)/3.
    np.testing.assert_allclose(found.shift, [1 / 9, 1 / 9, -2 / 9], atol=1e-14)
    np.testing.assert_allclose(found.bend, [1, -2, 1], atol=1e-14)
    # The vertex' value moves as the parabola at a fixed t = 1/6 does: Lagrange's t (t - 1) / 2, 1 - t^2, t (t + 1) / 2.
    np.testing.assert_allclose(found.level, [-5 / 72, 35 / 36, 7 / 72], atol=1e-14)


@pytest.mark.parametrize("degree", [2, 3])
@pytest.mark.parametrize("points", [4, 5, 9])
def test_polynomial_agrees_with_polyfit(degree: int, points: int) -> None:
    rng = np.random.default_rng(points)
    x = np.sort(rng.uniform(-9, -5, points))
    y = 2 + steep_above()(x + 7.2) + 0.001 * rng.standard_normal(points)
    found = polynomial_minimum(x, y, degree=degree)
    assert found is not None
    derivative = np.polyder(np.poly1d(np.polyfit(x, y, degree)))
    minima = [r.real for r in derivative.roots if abs(r.imag) < 1e-9 and np.polyder(derivative)(r.real) > 0]
    assert len(minima) == 1
    # polyfit does not centre x: its normal equations lose about five digits here.
    assert found.x == pytest.approx(minima[0], abs=1e-8)
    assert found.curvature == pytest.approx(np.polyder(derivative)(found.x), rel=1e-6)


@pytest.mark.parametrize("degree", [2, 3])
def test_shift_and_bend_are_the_derivatives(degree: int) -> None:
    x = np.arange(5.0)
    y = steep_above()(x - 1.8)
    found = polynomial_minimum(x, y, degree=degree)
    assert found is not None
    step = 1e-6
    for index in range(5):
        up, down = (
            polynomial_minimum(x, y + sign * step * np.eye(5)[index], degree=degree) for sign in (1, -1)
        )
        assert up is not None
        assert down is not None
        assert found.shift[index] == pytest.approx((up.x - down.x) / (2 * step), rel=1e-6, abs=1e-6)
        if degree == 2:
            assert found.bend[index] == pytest.approx((up.curvature - down.curvature) / (2 * step), abs=1e-8)


@pytest.mark.parametrize("coefficients", [(0.0, -1.0), (-1.0, 0.0), (-1.0, 3.0), (1.0, 30.0), (0.001, 1.0)])
def test_no_minimum_inside_is_none(coefficients: tuple[float, float]) -> None:
    x = np.arange(5.0)
    c_2, c_1 = coefficients
    y = c_2 * (x - 2) ** 2 + c_1 * (x - 2)
    assert polynomial_minimum(x, y, degree=2) is None
    assert polynomial_minimum(x, y, degree=3) is None


def test_cubic_with_a_bend_the_wrong_way_at_the_centre() -> None:
    x = np.arange(-2.0, 3)  # x^3 - x^2 / 2 - 2 x: minimum where 3 x^2 - x - 2 = 0 and 6 x > 1, at x = 1
    found = polynomial_minimum(x, x**3 - x**2 / 2 - 2 * x, degree=3)
    assert found is not None
    assert found.x == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("best", [-7.4, -7.0, -6.55])
def test_exact_on_a_parabola(best: float) -> None:
    found = local(fit([2 + float(quadratic()(np.array(x - best))) for x in range(-10, -3)]))
    assert found.parabola.x == pytest.approx(best, abs=1e-10)
    assert found.cubic.x == pytest.approx(best, abs=1e-10)
    assert found.parabola.value == pytest.approx(2, abs=1e-12)


def test_windows_are_three_and_five_points_on_a_factor_two_grid() -> None:
    x = np.arange(-10.0, -1)
    y = 2 + steep_above()(x + 6.3)
    found = local(fit(y.tolist()))
    i = int(np.argmin(y))
    assert found.window == (x[i - 1], x[i + 1])
    c = np.polyfit(x[i - 1 : i + 2], y[i - 1 : i + 2], 2)
    assert found.parabola.x == pytest.approx(-c[1] / (2 * c[0]), abs=1e-9)
    slope = np.polyder(np.poly1d(np.polyfit(x[i - 2 : i + 3], y[i - 2 : i + 3], 3)))
    assert min(abs(slope.roots - found.cubic.x)) < 1e-8


def test_a_finer_grid_fits_more_points() -> None:
    x = np.arange(-10, -3, 0.25)
    y = 2 + steep_above()(x + 6.8)
    runs = [Observation("p", 64, 2.0**a, 0, float(b)) for a, b in zip(x, y, strict=True)]
    found = local(fit_cell(make_cell(runs)))
    i = int(np.argmin(y))
    assert found.window == (x[i - 4], x[i + 4])


@pytest.mark.parametrize("best", np.arange(-8.5, -5, 0.5))
def test_rates_rounded_to_three_digits_fit_the_same_points(best: float) -> None:
    rates = [float(f"{2.0**x:.3g}") for x in np.arange(-11, -2, 0.5)]
    runs = [Observation("p", 64, r, 0, 2 + float(steep_above()(np.log2(r) - best))) for r in rates]
    found = local(fit_cell(make_cell(runs)))
    i = int(np.argmin([o.loss or np.inf for o in runs]))
    assert found.window == (np.log2(rates[i - 2]), np.log2(rates[i + 2]))


def test_close_to_an_edge_the_cubic_keeps_four_points() -> None:
    found = local(fit([2.1, 2.0, 2.2, 2.6, 3.0]))
    assert found.parabola.x == pytest.approx(-9 - 0.05 / 0.3, abs=1e-12)
    x, y = np.arange(4.0) - 10, np.array([2.1, 2.0, 2.2, 2.6])
    roots = np.polyder(np.poly1d(np.polyfit(x, y, 3))).roots
    assert min(abs(roots - found.cubic.x)) < 1e-8


@pytest.mark.parametrize(
    ("losses", "status"),
    [
        ([2.0, 2.1, 2.2, 2.3, 2.4], CellStatus.EDGE_LOW),
        ([2.4, 2.3, 2.2, 2.1, 2.0], CellStatus.EDGE_HIGH),
        ([2.4, 2.3, 2.2, 2.1, None], CellStatus.EDGE_HIGH),
        ([2.4, 2.3, 2.0, None, 2.9], CellStatus.EDGE_HIGH),
        ([None, 2.0, 2.2, 2.3, 2.4], CellStatus.EDGE_LOW),
        ([2.2, 2.1, 2.3, None, None], CellStatus.UNRESOLVED),  # three rates: too few for a cubic
        ([2.0, 2.0, 2.0, 2.0, 2.0], CellStatus.EDGE_LOW),
        ([2.1, 2.0, 2.0, 2.0, 2.0], CellStatus.BRACKETED),
        ([None, None, None, None, None], CellStatus.UNRESOLVED),
        ([2.3, 2.2, 2.1, 2.3, None], CellStatus.BRACKETED),
        ([2.3, None, 2.2, 2.1, 2.3], CellStatus.BRACKETED),
    ],
)
def test_status(losses: list[float | None], status: CellStatus) -> None:
    found = fit(losses)
    assert found.status is status
    assert (found.local is not None) == (status is CellStatus.BRACKETED)


def test_a_rate_where_one_seed_diverged_is_the_edge() -> None:
    first: list[float | None] = [2.6, 2.4, 2.2, 2.0, 2.5, 2.9]
    second: list[float | None] = [2.6, 2.4, 2.2, 2.0, None, 2.9]
    assert fit(first, second).status is CellStatus.EDGE_HIGH
    # even if the surviving seed's loss there is the best of all
    first[4] = 1.5
    assert fit(first, second).status is CellStatus.EDGE_HIGH


def test_only_seeds_that_trained_throughout_the_window_are_fitted() -> None:
    y = (2 + quadratic()(np.arange(-10.0, -1) + 6.2)).tolist()
    runs = [
        Observation("p", 64, 2.0 ** (r - 10), s, loss + s * 0.01)
        for s in range(2)
        for r, loss in enumerate(y)
    ]
    runs += [Observation("p", 64, 2.0 ** (r - 10), 2, y[r]) for r in range(4)]
    found = local(fit_cell(make_cell(runs)))
    assert found.seeds == 2
    assert found.parabola.x == pytest.approx(-6.2, abs=1e-10)


def test_seed_deviations_are_those_of_the_seeds_own_fits() -> None:
    rng = np.random.default_rng(3)
    x = np.arange(-10.0, -1)
    y_SxR = 2 + quadratic()(x + 6.2) + 1e-6 * rng.standard_normal((3, 9))  # small: the response is linear
    found = local(fit(*y_SxR.tolist()))
    i = int(np.argmin(y_SxR.mean(axis=0)))
    window = slice(i - 1, i + 2)
    c_SxK = [np.polyfit(x[window] + 6, y[window], 2) for y in y_SxR]
    own_S = np.array([-c[1] / (2 * c[0]) for c in c_SxK])
    np.testing.assert_allclose(found.shifts, own_S - own_S.mean(), atol=1e-8)
    bend_S = np.array([c[0] for c in c_SxK])
    np.testing.assert_allclose(found.bends, bend_S / bend_S.mean() - 1, atol=1e-8)
    assert found.shifts.sum() == pytest.approx(
        0, abs=1e-12
    )  # losses of 2 round at 4e-16, over a curvature of 0.04


def test_rate_points_count_and_range() -> None:
    runs = [Observation("p", 1, 1.0, s, loss) for s, loss in enumerate([2.0, 3.0, None])]
    runs.append(Observation("p", 1, 2.0, 0, None))
    first, second = rate_points(make_cell(runs))
    assert (first.loss, first.low, first.high, first.trained, first.diverged) == (2.5, 2.0, 3.0, 2, 1)
    assert (second.loss, second.low, second.high, second.trained, second.diverged) == (None, None, None, 0, 1)
