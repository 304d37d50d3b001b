"""The figures of a coordinate check: every slope beside theory's, and the measurements over the widths."""

import math
from collections.abc import Sequence

import altair as alt

from widthwise.report.check_page import CheckLine, CheckPage
from widthwise.report.figure import ROWS, Figure, Row, in_panels, tips
from widthwise.report.numbers import MISSING, fixed, plural

COLOURS = {"pass": "#178a62", "fail": "#d0521b", "undecided": "#7a828e", "reported": "#3a79c9"}
"""As the report's verdicts; what is reported only is blue."""

PANELS = {
    "dW": "size of the first update",
    "dW z": "what the update does to the layer's output",
    "output at init": "outputs before training",
    "output's change": "change of outputs in training",
}
_ROW = 17
_REACH = 1.25  # powers of the width; what misses theory by more is drawn at the edge


def check_figures(page: CheckPage) -> tuple[Figure, ...]:
    """Every figure that the check can fill."""
    return tuple(figure for figure in (slope_figure(page), width_figure(page)) if figure is not None)


def slope_figure(page: CheckPage) -> Figure | None:
    """Every slope less theory's with its interval; None where nothing is judged."""
    rows = [row for order, line in enumerate(page.lines) if (row := _slope_row(line, order)) is not None]
    if not rows:
        return None
    cut = any(row["cut"] for row in rows)
    failed = [f"{row['measured']} of {row['name']}" for row in rows if row["verdict"] == "fail"]
    return Figure(
        name="coordinate-slopes",
        title="Slopes over widths, less theory's",
        caption=(
            "Each row is one measured exponent with its 95 % interval over seeds; layers that came to the same share "
            "a row, which shows the one farthest from theory.",
            "The grey band is the margin: a row passes if its interval lies inside, and fails if it lies outside. "
            "Where the band has no left end, theory is an upper bound.",
            *(("An arrowhead marks a row that goes on beyond the axis.",) if cut else ()),
        ),
        description=f"{plural(len(rows), 'slope')} against theory; failed: {', '.join(failed) or 'none'}.",
        chart=_slope_chart(rows),
        rows=rows,
        widths=1,
    )


def _slope_row(line: CheckLine, order: int) -> Row | None:
    if line.slope is None or line.theory is None:
        return None
    estimate, low, high = (value - line.theory for value in line.slope)
    edge = _REACH
    return {
        "label": f"{line.measured}: {line.name}", "order": order, "measured": line.measured, "name": line.name,
        "verdict": line.verdict, "reason": line.reason or MISSING,
        "slope": f"{fixed(line.slope[0], 3)} [{fixed(line.slope[1], 3)}, {fixed(line.slope[2], 3)}]",
        "theory": f"{'at most ' if line.bound else ''}{fixed(line.theory, 2)}",
        "estimate": min(max(estimate, -edge), edge), "low": max(low, -edge), "high": min(high, edge),
        "from": -edge if line.bound else -line.margin, "to": line.margin, "cut": abs(estimate) > edge,
    }  # fmt: skip


def _slope_chart(rows: Sequence[Row]) -> alt.LayerChart:
    shown = [verdict for verdict in COLOURS if any(row["verdict"] == verdict for row in rows)]
    colours = alt.Scale(domain=shown, range=[COLOURS[verdict] for verdict in shown])
    lines = alt.Axis(title=None, labelLimit=430, labelFontSize=11, ticks=False, domain=False, labelPadding=8)
    y = alt.Y("label:N", sort=alt.EncodingSortField("order", op="min"), axis=lines)
    base = alt.Chart().encode(y=y, tooltip=tips("measured", "name", "slope", "theory", "verdict", "reason"))
    marks = base.encode(color=alt.Color("verdict:N", scale=colours, title=None))
    x = alt.X(
        "estimate:Q",
        title="measured slope − theory's (powers of the width)",
        scale=alt.Scale(domain=[-_REACH, _REACH], nice=False),
        axis=alt.Axis(values=[-1, -0.5, 0, 0.5, 1]),
    )
    cut = marks.transform_filter(alt.FieldEqualPredicate(field="cut", equal=True))
    layers = [
        base.mark_bar(color="#7a828e", opacity=0.16, height=_ROW - 3).encode(x=alt.X("from:Q"), x2="to:Q"),
        alt.Chart(alt.Data(values=[{"zero": 0}])).mark_rule(strokeDash=[4, 4]).encode(x=alt.X("zero:Q")),
        marks.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q"), x2="high:Q"),
        marks.mark_circle(size=55, opacity=1).encode(x=x),
        cut.mark_point(shape="triangle-right", filled=True, size=90, opacity=1).encode(x=x),
    ]
    return alt.LayerChart(data=ROWS, layer=layers, width=420, height=_ROW * len(rows))


