"""The figures of epsilon reports: how much of each role lies below epsilon, by step and by width.

They are made of plain rows, as `EpsilonReport.plain_rows` and `EpsilonMonitor.rows` give them; rows of several runs are
told apart by a key `run`, and repetitions of one run by a key `seed`.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt

from widthwise.report.epsilon_points import ONE_RUN, Point, drawn_rows, points_of, repetitions, with_theory
from widthwise.report.figure import ROWS, Figure, Row, of_kind, tips
from widthwise.report.numbers import percent, plural, significant
from widthwise.report.write import check_target, figure_images, write_all

COLOURS = {
    "embedding": "#3a79c9", "hidden": "#d0521b", "readout": "#178a62", "vector": "#a55fc4", "fixed": "#7a828e",
}  # fmt: skip
"""By role; each has a contrast of 3:1 or more on white and on black."""

_MOST_LINES = 10
_HEIGHT = 210
_WIDTHS = {1: 460, 2: 340}  # of a panel, in pixels
_WIDTH = 270
_COLUMNS = 3
_LEAST_FRACTION = (
    0.02  # the top of the fraction's axis is never below it, so that nothing looks like something
)


def epsilon_figures(
    rows: Sequence[Mapping[str, Any]], *, step: int | None = None, note: str = ""
) -> tuple[Figure, ...]:
    """The figures that the rows can fill: by width if there are several, by step if there are several.

    Args:
        rows: of roles, or of tensors; rows of roles alone are drawn if there are any.
        step: at which widths are compared; the last one that every run of every width has, unless said.
        note: a last sentence of the captions.

    Raises:
        ValueError: a step at which nothing was measured.
    """
    return tuple(
        figure
        for figure in (width_figure(rows, step=step, note=note), step_figure(rows, note=note))
        if figure is not None
    )


def write_epsilon_figures(
    rows: Sequence[Mapping[str, Any]], folder: Path | str, *, step: int | None = None, note: str = ""
) -> tuple[Path, ...]:
    """Write the figures as PNG and SVG into a folder, all of them or none, and give their paths.

    Raises:
        ValueError: nothing to draw, or a folder that cannot be written to.
    """
    figures = epsilon_figures(rows, step=step, note=note)
    if not figures:
        raise ValueError(
            "nothing to draw: rows of two steps or of two widths are needed, with a defined fraction"
        )
    names = [f"{figure.name}{kind}" for figure in figures for kind in (".png", ".svg")]
    check_target(Path(folder), names)
    images = [image for figure in figures for image in figure_images(figure)]
    return write_all(Path(folder), dict(zip(names, images, strict=True)))


def step_figure(rows: Sequence[Mapping[str, Any]], *, note: str = "") -> Figure | None:
    """Against the step, at the largest width; None without two steps."""
    kept = drawn_rows(rows)
    widest = max((row["width"] for row in kept if row.get("width")), default=None)
    points = points_of([row for row in kept if row.get("width") == widest], "step")
    if len({point.x for point in points}) < 2:
        return None
    where = "" if widest is None else f", width {widest}"
    return _figure(
        points,
        name="epsilon-steps",
        title=f"Epsilon and gradients in training{where}",
        x="step",
        extra=(repetitions(kept), note),
    )


def width_figure(
    rows: Sequence[Mapping[str, Any]], *, step: int | None = None, note: str = ""
) -> Figure | None:
    """Against the width, at one step; None without two widths.

    Raises:
        ValueError: a step at which nothing was measured.
    """
    kept = [row for row in drawn_rows(rows) if row.get("width")]
    if len({row["width"] for row in kept}) < 2:
        return None
    series: dict[tuple[str, int], set[int]] = {}
    for row in kept:
        series.setdefault((row.get("run", ONE_RUN), row["width"]), set()).add(row["step"])
    shared = set.intersection(*series.values())
    chosen = max(shared, default=None) if step is None else step
    if chosen is None or chosen not in shared:
        raise ValueError(
            f"step {chosen} was not measured in every run at every width; these were: {sorted(shared) or 'none'}"
        )
    points = with_theory(points_of([row for row in kept if row["step"] == chosen], "width"), kept)
    theory = any(point.expected is not None for point in points)
    dashes = ("Dashed: theory, from the smallest width.",) if theory else ()
    return _figure(
        points, name="epsilon-widths", title=f"Epsilon and gradients by width, after {plural(chosen, 'step')}",
        x="width", extra=(*dashes, repetitions(kept), note),
    )  # fmt: skip


def _figure(points: Sequence[Point], *, name: str, title: str, x: str, extra: tuple[str, ...]) -> Figure:
    runs = list(dict.fromkeys(point.run for point in points))
    rows = [row for point in points for row in _rows(point, runs.index(point.run))]
    low = min(points, key=lambda point: math.inf if point.ratio is None else point.ratio)
    return Figure(
        name=name,
        title=title,
        caption=(
            "Above: the median over coordinates of r = √v ÷ ε (v corrected for its bias). A step goes r ÷ (1 + r) of "
            "its way; below 1 (grey) epsilon sets it, not the gradient.",
            "Below: the fraction of coordinates with √v < ε.",
            *filter(None, extra),
        ),
        description=(
            f"{plural(len({(p.run, p.line) for p in points}), 'line')} against the {x}; the lowest median ratio is "
            f"{significant(low.ratio)}, of {low.line} at {x} {low.x}{f' in {low.run}' if low.run else ''}."
        ),
        chart=_chart(points, runs, x),
        rows=rows,
        widths=1,
    )  # fmt: skip


def _rows(point: Point, order: int) -> list[Row]:
    common = {
        "panel": point.run, "order": order, "line": point.line, "x": point.x, "place": str(point.x),
        "below": percent(point.fraction), "ratio": significant(point.ratio),
    }  # fmt: skip
    rows: list[Row] = []
    for kind, value in (("ratio", point.ratio), ("theory", point.expected), ("fraction", point.fraction)):
        if value is not None:
            rows.append(common | {"kind": kind, "value": value})
    return rows


def _chart(points: Sequence[Point], runs: Sequence[str], x: str) -> alt.VConcatChart:
    horizontal, titled = _horizontal(points, x, title=""), _horizontal(points, x, title=x)
    colour = _colour(points)
    base = alt.Chart().encode(
        x=horizontal, color=colour, detail="line:N", tooltip=tips("line", "place", "ratio", "below")
    )
    ratios = [value for point in points for value in (point.ratio, point.expected) if value is not None]
    low, high = min([*ratios, 0.5]) / 1.4, max([*ratios, 2.0]) * 1.4
    ratio = alt.Y(
        "value:Q", title="median √v ÷ ε", scale=alt.Scale(type="log", domain=[low, high], nice=False),
        axis=alt.Axis(values=_decades(low, high), format="~g"),
    )  # fmt: skip
    top = max([point.fraction for point in points if point.fraction is not None] + [_LEAST_FRACTION])
    fraction = alt.Y(
        "value:Q", title="coordinates below ε", scale=alt.Scale(domain=[0, min(1.0, 1.05 * top)], nice=False),
        axis=alt.Axis(format="~%", tickCount=5),
    )  # fmt: skip
    under = alt.Chart(alt.Data(values=[{"from": low, "to": 1.0}])).mark_rect(color="#7a828e", opacity=0.13)
    layers = [
        under.encode(y=alt.Y("from:Q"), y2="to:Q"),
        of_kind(base, "theory").mark_line(strokeDash=[4, 4], strokeWidth=1.2, opacity=0.8).encode(y=ratio),
        of_kind(base, "ratio").mark_line(strokeWidth=2).encode(y=ratio),
        of_kind(base, "ratio").mark_circle(size=34, opacity=1).encode(y=ratio),
    ]
    lower = [
        of_kind(base, "fraction").mark_line(strokeWidth=2).encode(x=titled, y=fraction),
        of_kind(base, "fraction").mark_circle(size=34, opacity=1).encode(x=titled, y=fraction),
    ]
    parts = [_in_panels(layers, runs, labelled=len(runs) > 1), _in_panels(lower, runs, labelled=False)]
    return alt.VConcatChart(data=ROWS, vconcat=parts, spacing=8)


def _in_panels(layers: list[alt.Chart], runs: Sequence[str], *, labelled: bool) -> alt.FacetChart:
    width = _WIDTHS.get(len(runs), _WIDTH)
    header = alt.Header(title=None, labelAnchor="start", labelPadding=6, labelLimit=width)
    if not labelled:  # Vega-Lite draws the labels whatever `labels` says
        header = alt.Header(title=None, labelExpr="''", labelFontSize=0, labelPadding=0)
    order = alt.EncodingSortField("order", op="min")
    panel = alt.Facet("panel:N", sort=order, header=header)
    chart = alt.LayerChart(layer=layers, width=width, height=_HEIGHT)
    return alt.FacetChart(spec=chart, facet=panel, columns=min(len(runs), _COLUMNS), spacing=24, data=ROWS)


def _horizontal(points: Sequence[Point], x: str, *, title: str) -> alt.X:
    if x == "width":
        widths = sorted({point.x for point in points})
        scale = alt.Scale(type="log", base=2, domain=[widths[0], widths[-1]], nice=False, padding=8)
        return alt.X(
            "x:Q", title=title or None, scale=scale, axis=alt.Axis(values=widths, format="d", grid=False)
        )
    return alt.X(
        "x:Q",
        title=title or None,
        scale=alt.Scale(nice=False, zero=False, padding=8),
        axis=alt.Axis(tickCount=5, grid=False),
    )


def _colour(points: Sequence[Point]) -> alt.Color:
    """By role where a line is a role; by tensor where there are few; else no legend."""
    lines = list(dict.fromkeys(point.line for point in points))
    if set(lines) <= set(COLOURS):
        shown = [role for role in COLOURS if role in lines]
        scale = alt.Scale(domain=shown, range=[COLOURS[role] for role in shown])
        return alt.Color("line:N", title=None, scale=scale)
    if len(lines) <= _MOST_LINES:
        return alt.Color(
            "line:N",
            title=None,
            scale=alt.Scale(domain=lines, scheme="tableau10"),
            legend=alt.Legend(columns=2),
        )
    return alt.Color("line:N", legend=None, scale=alt.Scale(domain=lines, scheme="tableau20"))


def _decades(low: float, high: float) -> list[float]:
    return [
        float(f"1e{power}") for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    ]
