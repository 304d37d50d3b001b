"""Every figure's specification holds the rows it should, and one-line facts a reader relies on."""

import dataclasses
import json
import math
from typing import Any

import pytest

from test_report_example import RATES, WIDTHS, example
from widthwise.analysis.result import CellStatus, RatePoint, Regret
from widthwise.report import PageData, make_figures
from widthwise.report.figure import Figure, bare_spec, page_spec, static_spec
from widthwise.report.loss_rows import loss_rows
from widthwise.report.palette import width_colours
from widthwise.report.valley import Valley

EXAMPLE = example()


def figures(data: PageData) -> dict[str, Figure]:
    return {figure.name: figure for figure in make_figures(data)}


def rows(figure: Figure) -> list[dict[str, Any]]:
    return page_spec(figure)["datasets"]["rows"]


FIGURES = figures(EXAMPLE)
LOSSES = rows(FIGURES["loss-against-rate"])
OPTIMA = rows(FIGURES["best-rate-against-width"])


def test_names_and_order() -> None:
    names = [
        "loss-given-up",
        "exponents",
        "loss-against-rate",
        "best-rate-against-width",
        "loss-against-size",
        "training-curves",
    ]
    assert list(FIGURES) == names
    assert list(figures(example(curves=False))) == names[:5]


def test_every_run_is_drawn_or_marked() -> None:
    drawn = {(r["prescription"], r["width"], r["rate"]) for r in LOSSES if r["kind"] == "point"}
    marked = {(r["prescription"], r["width"], r["rate"]) for r in LOSSES if r["kind"] == "mark"}
    assert drawn | marked == {
        (name, w, rate) for name in EXAMPLE.predictions for w in WIDTHS for rate in RATES
    }


def test_diverged_rates_are_marked_and_break_the_line() -> None:
    for result in EXAMPLE.analysis.results:
        for cell in result.cells:
            lost = {point.rate for point in cell.points if point.loss is None}
            mine = [r for r in LOSSES if (r["prescription"], r["width"]) == (cell.prescription, cell.width)]
            assert {r["rate"] for r in mine if r.get("mark") == "diverged"} == lost
            assert all(r["loss"] is None for r in mine if r["kind"] == "line" and r["rate"] in lost)


def test_no_line_or_point_leaves_the_scale() -> None:
    layers = page_spec(FIGURES["loss-against-rate"])["spec"]["layer"]
    low, high = next(layer for layer in layers if layer["mark"]["type"] == "line")["encoding"]["y"]["scale"][
        "domain"
    ]
    drawn = [r["loss"] for r in LOSSES if r["kind"] in ("line", "point") and r["loss"] is not None]
    every = [
        p.loss for r in EXAMPLE.analysis.results for c in r.cells for p in c.points if p.loss is not None
    ]
    assert low < min(drawn)
    assert max(drawn) < high < max(every)
    assert "11 means above 3.73, off the scale" in " ".join(FIGURES["loss-against-rate"].caption)


def test_a_line_ends_where_it_crosses_the_cap() -> None:
    points = tuple(RatePoint(2.0**k, loss, loss, loss, 1, 0) for k, loss in enumerate((3.0, 4.0, 8.0)))
    cell = dataclasses.replace(EXAMPLE.analysis.results[0].cells[0], points=points)
    result = dataclasses.replace(EXAMPLE.analysis.results[0], cells=(cell,))
    analysis = dataclasses.replace(EXAMPLE.analysis, results=(result,))
    found = [r for r in loss_rows(analysis, Valley(3.0, 5.0, 1), [32]) if r["kind"] == "line"]
    # from 4 to 8 the cap of 5 is reached after a quarter of the octave
    assert [(r["rate"], r["loss"]) for r in found] == [
        (1.0, 3.0),
        (2.0, 4.0),
        (pytest.approx(2**1.25), 5.0),
        (4.0, None),
    ]


def test_optima_and_edges() -> None:
    optima = {(r["prescription"], r["width"]): r for r in LOSSES if r["kind"] == "optimum"}
    assert len(optima) == 9
    edge = optima["standard-global", 128]
    assert (edge["status"], edge["rate"], edge["fitted"], edge["interval"]) == (
        CellStatus.EDGE_LOW.value, RATES[0], False, "—",
    )  # fmt: skip
    fitted = optima["mup-full", 32]
    assert math.log2(fitted["rate"]) == pytest.approx(-7.6)
    assert fitted["rate"] / fitted["rate low"] == pytest.approx(fitted["rate high"] / fitted["rate"])
    assert math.log2(fitted["rate high"] / fitted["rate"]) == pytest.approx(2.306 * 0.085 + 0.045, rel=1e-3)


