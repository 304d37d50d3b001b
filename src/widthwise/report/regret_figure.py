"""The loss given up per prescription by keeping the base width's best rate, against the margin."""

import math

import altair as alt

from widthwise.analysis.result import TransferResult, Verdict
from widthwise.report.figure import ROWS, Figure, Row, tips
from widthwise.report.numbers import MISSING, excess_with_range, plural, short_percent
from widthwise.report.page_data import PageData
from widthwise.report.palette import VERDICT_COLOURS
from widthwise.report.words import level_text

_ROW = 60
_LADDER = (0, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100)
_REACH = 20  # an interval may stretch the axis to this many times the largest estimate


def regret_figure(data: PageData) -> Figure | None:
    """The figure; None where no loss given up is known."""
    analysis = data.analysis
    if all(result.regret.loss is None for result in analysis.results):
        return None
    top = _top(analysis)
    rows = _rows(analysis, top)
    values = "; ".join(f"{row['prescription']} {row['verdict']}, {row['value']}" for row in rows)
    return Figure(
        name="loss-given-up",
        title="Loss given up at the largest width",
        caption=_caption(analysis, rows),
        description=(
            f"Relative loss given up for {plural(len(rows), 'prescription')} against the margin of "
            f"{short_percent(analysis.margin)}: {values}."
        ),
        chart=_chart(rows, analysis.margin, top),
        rows=rows,
        widths=1,
    )


def _top(analysis: TransferResult) -> float:
    """The end of the axis: every estimate, and every bound that is not absurdly far away."""
    losses = [result.regret.loss for result in analysis.results if result.regret.loss is not None]
    estimates = [loss.estimate for loss in losses if math.isfinite(loss.estimate)]
    far = _REACH * max([analysis.margin, *estimates])
    ends = [*estimates, *(loss.high for loss in losses if loss.high <= far)]
    return max([2 * analysis.margin, *(1.15 * end for end in ends)])


def _rows(analysis: TransferResult, top: float) -> list[Row]:
    rows: list[Row] = []
    for order, result in enumerate(analysis.results):
        loss = result.regret.loss
        value = excess_with_range(loss) if loss is not None else f"{MISSING} not determined"
        row: Row = {
            "prescription": result.prescription, "order": order, "verdict": result.verdict.value,
            "label": f"{result.prescription}\n{result.verdict.value}\n{value}", "value": value, "reason": result.reason,
            "estimate": None, "low": None, "high": None, "cut": False, "end": top,
        }  # fmt: skip
        if loss is not None:
            row["estimate"] = loss.estimate if loss.estimate <= top else None
            row["low"], row["high"] = min(max(loss.low, 0.0), top), min(loss.high, top)
            row["cut"] = loss.high > top
        rows.append(row)
    return rows


def _chart(rows: list[Row], margin: float, top: float) -> alt.LayerChart:
    layers = [*_margin(margin, top), *_bars(rows, margin, top)]
    return alt.LayerChart(data=ROWS, layer=layers, width=640, height=_ROW * len(rows))


def _x(field: str, margin: float, top: float) -> alt.X:
    ticks = [step for step in _LADDER if step <= top and (step == 0 or step > margin / 5)]
    return alt.X(
        f"{field}:Q",
        title="loss given up",
        scale=alt.Scale(type="symlog", constant=margin, domain=[0, top], nice=False),
        axis=alt.Axis(
            values=ticks, labelExpr="format(datum.value * 100, '~g') + ' %'", labelOverlap="greedy"
        ),
    )


def _margin(margin: float, top: float) -> list[alt.Chart]:
    """The range that counts as transfer, and its end."""
    span = alt.Chart(alt.Data(values=[{"from": 0, "margin": margin}]))
    return [
        span.mark_rect(opacity=0.1, color=VERDICT_COLOURS[Verdict.TRANSFERS]).encode(
            x=_x("from", margin, top), x2="margin:Q"
        ),
        span.mark_rule(strokeDash=[5, 4], strokeWidth=1.6).encode(x=_x("margin", margin, top)),
    ]


def _bars(rows: list[Row], margin: float, top: float) -> list[alt.Chart]:
    lines = alt.Axis(
        labelExpr="split(datum.label, '\\n')", labelFontSize=12.5, labelLineHeight=15, labelPadding=10,
        labelBaseline="middle", labelOffset=-15, ticks=False, domain=False,
    )  # fmt: skip
    shown = [verdict for verdict in Verdict if any(row["verdict"] == verdict for row in rows)]
    colours = alt.Scale(domain=[v.value for v in shown], range=[VERDICT_COLOURS[v] for v in shown])
    base = alt.Chart().encode(
        y=alt.Y("label:N", sort=alt.EncodingSortField("order", op="min"), title=None, axis=lines),
        color=alt.Color("verdict:N", scale=colours, legend=None),
        tooltip=tips("prescription", "verdict", "value", "reason"),
    )
    cut = base.transform_filter(alt.FieldEqualPredicate(field="cut", equal=True))
    return [
        base.mark_rule(strokeWidth=4).encode(x=_x("low", margin, top), x2="high:Q"),
        base.mark_circle(size=130, opacity=1).encode(x=_x("estimate", margin, top)),
        cut.mark_point(shape="triangle-right", filled=True, size=120, opacity=1, xOffset=-4).encode(
            x=_x("end", margin, top)
        ),
    ]


def _caption(analysis: TransferResult, rows: list[Row]) -> tuple[str, ...]:
    spans = sorted({(result.regret.base_width, result.regret.largest_width) for result in analysis.results})
    widths = ", ".join(f"{base} to {largest}" for base, largest in spans)
    lines = [
        f"What keeping the base width's best rate costs at the largest width (width {widths}), with its "
        f"{level_text(analysis.level)} interval.",
        f"The dashed line is the margin of {short_percent(analysis.margin)}: a prescription transfers if its "
        "interval lies to the left of it.",
        "The axis is close to linear below the margin and logarithmic above.",
    ]
    if any(row["cut"] for row in rows):
        lines.append("An arrowhead marks an interval that goes on beyond the axis.")
    return tuple(lines)
