"""Alignment over training and over width, one figure a role, one panel a prescription."""

import math
from collections.abc import Iterator, Sequence

import altair as alt

from widthwise.analysis import AlignmentExponent, AlignmentRatio
from widthwise.report.alignment_series import ArmAlignment
from widthwise.report.figure import ROWS, Figure, Row, in_panels, of_kind, tips, zoom
from widthwise.report.numbers import fixed, plural
from widthwise.report.page_data import PageData
from widthwise.report.ticks import Ticks
from widthwise.theory import SOLVER_QUANTITIES, Role

COLOURS = ("#3a79c9", "#c77d0a", "#178a62")
"""Of alpha, omega and u; 3:1 or more on white and on black."""
REFERENCES = {"1/2": 0.5, "3/4": 0.75, "1": 1.0}
"""Theory's values: no, mid and full alignment."""
EXPONENT = "exponents over widths"
_HEIGHT = 230
_LEAST, _MOST = 0.0, 1.35
"""What the axis shows at least; a band beyond what is measured is cut off."""
_TIPS = ("prescription", "quantity", "place", "value text", "interval")


def alignment_figures(data: PageData) -> tuple[Figure, ...]:
    """For each role: over training, and over width; figures without data are left out."""
    roles = [
        role for role in (Role.HIDDEN, Role.READOUT) if any(_ratios(arm, role) for arm in data.alignment)
    ]
    makers = (_over_training, _over_width)
    return tuple(figure for maker in makers for role in roles if (figure := maker(data, role)) is not None)


def _ratios(arm: ArmAlignment, role: Role) -> list[AlignmentRatio]:
    return [ratio for ratio in arm.steps.ratios if ratio.role is role]


def _over_training(data: PageData, role: Role) -> Figure | None:
    rows = [row for order, arm in enumerate(data.alignment) for row in _training_rows(order, arm, role)]
    if not rows:
        return None
    views = sorted({row["view"] for row in rows}, key=lambda view: (view != EXPONENT, _width_of(view)))
    chosen = views[0] if views[0] == EXPONENT else views[-1]
    steps = [row["x"] for row in rows]
    measured = sorted(set(steps))
    axis = alt.Axis(tickCount=5) if len(measured) > 5 else alt.Axis(values=measured, labelOverlap="greedy")
    x = alt.X("x:Q", title="step", axis=axis, scale=_scale(min(steps), max(steps)))
    title = "alignment"
    base = alt.Chart().encode(x=x, y=_y(rows, title), color=_colour())
    chart = _layers(base, title=title, name=f"alignment_{role}_zoom").transform_filter(
        f"datum.view == alignment_{role}"
    )
    select = alt.binding_select(options=views, name="shown ")
    return Figure(
        name=f"alignment-steps-{role}",
        title=f"Alignment over training: {_layer_words(role)}",
        caption=(
            "Exponents are slopes of the log gains over the widths; ratios, log gain ÷ ln(fan-in), are of one width, "
            "and biased by a constant over ln n.",
            _bands(role),
            "Dashed: no (1/2), mid (3/4) and full (1) alignment.",
            "Runs at each width's best rate.",
        ),
        description=_description(data, role, "step"),
        chart=in_panels(
            chart.add_params(alt.param(name=f"alignment_{role}", value=chosen, bind=select)),
            len(data.alignment),
        ),
        rows=rows,
        widths=1,
        image_note=f"Shown: {chosen}.",
    )


def _over_width(data: PageData, role: Role) -> Figure | None:
    rows = [row for order, arm in enumerate(data.alignment) for row in _width_rows(order, arm, role)]
    widths = sorted({row["x"] for row in rows if row["kind"] == "value"})
    if len(widths) < 2:
        return None
    ticks = Ticks(tuple(map(float, widths)), tuple(map(str, widths)))
    x = alt.X(
        "x:Q",
        title="width",
        scale=alt.Scale(type="log", base=2, domain=[widths[0] / 1.1, widths[-1] * 1.1], nice=False),
        axis=alt.Axis(values=list(ticks.values), labelExpr=ticks.label_expr, labelOverlap="greedy"),
    )
    title = "log alignment ratio"
    base = alt.Chart().encode(x=x, y=_y(rows, title), color=_colour())
    return Figure(
        name=f"alignment-widths-{role}",
        title=f"Alignment by width: {_layer_words(role)}",
        caption=(
            "Log alignment ratios, means over training weighed by the fall of the training loss.",
            f"Bands are 95 % intervals over {_scatter(role)}.",
            "Their limit at large widths is the exponent, which the table gives; they approach it as 1 ÷ ln n.",
            "Dashed: no (1/2), mid (3/4) and full (1) alignment.",
        ),
        description=_description(data, role, "width"),
        chart=in_panels(_layers(base, title=title, name=f"alignment_width_{role}_zoom"), len(data.alignment)),
        rows=rows,
        widths=1,
    )


