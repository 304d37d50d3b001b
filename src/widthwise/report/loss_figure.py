"""Loss against learning rate: one panel per prescription, one line per width, the optimum on each."""

import altair as alt

from widthwise.analysis.result import CellStatus
from widthwise.report.figure import Figure, Row, in_panels, zoom
from widthwise.report.loss_rows import loss_rows
from widthwise.report.numbers import loss_text, plural
from widthwise.report.page_data import PageData
from widthwise.report.strip import STRIP_ROW, STRIP_TOP
from widthwise.report.ticks import Ticks, all_dyadic, rate_ticks, round_ticks
from widthwise.report.valley import Valley, find_valley
from widthwise.report.words import level_text

_HEIGHT = 270
_X_TITLE, _Y_TITLE = "base learning rate", "final loss, mean over seeds"
CROSS = "M-.6,-.6L.6,.6M.6,-.6L-.6,.6"
STATUS_SHAPES = {
    CellStatus.BRACKETED: "diamond",
    CellStatus.EDGE_LOW: "triangle-left",
    CellStatus.EDGE_HIGH: "triangle-right",
    CellStatus.UNRESOLVED: "square",
}


def loss_figure(data: PageData) -> Figure | None:
    """The figure; None where no run trained."""
    cells = tuple(cell for result in data.analysis.results for cell in result.cells)
    valley = find_valley(cells)
    if valley is None:
        return None
    widths = sorted({cell.width for cell in cells})
    rates = sorted({point.rate for cell in cells for point in cell.points})
    rows = loss_rows(data.analysis, valley, widths)
    ticks = rate_ticks(rates[0], rates[-1], dyadic=all_dyadic(rates), most=7)
    strip = STRIP_ROW * len(widths) + STRIP_TOP if any(row["kind"] == "mark" for row in rows) else 0
    layers = _layers(rows, _x(rates, ticks), _y(valley, strip), widths, strip)
    return Figure(
        name="loss-against-rate",
        title="Loss against learning rate",
        caption=_caption(data, valley, rows),
        description=(
            f"Final loss against base learning rate for {plural(len(data.analysis.results), 'prescription')} at "
            f"widths {', '.join(map(str, widths))}; each line's optimum is marked."
        ),
        chart=in_panels(layers, len(data.analysis.results)),
        widths=len(widths),
    )


def _x(rates: list[float], ticks: Ticks) -> alt.X:
    domain = [rates[0] / 2**0.4, rates[-1] * 2**0.4]
    return alt.X(
        "rate:Q",
        scale=alt.Scale(type="log", base=2, domain=domain, nice=False),
        axis=alt.Axis(values=list(ticks.values), labelExpr=ticks.label_expr, labelOverlap=True),
        title=_X_TITLE,
    )


def _y(valley: Valley, strip: int) -> alt.Y:
    span = valley.cap - valley.bottom
    bottom = valley.bottom - 0.06 * span
    top = bottom + (valley.cap - bottom) * _HEIGHT / (_HEIGHT - strip) if strip else valley.cap + 0.06 * span
    return alt.Y(
        "loss:Q",
        scale=alt.Scale(domain=[bottom, top], nice=False, zero=False),
        axis=alt.Axis(values=list(round_ticks(bottom, valley.cap))),
        title=_Y_TITLE,
    )


