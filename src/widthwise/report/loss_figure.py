"""Loss against learning rate: one panel per prescription, one line per width, the optimum on each."""

import math

import altair as alt

from widthwise.analysis.result import CellStatus
from widthwise.report.equal_span import RateAxis, frame_layer, rate_axis, stretched, thickness
from widthwise.report.figure import ROWS, Figure, Row, in_panels, of_kind, tips, zoom
from widthwise.report.loss_rows import loss_rows
from widthwise.report.numbers import plural, significant
from widthwise.report.page_data import PageData
from widthwise.report.strip import STRIP_ROW, STRIP_TOP
from widthwise.report.ticks import all_dyadic, round_ticks
from widthwise.report.valley import Valley, find_valley
from widthwise.report.words import level_text

_HEIGHT = 230  # of the valley; the strip comes on top
_MARGIN = 0.4  # octaves beside the rates
_MARK = 0.25  # octaves to each side of a mark, which is cut otherwise
_BESIDE = 1.6  # the same where each panel has an axis of its own
_SPANS = "Each panel has rates of its own on its axis, and all span as many octaves; runs further out are not drawn."
_NAMED = "widths_shown"  # the page's script sets it to the widths that are chosen
_X_TITLE, _Y_TITLE = "base learning rate", "final loss, mean over seeds"
_SHAPES = {
    CellStatus.BRACKETED.value: "diamond",
    CellStatus.EDGE_LOW.value: "triangle-left",
    CellStatus.EDGE_HIGH.value: "triangle-right",
    CellStatus.UNRESOLVED.value: "square",
    "diverged": "M-.8,-.8L.8,.8M.8,-.8L-.8,.8",
    "some seeds diverged": "M-.8,-.8L.8,.8M.8,-.8L-.8,.8",
    "loss off the scale": "triangle-up",
}
_RUN_TIPS = ("prescription", "width", "learning rate", "mean loss", "seed range", "seeds")
_OPTIMUM_TIPS = ("prescription", "width", "best rate", "interval", "loss there", "status")


def loss_figure(data: PageData) -> Figure | None:
    """The figure; None where no run trained."""
    cells = tuple(cell for result in data.analysis.results for cell in result.cells)
    valley = find_valley(cells)
    if valley is None:
        return None
    widths = sorted({cell.width for cell in cells})
    rates = sorted({point.rate for cell in cells for point in cell.points})
    rows = loss_rows(data.analysis, valley, widths)
    axis, rows = _on_an_axis(rows)
    strip = STRIP_ROW * len(widths) + STRIP_TOP if any(row["kind"] == "mark" for row in rows) else 0
    layers = _layers(_x(axis, rates), _y(valley, strip), widths, strip, framed=bool(axis.frames))
    return Figure(
        name="loss-against-rate",
        title="Loss against learning rate",
        caption=(*_caption(data, valley, rows), *((_SPANS,) if axis.frames else ())),
        description=(
            f"Final loss against base learning rate for {plural(len(data.analysis.results), 'prescription')} at "
            f"widths {', '.join(map(str, widths))}; each line's optimum is marked."
        ),
        chart=stretched(in_panels(layers, len(data.analysis.results)), axis, along="x"),
        rows=rows,
        widths=len(widths),
    )


def _on_an_axis(rows: list[Row]) -> tuple[RateAxis, list[Row]]:
    """One axis of all rates, or one for each panel around the losses that it shows, and the rows that it holds."""
    closer = rate_axis(_ranges(rows, of=("point", "optimum")), margin=_BESIDE)
    if not closer.frames:
        return rate_axis(_ranges(rows, of=("line", "mark")), margin=_MARGIN), rows
    room = {"mark": _MARK}
    held = [r for r in rows if closer.holds(r["rate"], r["panel"], room=room.get(r["kind"], 0.0))]
    return closer, [closer.within(row, ("rate low", "rate high")) for row in held] + closer.rows(rows)