def test_theory_starts_at_the_base_optimum_with_its_slope() -> None:
    line = [r for r in OPTIMA if r["kind"] == "theory" and r["line"].endswith("no alignment")]
    mine = sorted((r["width"], math.log2(r["rate"])) for r in line if r["prescription"] == "standard-global")
    assert mine == [(32, pytest.approx(-8.0)), (128, pytest.approx(-8.0 - 0.5 * 2))]
    assert [r["end"] for r in line if r["prescription"] == "standard-global"] == ["", "−1/2"]


def test_fitted_line_spans_its_widths_only() -> None:
    widths = [r["width"] for r in OPTIMA if r["kind"] == "line" and r["prescription"] == "standard-global"]
    assert (min(widths), max(widths)) == (pytest.approx(32), pytest.approx(64))
    assert [r["width"] for r in OPTIMA if r["kind"] == "edge"] == [128]


def test_loss_given_up_is_cut_only_where_it_is_unbounded() -> None:
    spread = {r["prescription"]: r for r in rows(FIGURES["loss-given-up"])}
    assert {name for name, row in spread.items() if row["cut"]} == {"standard-global"}
    assert (spread["mup-full"]["estimate"], spread["mup-full"]["high"]) == (0.0012, 0.0043)
    assert "arrowhead" in " ".join(FIGURES["loss-given-up"].caption)


def test_loss_given_up_that_is_unknown_is_not_a_zero() -> None:
    first, second, _ = EXAMPLE.analysis.results
    unknown = dataclasses.replace(first, regret=Regret(32, 128, None, None))
    both = dataclasses.replace(
        EXAMPLE, analysis=dataclasses.replace(EXAMPLE.analysis, results=(unknown, second))
    )
    row, _ = rows(figures(both)["loss-given-up"])
    assert (row["estimate"], row["low"], row["high"], row["value"]) == (None, None, None, "— not determined")
    alone = dataclasses.replace(EXAMPLE, analysis=dataclasses.replace(EXAMPLE.analysis, results=(unknown,)))
    assert "loss-given-up" not in figures(alone)


def test_curves_stay_light() -> None:
    curve = EXAMPLE.curves[0]
    many = tuple(dataclasses.replace(curve, seed=k) for k in range(1000))
    figure = figures(dataclasses.replace(EXAMPLE, curves=many))["training-curves"]
    assert len(rows(figure)) <= 300
    assert all(len(row["step"]) == len(row["loss"]) <= 100 for row in rows(figure))
    assert rows(figure)[0]["step"][0] == curve.steps[0]
    assert rows(figure)[0]["step"][-1] == curve.steps[-1]
    assert "of 1000 runs are drawn" in " ".join(figure.caption)


def test_a_curve_that_overflows_is_cut_there() -> None:
    curve = dataclasses.replace(EXAMPLE.curves[0], steps=(0, 1, 2), losses=(5.0, 6.0, math.nan))
    figure = figures(dataclasses.replace(EXAMPLE, curves=(curve,)))["training-curves"]
    assert rows(figure)[0]["loss"] == [5.0, 6.0]


def test_nothing_trained_leaves_no_figure_of_losses() -> None:
    analysis = dataclasses.replace(EXAMPLE.analysis, results=())
    assert make_figures(dataclasses.replace(EXAMPLE, analysis=analysis, curves=())) == ()


@pytest.mark.parametrize("name", list(FIGURES))
def test_specifications_are_plain_json_and_equal_for_equal_data(name: str) -> None:
    spec = static_spec(FIGURES[name])
    text = json.dumps(spec, allow_nan=False)
    assert text == json.dumps(static_spec(figures(example())[name]), allow_nan=False)
    assert spec["description"] == FIGURES[name].description
    assert not set("⁻⁸") & set(spec["title"]["subtitle"][0])


def luminance(colour: str) -> float:
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_width_colours_are_distinct_and_ordered_in_grey(count: int) -> None:
    for dark in (False, True):
        greys = [luminance(colour) for colour in width_colours(count, dark=dark)]
        assert greys == sorted(greys, reverse=not dark)
        assert len(set(greys)) == count
        background = luminance("#1a1e25") if dark else 1.0
        # 2.4 for the lightest of the widths; WCAG asks 3 of a mark that stands alone, and these carry a legend
        contrasts = [(max(g, background) + 0.05) / (min(g, background) + 0.05) for g in greys]
        assert min(contrasts) > 2.4


def test_a_widths_colour_is_of_its_place_among_all_widths() -> None:
    """Whatever rows the page keeps: the scale knows every width, and the legend's are for the page to choose."""
    spec = bare_spec(FIGURES["loss-against-rate"])
    assert {"name": "widths_shown", "value": list(WIDTHS)} in spec["params"]
    colours = [
        layer["encoding"]["color"] for layer in spec["spec"]["layer"] if "color" in layer.get("encoding", {})
    ]
    assert len(colours) >= 5
    for colour in colours:
        assert colour["scale"] == {"domain": list(WIDTHS)}
        assert colour["legend"]["values"] == {"expr": "widths_shown"}
