"""Best learning rate against width on log-log axes: the measured optima, the fitted line, theory's slopes."""

import math

import altair as alt

from widthwise.analysis.result import CellStatus
from widthwise.report.equal_span import RateAxis, frame_layer, rate_axis, stretched, thickness
from widthwise.report.figure import ROWS, Figure, Row, in_panels, of_kind, tips, zoom
from widthwise.report.numbers import plural
from widthwise.report.optimum_rows import MEASURED, optimum_rows
from widthwise.report.page_data import PageData
from widthwise.report.palette import MEASURED as BLUE
from widthwise.report.palette import THEORY
from widthwise.report.ticks import Ticks, all_dyadic
from widthwise.report.words import level_text

_HEIGHT = 250
_Y_TITLE = "best base learning rate"
_LEFT, _RIGHT, _RIGHT_OF_NARROW = (
    0.12,
    0.2,
    0.32,
)  # room beside the widths, as shares of their span; theory's exponents stand to the right
_REACH = 2.0  # octaves that an interval may add to the axis; the rest of a wider one is cut off
_MARGIN = 0.4  # octaves
_EXTENT = 34  # pixels
_ENDS = ("inner low", "inner high", "outer low", "outer high", "low", "high")
_SPANS = "Each panel has rates of its own on its axis, and all span as many octaves, so that slopes compare."
_TIPS = ("prescription", "width", "best rate", "interval", "status")
_DASHES = ([7, 4], [2, 3], [9, 3, 2, 3])
_EDGE_SHAPES = {
    CellStatus.EDGE_LOW: "triangle-down",
    CellStatus.EDGE_HIGH: "triangle-up",
    CellStatus.UNRESOLVED: "square",
}


def optimum_figure(data: PageData) -> Figure | None:
    """The figure; None where no cell has a rate to show."""
    rows = optimum_rows(data)
    if not rows:
        return None
    results = data.analysis.results
    widths = sorted({cell.width for result in results for cell in result.cells})
    assumptions = list(dict.fromkeys(row["line"] for row in rows if row["kind"] == "theory"))
    axis = _axis(rows)
    layers = _layers(
        _x(widths, framed=bool(axis.frames)), _y(data, axis), assumptions, framed=bool(axis.frames)
    )
    return Figure(
        name="best-rate-against-width",
        title="Best learning rate against width",
        caption=(*_caption(data, rows), *((_SPANS,) if axis.frames else ())),
        description=(
            f"Best learning rate against width for {plural(len(results), 'prescription')}, with the fitted power law "
            "and the slopes that theory predicts."
        ),
        chart=stretched(in_panels(layers, len(results)), axis, along="y"),
        rows=[axis.within(row, _ENDS) for row in rows] + axis.rows(rows),
        widths=len(widths),
    )


def _x(widths: list[int], *, framed: bool) -> alt.X:
    span = max(math.log2(widths[-1] / widths[0]), 1.0)
    right = _RIGHT_OF_NARROW if framed else _RIGHT
    domain = [widths[0] / 2 ** (_LEFT * span), widths[-1] * 2 ** (right * span)]
    ticks = Ticks(tuple(map(float, widths)), tuple(map(str, widths)))
    return alt.X(
        "width:Q",
        scale=alt.Scale(type="log", base=2, domain=domain, nice=False),
        axis=alt.Axis(values=list(ticks.values), labelExpr=ticks.label_expr, labelOverlap="greedy"),
        title="width",
    )


def _axis(rows: list[Row]) -> RateAxis:
    panels: dict[str, list[Row]] = {}
    for row in rows:
        panels.setdefault(row["panel"], []).append(row)
    return rate_axis({panel: _range(own) for panel, own in panels.items()}, margin=_MARGIN)


def _range(rows: list[Row]) -> tuple[float, float]:
    core = [math.log2(row["rate"]) for row in rows]
    low, high = min(core), max(core)
    ends = [math.log2(row[name]) for row in rows for name in ("outer low", "outer high") if row.get(name)]
    return max(min([low, *ends]), low - _REACH), min(max([high, *ends]), high + _REACH)


def _y(data: PageData, axis: RateAxis) -> alt.Y:
    rates = [point.rate for result in data.analysis.results for cell in result.cells for point in cell.points]
    ticks = axis.axis(dyadic=all_dyadic(rates), most=9, extent=_EXTENT)
    return alt.Y("rate:Q", scale=axis.scale(), axis=ticks, title=_Y_TITLE)