def _bands(role: Role) -> str:
    return f"Bands are 95 % intervals over {_scatter(role)}, for exponents over the widths' scatter about the line too."


def _scatter(role: Role) -> str:
    return "seeds and layers" if role is Role.HIDDEN else "seeds"


def _layer_words(role: Role) -> str:
    return "hidden layers" if role is Role.HIDDEN else "readout"


def _description(data: PageData, role: Role, axis: str) -> str:
    return (
        f"alpha, omega and u of the {_layer_words(role)} against the {axis} for "
        f"{plural(len(data.alignment), 'prescription')}, beside 1/2, 3/4 and 1."
    )


def _training_rows(order: int, arm: ArmAlignment, role: Role) -> Iterator[Row]:
    """Of every view, which is a width or the exponents: values over steps, and theory's lines."""
    shared = {"prescription": arm.prescription, "panel": arm.prescription, "order": order}
    views: dict[str, None] = {}
    for one in arm.steps.exponents:
        if one.name == role and math.isfinite(one.exponent.value):
            views[EXPONENT] = None
            yield {**shared, "view": EXPONENT, **_value(one.progress, f"step {one.progress:g}", one)}
    for ratio in arm.steps.ratios:
        if ratio.role is role and math.isfinite(ratio.estimate):
            view = f"ratios at width {ratio.width}"
            views[view] = None
            yield {**shared, "view": view, **_value(ratio.progress, f"step {ratio.progress:g}", ratio)}
    for view in views:
        yield from ({**shared, "view": view, **line} for line in _references(_first_step(arm, role)))


def _width_rows(order: int, arm: ArmAlignment, role: Role) -> Iterator[Row]:
    shared = {"prescription": arm.prescription, "panel": arm.prescription, "order": order}
    known = [ratio for ratio in arm.mean.ratios if ratio.role is role and math.isfinite(ratio.estimate)]
    for ratio in known:
        yield {**shared, **_value(ratio.width, f"width {ratio.width}", ratio)}
    if known:
        yield from ({**shared, **line} for line in _references(known[0].width))


def _first_step(arm: ArmAlignment, role: Role) -> float:
    return min(ratio.progress for ratio in _ratios(arm, role))


def _references(x: float) -> Iterator[Row]:
    return ({"kind": "reference", "x": x, "value": value} for value in REFERENCES.values())


def _value(x: float, place: str, one: AlignmentExponent | AlignmentRatio) -> Row:
    if isinstance(one, AlignmentExponent):
        value, low, high = one.exponent.value, one.exponent.low, one.exponent.high
    else:
        value, low, high = one.estimate, one.low, one.high
    bounded = math.isfinite(low) and math.isfinite(high)
    return {
        "kind": "value", "x": x, "place": place, "quantity": str(one.quantity), "value": value,
        "low": low if bounded else value, "high": high if bounded else value, "value text": fixed(value, 2),
        "interval": f"[{fixed(low, 2)}, {fixed(high, 2)}]" if bounded else "nothing scatters",
    }  # fmt: skip


def _width_of(view: str) -> int:
    return 0 if view == EXPONENT else int(view.rpartition(" ")[2])


def _scale(low: float, high: float) -> alt.Scale:
    return alt.Scale(domain=[low, max(high, low + 1)], nice=False, zero=False, padding=6)


def _y(rows: Sequence[Row], title: str) -> alt.Y:
    values = [row["value"] for row in rows]
    low, high = min([_LEAST, *values]), max([_MOST, *values])
    ticks = [k / 4 for k in range(math.ceil(4 * low), math.floor(4 * high) + 1)]
    return alt.Y(
        "value:Q",
        title=title,
        scale=alt.Scale(domain=[low, high], nice=False, zero=False),
        axis=alt.Axis(
            values=ticks if len(ticks) <= 12 else ticks[:: math.ceil(len(ticks) / 12)], format=".2f"
        ),
    )


def _colour() -> alt.Color:
    names = [str(quantity) for quantity in SOLVER_QUANTITIES]
    legend = alt.Legend(title=None, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1)
    return alt.Color("quantity:N", scale=alt.Scale(domain=names, range=list(COLOURS)), legend=legend)


def _layers(base: alt.Chart, *, title: str, name: str) -> alt.LayerChart:
    values = of_kind(base, "value")
    references = of_kind(alt.Chart().encode(y=alt.Y("value:Q", title=title)), "reference")
    layers: list[alt.Chart] = [
        values.mark_area(clip=True, opacity=0.16).encode(y=alt.Y("low:Q", title=title), y2="high:Q"),
        references.mark_rule(strokeDash=[4, 4], strokeWidth=1, opacity=0.8),
        values.mark_line(clip=True, strokeWidth=2),
        values.mark_circle(clip=True, size=30, opacity=1).encode(tooltip=tips(*_TIPS)),
    ]
    return alt.LayerChart(data=ROWS, layer=layers, height=_HEIGHT).add_params(zoom(name))
