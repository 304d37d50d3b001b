"""Slopes over widths and their t intervals."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from widthwise.measure import SlopeInterval, Verdict
from widthwise.measure.run_once import Quantity
from widthwise.measure.slope import slope, slope_interval, student_quantile
from widthwise.measure.verdict import Margins, judged, measured_row

WIDTHS = (64, 128, 256, 512)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 9, 30, 101])
def test_quantiles_are_scipys(level: float, freedom: int) -> None:
    """Two implementations in double precision: 1e-9 leaves room for the bisection and SciPy's own error."""
    assert student_quantile(level, freedom) == pytest.approx(student.ppf((1 + level) / 2, freedom), rel=1e-9)


@given(st.floats(-3, 3), st.floats(1e-6, 1e6))
def test_a_power_law_has_its_exponent(exponent: float, constant: float) -> None:
    """Logarithms of numbers between 1e-15 and 1e15 are good to 1e-14; the slope divides by log 8."""
    assert slope(WIDTHS, [constant * n**exponent for n in WIDTHS]) == pytest.approx(exponent, abs=1e-12)


def test_an_interval_by_hand() -> None:
    """Slopes 0 and 1: mean 1/2, standard error 1/2, t_1 = tan(0.475 pi) = 12.706."""
    found = slope_interval((2, 4), [(1.0, 1.0), (1.0, 2.0)])
    assert found.estimate == 0.5
    assert found.high - 0.5 == pytest.approx(math.tan(0.475 * math.pi) / 2, rel=1e-12)
    assert found.high - 0.5 == pytest.approx(0.5 - found.low)


@pytest.mark.parametrize(
    ("low", "high", "two_sided", "bound"),
    [
        (-0.05, 0.05, Verdict.PASS, Verdict.PASS),
        (0.05, 0.15, Verdict.UNDECIDED, Verdict.UNDECIDED),
        (0.11, 0.15, Verdict.FAIL, Verdict.FAIL),
        (-0.15, -0.05, Verdict.UNDECIDED, Verdict.PASS),
        (-0.15, -0.11, Verdict.FAIL, Verdict.PASS),
        (-0.15, 0.15, Verdict.UNDECIDED, Verdict.UNDECIDED),
    ],
)
def test_verdicts_by_hand(low: float, high: float, two_sided: Verdict, bound: Verdict) -> None:
    """Theory -1, margin 0.1; the same shifted."""
    interval = SlopeInterval((low + high) / 2 - 1, low - 1, high - 1)
    assert judged(interval, -1.0, 0.1, bound=False) is two_sided
    assert judged(interval, -1.0, 0.1, bound=True) is bound


@pytest.mark.parametrize(
    ("values", "verdict", "reason"),
    [
        ([(1.0, 0.0), (1.0, 1.0)], Verdict.UNDEFINED, "zero at some width"),
        ([(1.0, math.nan), (1.0, 1.0)], Verdict.FAIL, "not finite"),
        ([(1.0, math.inf), (1.0, 1.0)], Verdict.FAIL, "not finite"),
        ([(1.0, 1.0)], Verdict.UNDEFINED, "fewer than two seeds"),
    ],
)
def test_what_has_no_slope_says_why(values: list[tuple[float, ...]], verdict: Verdict, reason: str) -> None:
    """Never an exponent of 0 or 1 in its place."""
    row = measured_row(Quantity.UPDATE, "w", 1, widths=(2, 4), values=values, theory=0.0, margin=0.1)
    assert row.slope is None
    assert row.verdict is verdict
    assert reason in row.reason


def test_margins_are_positive() -> None:
    with pytest.raises(ValueError, match="margin effect = 0 must be positive"):
        Margins(effect=0)