def width_figure(page: CheckPage) -> Figure | None:
    """Measurements over the widths, each over theory's power law; None without any."""
    rows: list[Row] = []
    panels = [measured for measured in PANELS if any(line.measured == measured for line in page.lines)]
    for line in page.lines:
        if line.measured in panels and line.values and line.theory is not None:
            rows += _width_rows(line, page.widths, panels.index(line.measured))
    if not rows:
        return None
    return Figure(
        name="coordinate-widths",
        title="What changes with the width",
        caption=(
            "Root mean squares over the width, divided by theory's power law and by their value at the smallest width; "
            "the geometric mean over seeds.",
            "Flat lines are theory's; where theory is an upper bound, falling ones are too.",
        ),
        description=f"{plural(len({row['line'] for row in rows}), 'line')} over widths {page.widths}.",
        chart=_width_chart(rows, page.widths, len(panels)),
        rows=rows,
        widths=1,
    )


def _width_rows(line: CheckLine, widths: Sequence[int], order: int) -> list[Row]:
    theory = line.theory or 0.0
    means = [
        math.fsum(math.log2(seed[k]) for seed in line.values) / len(line.values) - theory * math.log2(width)
        for k, width in enumerate(widths)
    ]
    return [
        {
            "panel": f"{line.measured}: {PANELS[line.measured]}", "order": order,
            "line": f"{line.measured} {line.name}", "name": line.name, "verdict": line.verdict,
            "width": width, "ratio": 2 ** (mean - means[0]), "role": line.role or "module",
            "value": fixed(2 ** (mean - means[0]), 3),
        }
        for width, mean in zip(widths, means, strict=True)
    ]  # fmt: skip


def _width_chart(rows: Sequence[Row], widths: Sequence[int], panels: int) -> alt.FacetChart:
    shown = [verdict for verdict in COLOURS if any(row["verdict"] == verdict for row in rows)]
    colours = alt.Scale(domain=shown, range=[COLOURS[verdict] for verdict in shown])
    ratios = [row["ratio"] for row in rows]
    low, high = min(*ratios, 0.5), max(*ratios, 2.0)
    powers = [2.0**k for k in range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)]
    chart = alt.Chart().encode(
        x=alt.X(
            "width:Q",
            title="width",
            scale=alt.Scale(type="log", base=2, nice=False),
            axis=alt.Axis(values=list(widths), format="d"),
        ),
        y=alt.Y(
            "ratio:Q",
            title="measured ÷ theory",
            scale=alt.Scale(type="log", base=2, domain=[low / 1.1, high * 1.1], nice=False),
            axis=alt.Axis(values=powers, format="~g"),
        ),
        color=alt.Color("verdict:N", scale=colours, title=None),
        detail="line:N",
        tooltip=tips("name", "role", "width", "value", "verdict"),
    )
    layers = alt.LayerChart(
        data=ROWS,
        layer=[chart.mark_line(strokeWidth=1.6, opacity=0.75), chart.mark_circle(size=26, opacity=0.9)],
        height=230,
    )
    chart = in_panels(layers, panels, width=330)
    chart.columns = min(panels, 2)
    return chart
