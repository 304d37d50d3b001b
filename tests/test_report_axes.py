"""Axes that serve a study of optimizers far apart: rates around each panel's own, losses of the many, bars apart."""

import math
from dataclasses import replace
from typing import Any

import pytest

from test_report_example import example
from widthwise.analysis import ArmLabel
from widthwise.analysis.result import CellOptimum, PrescriptionResult
from widthwise.report import PageData
from widthwise.report.curves_figure import curves_figure
from widthwise.report.equal_span import RateAxis
from widthwise.report.figure import Figure, page_spec
from widthwise.report.loss_figure import loss_figure
from widthwise.report.notes import Note, grouped_notes
from widthwise.report.optimum_figure import optimum_figure
from widthwise.report.optimum_rows import optimum_rows
from widthwise.report.policy_figure import policy_figure
from widthwise.report.size_figure import size_figure

NEAR = example()
FAR = 20.0  # octaves


def _moved(cell: CellOptimum) -> CellOptimum:
    points = tuple(replace(point, rate=point.rate * 2**FAR) for point in cell.points)
    ends = {name: getattr(cell, name) for name in ("best", "parabola", "cubic")}
    return replace(
        cell, points=points, **{k: None if best is None else best + FAR for k, best in ends.items()}
    )


def _far(data: PageData) -> PageData:
    first, *rest = data.analysis.results
    assert first.exponent.intercept is not None
    line = replace(first.exponent, intercept=first.exponent.intercept + FAR)
    moved = replace(first, cells=tuple(map(_moved, first.cells)), exponent=line)
    return replace(data, analysis=replace(data.analysis, results=(moved, *rest)))


MAKERS = {
    "loss-against-rate": loss_figure,
    "best-rate-against-width": optimum_figure,
    "loss-against-size": size_figure,
    "loss-by-epsilon": policy_figure,
    "training-curves": curves_figure,
}


def figure(data: PageData, name: str) -> Figure:
    found = MAKERS[name](data)
    assert found is not None
    return found


@pytest.mark.parametrize(("name", "along"), [("loss-against-rate", "x"), ("best-rate-against-width", "y")])
def test_panels_far_apart_have_axes_of_their_own_of_equal_spans(name: str, along: str) -> None:
    found = figure(_far(NEAR), name)
    assert page_spec(found)["resolve"]["scale"] == {along: "independent"}
    ends: dict[str, list[float]] = {}
    for row in found.rows:
        if row["kind"] == "frame":
            ends.setdefault(row["panel"], []).append(math.log2(row["rate"]))
    assert len(ends) == 3
    spans = [high - low for low, high in ends.values()]
    assert spans == pytest.approx([spans[0]] * 3)  # slopes compare
    fields = ("rate", "rate low", "rate high", "outer low", "outer high", "low", "high")
    for row in found.rows:
        low, high = ends[row["panel"]]
        rates = [row[field] for field in fields if row.get(field) and (field[:4] == "rate" or along == "y")]
        assert all(low - 1e-9 <= math.log2(rate) <= high + 1e-9 for rate in rates)
    assert min(low for low, _ in ends.values()) + FAR / 2 < max(low for low, _ in ends.values())


@pytest.mark.parametrize("name", ["loss-against-rate", "best-rate-against-width"])
def test_panels_nearby_share_their_axis(name: str) -> None:
    found = figure(NEAR, name)
    assert "scale" not in page_spec(found).get("resolve", {})
    assert "frame" not in {row["kind"] for row in found.rows}


def test_exponents_of_lines_that_end_at_their_anchor_stand_in_one_label() -> None:
    """Only the largest width is bracketed: both of theory's lines end there."""
    first = NEAR.analysis.results[1]
    cells = tuple(replace(cell, best=None) for cell in first.cells[:-1])
    one = replace(first, cells=(*cells, first.cells[-1]))
    rows = optimum_rows(replace(NEAR, analysis=replace(NEAR.analysis, results=(one,))))
    assert [row["end"] for row in rows if row["kind"] == "theory"] == ["", "0, 1/2", "", ""]


def _domain(found: Figure) -> list[float]:
    (layer,) = page_spec(found)["spec"]["layer"]
    return layer["encoding"]["y"]["scale"]["domain"]


def test_one_run_that_begins_far_above_does_not_flatten_the_others() -> None:
    curves = NEAR.curves
    high = replace(curves[0], losses=(1e4, *curves[0].losses[1:]))
    found = figure(replace(NEAR, curves=(high, *curves[1:])), "training-curves")
    assert _domain(found)[1] < 2 * max(loss for curve in curves for loss in curve.losses)
    assert any("are cut off" in line for line in found.caption)


def _with_policies(data: PageData) -> PageData:
    """The second prescription again, under another epsilon."""
    results: list[PrescriptionResult] = list(data.analysis.results[1:2])
    results.append(replace(results[0], prescription="other"))
    labels = {
        results[0].prescription: ArmLabel("adam", "standard", "full", epsilon="constant"),
        "other": ArmLabel("adam", "standard", "full", epsilon="per-layer"),
    }
    return replace(data, analysis=replace(data.analysis, results=tuple(results)), labels=labels)


def test_epsilons_have_a_figure_of_their_own_in_which_bars_stand_apart() -> None:
    data = _with_policies(NEAR)
    assert {row["prescription"] for row in figure(data, "loss-against-size").rows} == {"standard-full"}
    rows: list[dict[str, Any]] = figure(data, "loss-by-epsilon").rows
    assert {row["prescription"] for row in rows} == {"standard-full", "other"}
    assert len({row["beside"] for row in rows}) == len(rows)


def test_notes_alike_are_one_with_the_cells_they_are_said_of() -> None:
    alike = [f"{arm}, not used: width {w}: no minimum." for arm in ("a-b", "c") for w in (64, 128)]
    few = [f"a, width {w}: a hole." for w in (64, 128)]
    notes = grouped_notes([*alike[:3], "One sentence, width unsaid.", *few, alike[3]])
    assert notes == (
        Note("Not used: no minimum.", "4 cells", "a-b (64, 128), c (64, 128)"),
        Note("One sentence, width unsaid."),
        Note(few[0]),
        Note(few[1]),
    )


def test_an_interval_wider_than_its_panel_ends_with_it_and_is_a_hair() -> None:
    axis = RateAxis(-10.0, 10.0, {"a": (-2.0, 2.0), "b": (6.0, 10.0)})
    ends = {"low": 2.0**-5, "high": 2.0**3}
    assert axis.within({"panel": "a", **ends}, ("low", "high")) == {
        "panel": "a", "low": 2.0**-2, "high": 2.0**2, "wide": True,
    }  # fmt: skip
    assert not axis.within({"panel": "a", "low": 0.5, "high": 2.0**3}, ("low", "high"))["wide"]
    assert not axis.within({"panel": "a", "low": 2.0**-5, "high": 1.0}, ("low", "high"))["wide"]
    assert not axis.within({"panel": "b"}, ("low", "high"))["wide"]
    assert RateAxis(-10.0, 10.0, {}).within(ends, ("low", "high")) == ends


def test_losses_against_size_are_those_at_the_optima() -> None:
    for result in NEAR.analysis.results:
        for cell in result.cells:
            drawn = [
                row["loss"]
                for row in figure(NEAR, "loss-against-size").rows
                if (row["prescription"], row["width"]) == (cell.prescription, cell.width)
            ]
            assert drawn == ([cell.loss] if cell.loss is not None else [])
