"""Best learning rate against width on log-log axes: the measured optima, the fitted line, theory's slopes."""

import math

import altair as alt

from widthwise.analysis.result import CellStatus
from widthwise.report.figure import Figure, Row, in_panels, zoom
from widthwise.report.numbers import plural
from widthwise.report.optimum_rows import MEASURED, optimum_rows
from widthwise.report.page_data import PageData
from widthwise.report.palette import MEASURED as BLUE
from widthwise.report.palette import THEORY
from widthwise.report.ticks import Ticks, all_dyadic, rate_ticks
from widthwise.report.words import level_text

_HEIGHT = 250
_Y_TITLE = "best base learning rate"
_REACH = 2.0  # octaves that an interval may add to the axis; the rest of a wider one is cut off
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
    return Figure(
        name="best-rate-against-width",
        title="Best learning rate against width",
        caption=_caption(data, rows),
        description=(
            f"Best learning rate against width for {plural(len(results), 'prescription')}, with the fitted power law "
            "and the slopes that theory predicts."
        ),
        chart=in_panels(_layers(rows, _x(widths), _y(data, rows), assumptions), len(results)),
        widths=len(widths),
    )


def _x(widths: list[int]) -> alt.X:
    domain = [widths[0] / 2**0.25, widths[-1] * 2**0.45]
    ticks = Ticks(tuple(map(float, widths)), tuple(map(str, widths)))
    return alt.X(
        "width:Q",
        scale=alt.Scale(type="log", base=2, domain=domain, nice=False),
        axis=alt.Axis(values=list(ticks.values), labelExpr=ticks.label_expr, labelOverlap=True),
        title="width",
    )


def _y(data: PageData, rows: list[Row]) -> alt.Y:
    core = [math.log2(row["rate"]) for row in rows]
    low, high = min(core), max(core)
    ends = [math.log2(row[name]) for row in rows for name in ("outer low", "outer high") if row.get(name)]
    low = max(min([low, *ends]), low - _REACH) - 0.4
    high = min(max([high, *ends]), high + _REACH) + 0.4
    rates = [point.rate for result in data.analysis.results for cell in result.cells for point in cell.points]
    ticks = rate_ticks(2.0**low, 2.0**high, dyadic=all_dyadic(rates))
    return alt.Y(
        "rate:Q",
        scale=alt.Scale(type="log", base=2, domain=[2.0**low, 2.0**high], nice=False),
        axis=alt.Axis(values=list(ticks.values), labelExpr=ticks.label_expr),
        title=_Y_TITLE,
    )


def _layers(rows: list[Row], x: alt.X, y: alt.Y, assumptions: list[str]) -> alt.LayerChart:
    domain = [MEASURED, *assumptions]
    colours = [BLUE, *(THEORY[k % len(THEORY)] for k in range(len(assumptions)))]
    dashes = [[1, 0], *([[7, 4], [2, 3], [9, 3, 2, 3]][k % 3] for k in range(len(assumptions)))]
    legend = alt.Legend(title=None, symbolType="stroke", symbolStrokeWidth=2.5, symbolSize=300)
    colour = alt.Color("line:N", scale=alt.Scale(domain=domain, range=colours), legend=legend)
    dash = alt.StrokeDash("line:N", scale=alt.Scale(domain=domain, range=dashes), legend=legend)
    base = alt.Chart().encode(x=x)
    kind = {name: base.transform_filter(alt.FieldEqualPredicate(field="kind", equal=name)) for name in ("point", "edge", "line", "theory")}  # fmt: skip
    tips = [alt.Tooltip(f"{name}:N") for name in ("prescription", "width", "best rate", "interval", "status")]
    band = kind["line"].mark_area(clip=True, opacity=0.16, color=BLUE).encode(y=alt.Y("low:Q", title=_Y_TITLE), y2="high:Q")
    theory = kind["theory"].mark_line(clip=True, strokeWidth=2).encode(y=y, color=colour, strokeDash=dash)
    line = kind["line"].mark_line(clip=True, strokeWidth=2).encode(y=y, color=colour, strokeDash=dash)
    ends = kind["theory"].mark_text(align="left", dx=9, fontSize=12).encode(y=y, text="end:N", color=colour)
    outer = kind["point"].mark_rule(clip=True, strokeWidth=1.2, color=BLUE).encode(y=alt.Y("outer low:Q", title=_Y_TITLE), y2="outer high:Q")
    inner = kind["point"].mark_rule(clip=True, strokeWidth=4, color=BLUE).encode(y=alt.Y("inner low:Q", title=_Y_TITLE), y2="inner high:Q")
    points = kind["point"].mark_point(filled=True, size=60, shape="diamond", opacity=1, color=BLUE).encode(y=y, tooltip=tips)
    shapes = alt.Scale(domain=[s.value for s in _EDGE_SHAPES], range=list(_EDGE_SHAPES.values()))
    edges = kind["edge"].mark_point(size=90, strokeWidth=2, filled=False, color=THEORY[-1]).encode(
        y=y, shape=alt.Shape("status:N", scale=shapes, legend=None), tooltip=tips
    )  # fmt: skip
    layers: list[alt.Chart] = [band, theory, line, ends, outer, inner, points, edges]
    return alt.layer(*layers, data=alt.Data(values=rows)).properties(height=_HEIGHT).add_params(zoom("optimum_zoom"))


def _caption(data: PageData, rows: list[Row]) -> tuple[str, ...]:
    level = level_text(data.analysis.level)
    lines: list[str] = []
    if any(row["kind"] == "point" for row in rows):
        lines.append(
            "Diamonds are the fitted optima."
            if data.analysis.noise is None
            else f"Diamonds are the fitted optima: the thick bar is the {level} interval of the noise, the thin one adds "
            "the difference between the parabola and the cubic."
        )
    if any(row["kind"] == "line" and row["low"] is not None for row in rows):
        lines.append(f"The band is the {level} band of the fitted line.")
    if any(row["kind"] == "edge" for row in rows):
        lines.append("Hollow grey marks are the lowest means of widths without a bracketed optimum, which the fit leaves out; a "
            "triangle points to where the optimum lies.")
    if any(row["kind"] == "theory" for row in rows):
        lines.append(
            "Theory's lines have its exponent, written at their ends, and start from the base width's optimum (the "
            "smallest bracketed width's if the base has none)."
        )
    return tuple(lines)
