"""The figure of exponents: what is measured, what theory says, what the paper found, a row each."""

from dataclasses import replace
from typing import Any

import pytest

from test_report_example import example
from widthwise.analysis import ArmLabel, Interval
from widthwise.report import PageData
from widthwise.report.exponent_figure import exponent_figure
from widthwise.report.figure import page_spec

EXAMPLE = example(curves=False)


def rows(data: PageData, kind: str) -> list[dict[str, Any]]:
    found = exponent_figure(data)
    assert found is not None
    return [row for row in found.rows if row["kind"] == kind]


def with_results(data: PageData, *results: Any) -> PageData:
    return replace(data, analysis=replace(data.analysis, results=results))


def test_each_measured_exponent_has_theory_beside_it() -> None:
    fits = {result.prescription: result.exponent for result in EXAMPLE.analysis.results}
    for row in rows(EXAMPLE, "measured"):
        fit = fits[row["prescription"]]
        assert fit.total is not None
        assert fit.statistical is not None
        assert row["exponent"] == fit.exponent
        assert (row["outer low"], row["outer high"]) == (fit.total.low, fit.total.high)
        assert (row["inner low"], row["inner high"]) == (fit.statistical.low, fit.statistical.high)
    theory = {(row["prescription"], row["of"]): row["exponent"] for row in rows(EXAMPLE, "theory")}
    assert theory["standard-global", "theory, full alignment"] == -1.0
    assert theory["standard-global", "theory, no alignment"] == -0.5


def test_the_papers_fits_stand_beside_the_setting_they_are_of() -> None:
    labels = {
        "standard-global": ArmLabel("standard", "adam", "global"),
        "standard-full": ArmLabel("standard", "adam", "full"),
        "mup-full": ArmLabel("mup", "sgd", "global"),
    }
    found = rows(replace(EXAMPLE, labels=labels), "paper")
    assert [(row["prescription"], row["exponent"]) for row in found] == [
        ("standard-global", -0.94),
        ("standard-global", -0.95),
    ]
    assert not rows(EXAMPLE, "paper")


def test_an_absurd_interval_does_not_stretch_the_axis() -> None:
    first, *rest = EXAMPLE.analysis.results
    assert first.exponent.exponent is not None
    wide = Interval(first.exponent.exponent, -50.0, 50.0)
    figure = exponent_figure(
        with_results(EXAMPLE, replace(first, exponent=replace(first.exponent, total=wide)), *rest)
    )
    assert figure is not None
    layer = page_spec(figure)["layer"][0]
    low, high = layer["encoding"]["x"]["scale"]["domain"]
    # The drawn exponents lie between -1.764 and 1/2: 0.6 beyond either, and the margin of 0.05.
    assert (low, high) == (pytest.approx(-1.764 - 0.65), pytest.approx(0.5 + 0.65))
    assert layer["mark"]["clip"] is True


def test_one_seed_has_no_bars_and_one_width_no_row() -> None:
    first, second, *_ = EXAMPLE.analysis.results
    bare = replace(first, exponent=replace(first.exponent, statistical=None, total=None))
    none = replace(second, exponent=replace(second.exponent, exponent=None))
    found = exponent_figure(with_results(EXAMPLE, bare, none))
    assert found is not None
    (row,) = (row for row in found.rows if row["kind"] == "measured")
    assert (row["prescription"], row["outer low"], row["inner high"]) == (first.prescription, None, None)
    assert "thick bar" not in " ".join(found.caption)
    assert exponent_figure(with_results(EXAMPLE, none)) is None


@pytest.mark.parametrize("names", [(), ("standard-global",)])
def test_without_theory_there_is_no_figure(names: tuple[str, ...]) -> None:
    kept = {name: EXAMPLE.predictions[name] for name in names}
    found = exponent_figure(replace(EXAMPLE, predictions=kept))
    assert (found is None) is (not names)