def _layers(x: alt.X, y: alt.Y, assumptions: list[str], *, framed: bool) -> alt.LayerChart:
    base = alt.Chart().encode(x=x, y=y)
    fitted, theory = of_kind(base, "line"), of_kind(base, "theory")
    line, dash = _lines(assumptions)
    layers: list[alt.Chart] = [
        fitted.mark_area(clip=True, opacity=0.16, color=BLUE).encode(y=_titled("low"), y2="high:Q"),
        theory.mark_line(clip=True, strokeWidth=2).encode(color=line, strokeDash=dash),
        fitted.mark_line(clip=True, strokeWidth=2).encode(color=line, strokeDash=dash),
        theory.mark_text(align="left", dx=9, fontSize=12).encode(text="end:N", color=line),
        *_points(of_kind(base, "point")),
        _edges(of_kind(base, "edge")),
        *([frame_layer(y)] if framed else []),
    ]
    chart = alt.LayerChart(data=ROWS, layer=layers, height=_HEIGHT)
    return chart.add_params(zoom("optimum_zoom", along=("x",) if framed else ("x", "y")))


def _titled(field: str) -> alt.Y:
    return alt.Y(f"{field}:Q", title=_Y_TITLE)


def _lines(assumptions: list[str]) -> tuple[alt.Color, alt.StrokeDash]:
    """Colour and dash of the measured line and of each of theory's, in one legend."""
    domain = [MEASURED, *assumptions]
    colours = [BLUE, *(THEORY[k % len(THEORY)] for k in range(len(assumptions)))]
    dashes = [[1, 0], *(_DASHES[k % len(_DASHES)] for k in range(len(assumptions)))]
    legend = alt.Legend(title=None, symbolType="stroke", symbolStrokeWidth=2.5, symbolSize=300)
    return (
        alt.Color("line:N", scale=alt.Scale(domain=domain, range=colours), legend=legend),
        alt.StrokeDash("line:N", scale=alt.Scale(domain=domain, range=dashes), legend=legend),
    )


def _points(points: alt.Chart) -> list[alt.Chart]:
    return [
        points.mark_rule(clip=True, strokeWidth=1.2, color=BLUE).encode(
            y=_titled("outer low"), y2="outer high:Q"
        ),
        points.mark_rule(clip=True, color=BLUE).encode(
            y=_titled("inner low"), y2="inner high:Q", strokeWidth=thickness(4)
        ),
        points.mark_point(filled=True, size=60, shape="diamond", opacity=1, color=BLUE).encode(
            tooltip=tips(*_TIPS)
        ),
    ]


def _edges(edges: alt.Chart) -> alt.Chart:
    shapes = alt.Scale(domain=[status.value for status in _EDGE_SHAPES], range=list(_EDGE_SHAPES.values()))
    return edges.mark_point(size=90, strokeWidth=2, filled=False, color=THEORY[-1]).encode(
        shape=alt.Shape("status:N", scale=shapes, legend=None), tooltip=tips(*_TIPS)
    )


def _caption(data: PageData, rows: list[Row]) -> tuple[str, ...]:
    level = level_text(data.analysis.level)
    kinds = {row["kind"] for row in rows}
    lines: list[str] = []
    if "point" in kinds and not data.analysis.noises:
        lines.append("Diamonds are the fitted optima.")
    elif "point" in kinds:
        lines.append(
            f"Diamonds are the fitted optima: the thick bar is the {level} interval of the noise, the thin one adds "
            "the difference between the parabola and the cubic."
        )
    if any(row["kind"] == "line" and row["low"] is not None and row["low"] < row["high"] for row in rows):
        lines.append(f"The band is the {level} band of the fitted line.")
    if "edge" in kinds:
        lines.append(
            "Hollow grey marks are the lowest means of widths without a bracketed optimum, which the fit leaves out; a "
            "triangle points to where the optimum lies."
        )
    if "theory" in kinds:
        lines.append(
            "Theory's lines have its exponent, written at their ends, and start from the base width's optimum (the "
            "smallest bracketed width's if the base has none)."
        )
    return tuple(lines)