def _layers(rows: list[Row], x: alt.X, y: alt.Y, widths: list[int], strip: int) -> alt.LayerChart:
    chosen = alt.selection_point(name="loss_widths", fields=["width"], bind="legend")
    colour = alt.Color(
        "width:O", title="width", sort=list(widths), legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=3)
    )
    shown = alt.when(chosen).then(alt.value(1)).otherwise(alt.value(0.12))
    point_tips = [alt.Tooltip(f"{name}:N") for name in ("prescription", "width", "learning rate", "mean loss")]
    point_tips += [alt.Tooltip(f"{name}:N") for name in ("seed range", "seeds")]
    base = alt.Chart(alt.Data(values=rows)).encode(x=x, color=colour)
    points = base.transform_filter(alt.FieldEqualPredicate(field="kind", equal="point"))
    band = points.mark_area(clip=True, opacity=0.18, line=False).encode(
        y=alt.Y("low:Q", title=_Y_TITLE), y2="high:Q", opacity=alt.when(chosen).then(alt.value(0.2)).otherwise(alt.value(0.03))
    )  # fmt: skip
    line = points.mark_line(clip=True, strokeWidth=2).encode(y=y, opacity=shown)
    dots = points.mark_circle(clip=True, size=34).encode(y=y, opacity=shown, tooltip=point_tips)
    marks = (
        base.transform_filter(alt.FieldEqualPredicate(field="kind", equal="mark"))
        .mark_point(size=42, strokeWidth=1.8, filled=False)
        .encode(
            y=alt.Y("pixel:Q", scale=None),
            shape=alt.Shape("mark:N", legend=None, scale=_mark_scale()),
            opacity=shown,
            tooltip=[*point_tips, alt.Tooltip("mark:N")],
        )
    )
    optimum = base.transform_filter(alt.FieldEqualPredicate(field="kind", equal="optimum"))
    bar = optimum.mark_rule(clip=True, strokeWidth=3.5).encode(x=alt.X("rate low:Q", title=_X_TITLE), x2="rate high:Q", y=y, opacity=shown)  # fmt: skip
    best = optimum.mark_point(clip=True, size=130, strokeWidth=2, filled=False).encode(
        y=y,
        shape=alt.Shape("mark:N", legend=None, scale=_mark_scale()),
        opacity=shown,
        fill=alt.when(alt.FieldEqualPredicate(field="mark", equal=CellStatus.BRACKETED.value))
        .then(colour)
        .otherwise(alt.value("transparent")),
        tooltip=[
            alt.Tooltip(f"{name}:N")
            for name in ("prescription", "width", "best rate", "interval", "loss there", "status")
        ],
    )
    layers: list[alt.Chart] = [band, line, dots, bar, best]
    if strip:
        ceiling = alt.Chart().mark_rule(strokeDash=[2, 3], strokeWidth=1).encode(y=alt.value(strip))
        layers = [ceiling, *layers, marks]
    return alt.layer(*layers, data=alt.Data(values=rows)).properties(height=_HEIGHT).add_params(chosen, zoom("loss_zoom"))


def _mark_scale() -> alt.Scale:
    shapes = {status.value: shape for status, shape in STATUS_SHAPES.items()}
    shapes |= {"diverged": CROSS, "some seeds diverged": CROSS, "loss off the scale": "triangle-up"}
    return alt.Scale(domain=list(shapes), range=list(shapes.values()))


def _caption(data: PageData, valley: Valley, rows: list[Row]) -> tuple[str, ...]:
    marks = {row["mark"] for row in rows if row["kind"] in ("mark", "optimum")}
    lines = ["Points are means over seeds, the band their range."]
    if CellStatus.BRACKETED in marks:
        lines.append(f"◆ fitted optimum with its {level_text(data.analysis.level)} interval.")
    if marks & {CellStatus.EDGE_LOW, CellStatus.EDGE_HIGH}:
        lines.append("◁ ▷ best at the lowest or highest rate that trained: no optimum is fitted.")
    if CellStatus.UNRESOLVED in marks:
        lines.append("□ lowest mean where the fit has no minimum.")
    if marks & {"diverged", "some seeds diverged"}:
        lines.append("× in the strip at the top: a seed diverged and has no loss.")
    if valley.hidden:
        lines.append(
            f"△ in the strip: {plural(valley.hidden, 'mean')} above {loss_text(valley.cap)}, off the scale; "
            "the lines leave the panel there."
        )
    return tuple(lines)
