"""Numbers, rates and ticks as text, each against a value written by hand."""

import math

import pytest

from widthwise.analysis.result import CellOptimum, CellStatus, Interval, RatePoint
from widthwise.report.numbers import (
    bounds,
    excess_text,
    excess_with_range,
    fixed,
    listing,
    loss_text,
    percent,
    percent_range,
    plural,
    power_of_two,
    rate_label,
    rate_text,
    short_percent,
    significant,
)
from widthwise.report.ticks import all_dyadic, rate_ticks, round_ticks
from widthwise.report.valley import find_valley

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (-0.5, 2, "−0.50"),
        (-0.001, 2, "0.00"),
        (None, 2, "—"),
        (NAN, 2, "—"),
        (INF, 2, "∞"),
        (-INF, 2, "−∞"),
        (12.345, 1, "12.3"),
    ],
)
def test_fixed(value: float | None, digits: int, text: str) -> None:
    assert fixed(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0012, "0.12 %"),
        (0.0, "0.00 %"),
        (0.0999, "9.99 %"),
        (0.123, "12.3 %"),
        (1.5, "150 %"),
        (None, "—"),
        (INF, "∞"),
    ],
)
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text.replace(" ", "\N{NO-BREAK SPACE}")


@pytest.mark.parametrize(
    ("value", "text"), [(0.01, "1 %"), (0.005, "0.5 %"), (0.95, "95 %"), (0.999, "99.9 %")]
)
def test_short_percent(value: float, text: str) -> None:
    assert short_percent(value) == text.replace(" ", "\N{NO-BREAK SPACE}")


@pytest.mark.parametrize(
    ("interval", "in_percent", "plain", "excess", "long"),
    [
        (
            Interval(0.006, 0.0011, 0.0172),
            "0.11 to 1.72 %",
            "[0.00, 0.02]",
            "0.60 %",
            "0.60 % (0.11 to 1.72 %)",
        ),
        (Interval(0.08, 0.04, INF), "4.00 % or more", "[0.04, ∞]", "8.00 %", "8.00 % (4.00 % or more)"),
        (Interval(0.08, 0.08, INF), "8.00 % or more", "[0.08, ∞]", "at least 8.00 %", "at least 8.00 %"),
        (Interval(0.0, 0.0, INF), "unbounded", "[0.00, ∞]", "at least 0.00 %", "at least 0.00 %"),
        (Interval(INF, INF, INF), "∞ or more", "[∞, ∞]", "diverges", "diverges"),
        (None, "—", "—", "—", "—"),
    ],
)
def test_intervals(interval: Interval | None, in_percent: str, plain: str, excess: str, long: str) -> None:
    texts = percent_range(interval), bounds(interval), excess_text(interval), excess_with_range(interval)
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in texts] == [in_percent, plain, excess, long]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00390625, "0.00391"),
        (3e-5, "3×10⁻⁵"),
        (1.234e-7, "1.23×10⁻⁷"),
        (123456.0, "1.23×10⁵"),
        (0.0, "0"),
        (99.96, "100"),
        (None, "—"),
        (INF, "∞"),
    ],
)
def test_significant(value: float | None, text: str) -> None:
    assert significant(value) == text


def test_losses() -> None:
    assert [loss_text(value) for value in (3.1, 123.456, None, INF)] == ["3.1000", "123.5", "—", "∞"]


def test_rates() -> None:
    assert rate_text(2**-8) == "2⁻⁸ = 0.00391"
    assert rate_text(2**-7.5) == "2⁻⁷·⁵ = 0.00552"
    assert rate_text(0.003) == "0.003"
    assert rate_label(1e-5) == "1×10⁻⁵"
    assert power_of_two(-0.0) == "2⁰"


def test_words() -> None:
    assert [listing(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == [
        "a",
        "a and b",
        "a, b and c",
    ]
    assert [plural(1, "run"), plural(0, "run")] == ["1 run", "0 runs"]


def test_rate_ticks() -> None:
    assert rate_ticks(2**-4, 2**-1, dyadic=True).labels == ("2⁻⁴", "2⁻³", "2⁻²", "2⁻¹")
    assert rate_ticks(1e-4, 1e-2, dyadic=False).labels[:3] == ("0.0001", "0.0002", "0.0005")
    assert rate_ticks(1e-7, 1.0, dyadic=False, most=8).values == pytest.approx(
        [10.0**k for k in range(-7, 1)]
    )
    assert len(rate_ticks(2**-30, 1.0, dyadic=True, most=7).values) <= 7
    # An axis of about an octave has two ticks at least, so that it can be read.
    assert rate_ticks(2**-5.4, 2**-4.3, dyadic=True).labels == ("2⁻⁵", "2⁻⁴·⁵")
    assert rate_ticks(2**-5.2, 2**-4.7, dyadic=True).labels == ("2⁻⁵", "2⁻⁴·⁷⁵")
    assert rate_ticks(0.032, 0.045, dyadic=False).labels == ("0.035", "0.04", "0.045")
    assert all_dyadic([0.5, 2**-1.5])
    assert not all_dyadic([0.5, 0.3])
    assert (
        rate_ticks(0.25, 0.5, dyadic=True).label_expr == '["2⁻²", "2⁻¹"][indexof([0.25, 0.5], datum.value)]'
    )


def test_round_ticks_are_labelled_with_their_own_value() -> None:
    assert round_ticks(2.61, 3.7).values == (2.8, 3.0, 3.2, 3.4, 3.6)
    assert round_ticks(2.41, 4.07).labels == ("2.5", "3.0", "3.5", "4.0")
    assert round_ticks(0.0, 60.0).labels == ("0", "10", "20", "30", "40", "50", "60")
    assert round_ticks(2.001, 2.0064).labels == ("2.001", "2.002", "2.003", "2.004", "2.005", "2.006")
    for low, high in ((0.1, 0.9), (3.0, 3.0004), (7.0, 900.0), (1e-3, 2.9)):
        ticks = round_ticks(low, high)
        assert 2 <= len(ticks.values) <= 8
        assert [float(label) for label in ticks.labels] == pytest.approx(list(ticks.values))
    assert round_ticks(1.0, 1.0).values == (1.0,)


def cell(losses: list[float | None]) -> CellOptimum:
    points = tuple(
        RatePoint(2.0**k, loss, loss, loss, int(loss is not None), 0) for k, loss in enumerate(losses)
    )
    return CellOptimum("p", 64, CellStatus.UNRESOLVED, points, None, None, None, None, None, None)


def test_valley_is_not_squashed_by_a_wall() -> None:
    valley = find_valley((cell([3.2, 3.0, 3.1, 9000.0]),))
    assert valley is not None
    # excess over the minimum is 0.2, 0.1 and 8997: the median, 0.2, thrice
    assert (valley.bottom, valley.cap, valley.hidden) == (3.0, pytest.approx(3.6), 1)


def test_valley_shows_every_minimum_and_needs_a_loss() -> None:
    valley = find_valley((cell([3.0, 3.1]), cell([8.0, 8.2])))
    assert valley is not None
    assert valley.cap >= 8.2
    assert valley.hidden == 0
    assert find_valley((cell([None, None]),)) is None
