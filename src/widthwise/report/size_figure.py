"""Loss at the best rate against parameters: a panel for each optimizer, a line for each prescription."""

import math
from dataclasses import replace

import altair as alt

from widthwise.analysis.result import CellOptimum
from widthwise.report.figure import ROWS, Figure, Row, in_panels, tips
from widthwise.report.numbers import MISSING, fixed, loss_text, plural, significant
from widthwise.report.page_data import PageData
from widthwise.report.ticks import round_ticks
from widthwise.report.uncertainty import student

COLOURS = ("#3a79c9", "#c77d0a", "#178a62", "#a55fc4", "#d0521b", "#7a828e")
DASHES = ([1, 0], [7, 4], [2, 3], [9, 3, 2, 3], [1, 2], [12, 3])
_HEIGHT = 260
_REACH = 0.1  # of the losses' span that an interval may add to the axis; the rest of a wider one is cut off
USUAL = "constant"


def size_figure(data: PageData) -> Figure | None:
    """The figure; None where no prescription has an optimum at two widths."""
    rows = _rows(data)
    if not rows:
        return None
    panels = len({row["panel"] for row in rows})
    by_size = all(row["size"] != row["width"] for row in rows)
    bar = (
        ", the bar its 95 % interval from the noise of seeds"
        if any(r["high"] > r["low"] for r in rows)
        else ""
    )
    count = len({row["prescription"] for row in rows})
    return Figure(
        name="loss-against-size",
        title="Loss at the best rate against size",
        caption=(
            f"Every point is the loss at the best rate of a width, over all seeds{bar}.",
            "Widths without a bracketed optimum are left out.",
            *(("Wider intervals are cut off.",) if _cut(rows) else ()),
        ),
        description=f"Loss at the best learning rate of {plural(count, 'prescription')} over their size.",
        chart=in_panels(_layers(rows, by_size=by_size), panels, width=560 if panels == 1 else 380),
        rows=rows,
        widths=1,
        paged=False,
    )  # fmt: skip


def _rows(data: PageData) -> list[Row]:
    rows: list[Row] = []
    panels: list[str] = []
    usual = {
        data.labels[one.prescription] for one in data.analysis.results if one.prescription in data.labels
    }
    for result in data.analysis.results:
        label = data.labels.get(result.prescription)
        if label is not None and label.epsilon != USUAL and replace(label, epsilon=USUAL) in usual:
            continue  # the figure of what the choice of epsilon costs shows it
        panel = "" if label is None else label.optimizer
        cells = [(cell, cell.loss) for cell in result.cells if cell.loss is not None]
        if len(cells) < 2:
            continue
        if panel not in panels:
            panels.append(panel)
        family = result.prescription if label is None else label.parameterization
        setting = "" if label is None else " ".join(
            [label.prescription]
            + [text for text, usual in (
                (label.constants, "default"), (label.epsilon, USUAL), (label.horizon, "fixed"),
            ) if text not in (usual, "none")]
        )  # fmt: skip
        for cell, loss in cells:
            half = half_width(cell, data)
            size = data.parameters.get(cell.width)
            rows.append({
                "prescription": result.prescription, "panel": panel, "order": panels.index(panel),
                "family": family, "rates": setting, "width": cell.width, "size": size or cell.width,
                "parameters": MISSING if size is None else significant(float(size), 3),
                "loss": loss, "low": loss - half, "high": loss + half,
                "best loss": loss_text(loss), "±": fixed(half, 4) if half else MISSING,
            })  # fmt: skip
    return rows


def half_width(cell: CellOptimum, data: PageData) -> float:
    """Of the interval of a cell's loss; 0 where the noise is unknown."""
    t = student(data.analysis, cell.loss_freedom)
    return 0.0 if cell.loss_error is None or t is None else t * cell.loss_error


def _range(rows: list[Row]) -> tuple[float, float]:
    losses = [row["loss"] for row in rows]
    reach = _REACH * max(max(losses) - min(losses), 1e-6)
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    return max(low, min(losses) - reach), min(high, max(losses) + reach)


def _cut(rows: list[Row]) -> bool:
    low, high = _range(rows)
    return any(row["low"] < low or row["high"] > high for row in rows)


def _layers(rows: list[Row], *, by_size: bool) -> alt.LayerChart:
    sizes = sorted({row["size"] for row in rows})
    low, high = _range(rows)
    span = max(high - low, 1e-6)
    losses = round_ticks(low, high)
    ticks = sizes if len(sizes) <= 5 else sizes[:: math.ceil(len(sizes) / 5)]
    families = list(dict.fromkeys(row["family"] for row in rows))
    settings = list(dict.fromkeys(row["rates"] for row in rows))
    x = alt.X(
        "size:Q",
        title="parameters" if by_size else "width",
        scale=alt.Scale(type="log", domain=[sizes[0] / 1.2, sizes[-1] * 1.2], nice=False),
        axis=alt.Axis(values=ticks, format=".2~s" if by_size else "d", labelOverlap="greedy"),
    )
    y = alt.Y(
        "loss:Q",
        title="loss at the best rate",
        scale=alt.Scale(domain=[low - 0.04 * span, high + 0.04 * span], nice=False, zero=False),
        axis=alt.Axis(values=list(losses.values), labelExpr=losses.label_expr),
    )
    many = len(families) > len(COLOURS)
    colours = [COLOURS[k % len(COLOURS)] for k in range(len(families))]
    symbol = alt.Legend(symbolType="stroke", symbolStrokeWidth=2.5, symbolSize=300, title=None)
    base = alt.Chart().encode(
        x=x,
        color=alt.Color(
            "family:N", scale=alt.Scale(domain=families, range=colours), legend=None if many else symbol
        ),
        detail="prescription:N",
    )
    dash = alt.StrokeDash(
        "rates:N",
        scale=alt.Scale(domain=settings, range=[DASHES[k % len(DASHES)] for k in range(len(settings))]),
        legend=symbol if len(settings) > 1 else None,
    )
    shown = tips("prescription", "width", "parameters", "best loss", "±")
    layers = [
        base.mark_line(strokeWidth=1.8).encode(y=y, strokeDash=dash),
        base.mark_rule(strokeWidth=2, clip=True).encode(
            y=alt.Y("low:Q", title="loss at the best rate"), y2="high:Q"
        ),
        base.mark_circle(size=42, opacity=1).encode(y=y, tooltip=shown),
    ]
    return alt.LayerChart(data=ROWS, layer=layers, height=_HEIGHT)
