"""The loss given up per prescription by keeping the base width's best rate, against the margin."""

import math

import altair as alt

from widthwise.analysis.result import PrescriptionResult, Verdict
from widthwise.report.figure import Figure, Row
from widthwise.report.numbers import percent, percent_range, plural
from widthwise.report.page_data import PageData
from widthwise.report.palette import VERDICT_COLOURS
from widthwise.report.words import VERDICT_SIGNS, level_text

_ROW = 46
_LADDER = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000)


def regret_figure(data: PageData) -> Figure | None:
    """The figure; None where nothing was judged."""
    analysis = data.analysis
    if not analysis.results:
        return None
    top = _top([result for result in analysis.results], analysis.margin)
    rows = [_row(result, order, top) for order, result in enumerate(analysis.results)]
    pairs = sorted({(r.regret.base_width, r.regret.largest_width) for r in analysis.results})
    spans = ", ".join(f"{base} to {largest}" for base, largest in pairs)
    caption = [
        f"Loss given up at the largest width by keeping the base width's best rate (width {spans}), with its "
        f"{level_text(analysis.level)} interval; the dashed line is the margin of {percent(analysis.margin)}.",
        "The axis is linear up to the margin and logarithmic beyond.",
    ]
    if any(row["cut"] for row in rows):
        caption.append("▷ the interval goes on beyond the axis.")
    return Figure(
        name="loss-given-up",
        title="Loss given up at the largest width",
        caption=tuple(caption),
        description=(
            f"Relative loss given up for {plural(len(rows), 'prescription')} against the margin of "
            f"{percent(analysis.margin)}: " + "; ".join(f"{row['prescription']}: {row['label']}" for row in rows)
        ),
        chart=_chart(rows, analysis.margin, top),
        widths=1,
    )


def _top(results: list[PrescriptionResult], margin: float) -> float:
    losses = [result.regret.loss for result in results if result.regret.loss is not None]
    ends = [value for loss in losses for value in (loss.estimate, loss.high) if math.isfinite(value)]
    estimates = [loss.estimate for loss in losses if math.isfinite(loss.estimate)]
    return max([2 * margin, *(1.3 * value for value in ends if value <= 20 * max([margin, *estimates]))])


def _row(result: PrescriptionResult, order: int, top: float) -> Row:
    loss, verdict = result.regret.loss, result.verdict
    row: Row = {
        "prescription": result.prescription, "order": order, "verdict": verdict.value, "reason": result.reason,
        "estimate": None, "low": None, "high": None, "cut": False,
    }  # fmt: skip
    sign = f"{VERDICT_SIGNS[verdict]} {verdict.value}"
    if loss is None:
        return row | {"label": f"{sign} · not determined"}
    return row | {
        "label": f"{sign} · {percent(loss.estimate)} ({percent_range(loss)})",
        "estimate": loss.estimate if loss.estimate <= top else None,
        "low": max(loss.low, 0.0),
        "high": min(loss.high, top),
        "cut": loss.high > top,
        "edge": top,
    }


def _chart(rows: list[Row], margin: float, top: float) -> alt.LayerChart:
    ladder = [step / 100 for step in _LADDER]
    ticks = [0.0, *(step for step in ladder if margin / 5 < step <= top)]
    labels = alt.Axis(values=ticks, labelExpr="format(datum.value * 100, '~g') + ' %'", labelOverlap=True)
    scale = alt.Scale(type="symlog", constant=margin, domain=[0, top], nice=False)
    x = alt.X("low:Q", scale=scale, axis=labels, title="loss given up, relative")
    y = alt.Y(
        "prescription:N", sort=alt.EncodingSortField("order", op="min"), title=None,
        axis=alt.Axis(labelFontSize=13, labelFontWeight=600, labelLimit=180, ticks=False, domain=False, grid=True),
    )  # fmt: skip
    verdicts = list(Verdict)
    colour = alt.Color(
        "verdict:N", legend=None,
        scale=alt.Scale(domain=[v.value for v in verdicts], range=[VERDICT_COLOURS[v] for v in verdicts]),
    )  # fmt: skip
    tips = [alt.Tooltip(f"{name}:N") for name in ("prescription", "label", "reason")]
    base = alt.Chart(alt.Data(values=rows)).encode(y=y)
    area = alt.Chart(alt.Data(values=[{"from": 0, "to": margin}]))
    allowed = area.mark_rect(opacity=0.09, color=VERDICT_COLOURS[Verdict.TRANSFERS]).encode(x=alt.X("from:Q", scale=scale), x2="to:Q")
    line = area.mark_rule(strokeDash=[5, 4], strokeWidth=1.6).encode(x=alt.X("to:Q", scale=scale))
    bar = base.mark_rule(strokeWidth=4, strokeCap="round", yOffset=9).encode(x=x, x2="high:Q", color=colour, tooltip=tips)
    dot = base.mark_circle(size=120, opacity=1, yOffset=9).encode(x=alt.X("estimate:Q", scale=scale), color=colour, tooltip=tips)
    arrow = (
        base.transform_filter(alt.FieldEqualPredicate(field="cut", equal=True))
        .mark_point(shape="triangle-right", filled=True, size=110, opacity=1, yOffset=9)
        .encode(x=alt.X("edge:Q", scale=scale), color=colour)
    )
    text = base.mark_text(align="left", fontSize=12.5, dy=-10).encode(x=alt.value(8), text="label:N", tooltip=tips)
    return alt.layer(allowed, line, bar, dot, arrow, text).properties(width=680, height=_ROW * len(rows))
