"""Training curves, one panel per prescription, the width chosen by the reader."""

import math
from itertools import groupby
from statistics import median

import altair as alt

from widthwise.report.figure import ROWS, Figure, Row, in_panels, tips, zoom
from widthwise.report.numbers import plural, rate_text
from widthwise.report.page_data import PageData, TrainingCurve
from widthwise.report.ticks import all_dyadic, rate_ticks

_MOST_CURVES = 300
_CURVES_EACH = 16  # of a prescription, where there are so many that all of them together would be more
_MOST_POINTS = 100
_ABOVE = 1.25  # times the typical first loss
_HEIGHT = 230


def curves_figure(data: PageData) -> Figure | None:
    """The figure; None where there are no curves."""
    usable = [curve for curve in data.curves if any(map(math.isfinite, curve.losses))]
    if not usable:
        return None
    most = max(_MOST_CURVES, _CURVES_EACH * len(data.analysis.results))
    curves = _spread(sorted(usable, key=_seed_first), most)
    order = {result.prescription: k for k, result in enumerate(data.analysis.results)}
    names = list(dict.fromkeys([*order, *(curve.prescription for curve in curves)]))
    present = [name for name in names if any(curve.prescription == name for curve in curves)]
    rows = [_row(curve, names.index(curve.prescription)) for curve in curves]
    widths = sorted({curve.width for curve in curves})
    caption = [
        "One line per run, coloured by its learning rate; a line that ends early is a run that diverged or failed."
    ]
    if max(len(curve.steps) for curve in curves) > _MOST_POINTS:
        caption.append(f"At most {_MOST_POINTS} evenly spaced steps of each run are drawn.")
    if any(max(row["loss"]) > _cap(rows) for row in rows):
        caption.append(f"Losses above {_cap(rows):.3g} are cut off.")
    count = max(len(usable), (data.curve_count or 0) - (len(data.curves) - len(usable)))
    if len(curves) < count:
        caption.append(f"{len(curves)} of {count} runs are drawn, the first seeds before the others.")
    return Figure(
        name="training-curves",
        title="Training curves",
        caption=tuple(caption),
        description=(
            f"Training loss against step of {plural(len(curves), 'run')} at widths {', '.join(map(str, widths))}."
        ),
        chart=in_panels(_layers(rows, curves, widths), len(present)),
        rows=rows,
        widths=len(widths),
        image_note=f"The width shown is {widths[-1]}.",
    )


def _seed_first(curve: TrainingCurve) -> tuple[int, str, int, float]:
    return curve.seed, curve.prescription, curve.width, curve.rate


def _spread(curves: list[TrainingCurve], most: int) -> list[TrainingCurve]:
    """At most so many curves: whole seeds as long as they fit, then evenly spaced ones of the next."""
    chosen: list[TrainingCurve] = []
    for _, group in groupby(curves, key=lambda curve: curve.seed):
        own, room = list(group), most - len(chosen)
        if room > 0:
            chosen += own[:: math.ceil(len(own) / room)]
    return chosen


def _cap(rows: list[Row]) -> float:
    """The highest loss shown: that before training, unless a few runs begin or climb far above all others."""
    first = [row["loss"][0] for row in rows]
    return min(max(first), _ABOVE * median(first))


def _row(curve: TrainingCurve, order: int) -> Row:
    points = [
        (step, loss) for step, loss in zip(curve.steps, curve.losses, strict=True) if math.isfinite(loss)
    ]
    count = min(len(points), _MOST_POINTS)
    kept = [points[round(k * (len(points) - 1) / max(count - 1, 1))] for k in range(count)]
    return {
        "prescription": curve.prescription, "panel": curve.prescription, "order": order, "width": curve.width,
        "rate": curve.rate, "learning rate": rate_text(curve.rate), "seed": curve.seed,
        "run": f"{curve.width} {curve.rate!r} {curve.seed}",
        "step": [step for step, _ in kept], "loss": [float(f"{loss:.5g}") for _, loss in kept],
    }  # fmt: skip


def _layers(rows: list[Row], curves: list[TrainingCurve], widths: list[int]) -> alt.LayerChart:
    low, high = min(min(row["loss"]) for row in rows), _cap(rows)
    span = max(high - low, 1e-6)
    losses = alt.Scale(domain=[low - 0.03 * span, low + 1.05 * span], nice=False, zero=False)
    width = alt.param(
        name="curve_width", value=widths[-1], bind=alt.binding_select(options=widths, name="width ")
    )
    lines = alt.Chart(mark=alt.MarkDef(type="line", clip=True, strokeWidth=1.5, opacity=0.85)).encode(
        x=alt.X("step:Q", title="step", axis=alt.Axis(tickCount=5), scale=alt.Scale(nice=False)),
        y=alt.Y("loss:Q", title="training loss", scale=losses),
        color=_colour(sorted({curve.rate for curve in curves})),
        detail="run:N",
        tooltip=tips("prescription", "width", "learning rate", "seed"),
    )
    chart = alt.LayerChart(data=ROWS, layer=[lines], height=_HEIGHT)
    chosen = chart.transform_filter("datum.width == curve_width").transform_flatten(["step", "loss"])
    return chosen.add_params(width, zoom("curve_zoom"))


def _colour(rates: list[float]) -> alt.Color:
    ticks = rate_ticks(rates[0], rates[-1], dyadic=all_dyadic(rates), most=6)
    return alt.Color(
        "rate:Q",
        title="learning rate",
        scale=alt.Scale(type="log", base=2, domain=[rates[0], rates[-1]], nice=False),
        legend=alt.Legend(
            values=list(ticks.values), labelExpr=ticks.label_expr, gradientLength=220, gradientThickness=11
        ),
    )