def _ranges(rows: list[Row], *, of: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """log2 of the lowest and highest rate of rows of these kinds, by panel."""
    rates: dict[str, list[float]] = {}
    for row in rows:
        if row["kind"] in of:
            rates.setdefault(row["panel"], []).append(math.log2(row["rate"]))
    return {panel: (min(own), max(own)) for panel, own in rates.items()}


def _x(axis: RateAxis, rates: list[float]) -> alt.X:
    ticks = axis.axis(dyadic=all_dyadic(rates), most=7)
    return alt.X("rate:Q", scale=axis.scale(), axis=ticks, title=_X_TITLE)


def _y(valley: Valley, strip: int) -> alt.Y:
    """Losses from the bottom of the valley to its cap, and over them room for the strip."""
    bottom = valley.bottom - 0.06 * (valley.cap - valley.bottom)
    share = _HEIGHT / (_HEIGHT + strip) if strip else 0.95
    ticks = round_ticks(bottom, valley.cap)
    return alt.Y(
        "loss:Q",
        scale=alt.Scale(domain=[bottom, bottom + (valley.cap - bottom) / share], nice=False, zero=False),
        axis=alt.Axis(values=list(ticks.values), labelExpr=ticks.label_expr),
        title=_Y_TITLE,
    )


def _layers(x: alt.X, y: alt.Y, widths: list[int], strip: int, *, framed: bool) -> alt.LayerChart:
    chosen = alt.selection_point(name="loss_widths", fields=["width"], bind="legend")
    named = alt.param(name=_NAMED, value=widths)
    legend = alt.Legend(
        values=alt.ExprRef(_NAMED), symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1, titleOrient="left"
    )  # fmt: skip
    colour = alt.Color("width:O", title="width", scale=alt.Scale(domain=widths), legend=legend)
    shown = alt.when(chosen).then(alt.value(1)).otherwise(alt.value(0.12))
    faint = alt.when(chosen).then(alt.value(0.2)).otherwise(alt.value(0.03))
    base = alt.Chart().encode(x=x, y=y, color=colour, opacity=shown)
    points, lines = of_kind(base, "point"), of_kind(base, "line")
    low = alt.Y("low:Q", title=_Y_TITLE)
    layers: list[alt.Chart] = [
        points.mark_area(clip=True).encode(y=low, y2="high:Q", opacity=faint),
        lines.mark_line(clip=True, strokeWidth=2),
        points.mark_circle(clip=True, size=34).encode(tooltip=tips(*_RUN_TIPS)),
        *_optima(of_kind(base, "optimum")),
    ]
    if strip:
        layers.append(alt.Chart().mark_rule(strokeDash=[2, 3]).encode(y=alt.value(strip)))
        layers.append(_marks(of_kind(base, "mark")))
    if framed:
        layers.append(frame_layer(x))
    chart = alt.LayerChart(data=ROWS, layer=layers, height=_HEIGHT + strip)
    return chart.add_params(named, chosen, zoom("loss_zoom", along=("y",) if framed else ("x", "y")))


def _optima(optima: alt.Chart) -> list[alt.Chart]:
    """The interval of each optimum, the fitted optima filled, the cells without one hollow."""
    low = alt.X("rate low:Q", title=_X_TITLE)
    seen = optima.encode(shape=_shape(), tooltip=tips(*_OPTIMUM_TIPS))
    return [
        optima.mark_rule(clip=True).encode(x=low, x2="rate high:Q", strokeWidth=thickness(3)),
        _where(seen, fitted=True).mark_point(clip=True, size=130, filled=True),
        _where(seen, fitted=False).mark_point(clip=True, size=130, strokeWidth=2, filled=False),
    ]


def _where(optima: alt.Chart, *, fitted: bool) -> alt.Chart:
    return optima.transform_filter(alt.FieldEqualPredicate(field="fitted", equal=fitted))


def _marks(marks: alt.Chart) -> alt.Chart:
    return marks.mark_point(size=48, strokeWidth=1.8, filled=False).encode(
        y=alt.Y("pixel:Q", scale=None), shape=_shape(), tooltip=tips(*_RUN_TIPS, "mark")
    )


def _shape() -> alt.Shape:
    scale = alt.Scale(domain=list(_SHAPES), range=list(_SHAPES.values()))
    return alt.Shape("mark:N", legend=None, scale=scale)


def _caption(data: PageData, valley: Valley, rows: list[Row]) -> tuple[str, ...]:
    marks = {row["mark"] for row in rows if row["kind"] in ("mark", "optimum")}
    lines = ["Points are means over seeds, the band is their range."]
    if CellStatus.BRACKETED in marks:
        level = level_text(data.analysis.level)
        bar = f", the bar its {level} interval" if data.analysis.noises else ""
        lines.append(f"A diamond is the fitted optimum{bar}.")
    if marks & {CellStatus.EDGE_LOW, CellStatus.EDGE_HIGH}:
        lines.append(
            "A hollow triangle pointing sideways is a width that is best at the last rate that trained."
        )
    if CellStatus.UNRESOLVED in marks:
        lines.append("A hollow square is the lowest mean where the fit has no minimum.")
    if marks & {"diverged", "some seeds diverged"}:
        lines.append("Crosses over the dotted line: seeds diverged, which have no loss.")
    if valley.hidden:
        hidden = f"{valley.hidden} {'mean' if valley.hidden == 1 else 'means'}"
        lines.append(
            f"Triangles over the dotted line: {hidden} above {significant(valley.cap)}, off the scale."
        )
    return tuple(lines)
