"""The figures of what a study measured over widths: gradients over n^(-g), and what lies below an epsilon."""

import math
from collections.abc import Sequence

import altair as alt

from widthwise.report.epsilon_shares import EPSILONS, EpsilonShares
from widthwise.report.figure import ROWS, Figure, Row, in_panels, tips
from widthwise.report.measured_sizes import ROLES, RoleSizes
from widthwise.report.numbers import percent, significant

COLOURS = ("#3a79c9", "#7a828e", "#d0521b", "#a55fc4", "#178a62")
"""By role, as in `epsilon_figure`; the position embedding is grey."""
_HEIGHT = 230


def widths_figures(gradients: Sequence[RoleSizes], shares: Sequence[EpsilonShares]) -> tuple[Figure, ...]:
    """Every figure that there are two widths for."""
    found = (gradient_figure(gradients), *(share_figure(shares, e.name) for e in EPSILONS[:1]))
    return tuple(figure for figure in found if figure is not None)


def gradient_figure(gradients: Sequence[RoleSizes]) -> Figure | None:
    """Gradients at the start, over n^(-g) and their value at the smallest width."""
    rows: list[Row] = []
    panels = list(dict.fromkeys(one.arm.parameterization for one in gradients))
    for one in gradients:
        assert one.theory is not None
        logs: dict[int, list[float]] = {}
        for sized in one.sizes:
            if 0 < sized.value < math.inf:
                logs.setdefault(sized.width, []).append(math.log(sized.value))
        means = {w: math.fsum(of) / len(of) - one.theory * math.log(w) for w, of in sorted(logs.items())}
        for width, mean in means.items():
            ratio = math.exp(mean - means[min(means)])
            rows.append(
                {
                    "panel": one.arm.parameterization,
                    "order": panels.index(one.arm.parameterization),
                    "role": one.role,
                    "width": width,
                    "value": ratio,
                    "root mean square": significant(math.exp(mean + one.theory * math.log(width)), 3),
                    "over theory": significant(ratio, 3),
                }
            )
    return _figure(
        rows,
        panels,
        name="gradients",
        title="Gradients at the start, over theory's n^(−g)",
        caption="Root mean squares, the geometric mean over a role's tensors, divided by n^(−g) and by their value at "
        "the smallest width: flat lines are theory's.",
        y="measured ÷ theory",
        log=True,
        shown=("role", "width", "root mean square", "over theory"),
    )


def share_figure(shares: Sequence[EpsilonShares], epsilon: str) -> Figure | None:
    """The share of coordinates whose second moment lies below an epsilon."""
    panels = list(dict.fromkeys(one.parameterization for one in shares))
    rows: list[Row] = [
        {
            "panel": one.parameterization,
            "order": panels.index(one.parameterization),
            "role": one.role,
            "width": one.width,
            "value": one.below[epsilon],
            "below": percent(one.below[epsilon]),
            "below ten times": percent(one.near[epsilon]),
            "median": significant(one.median, 2),
        }
        for one in shares
        if not math.isnan(one.below[epsilon])
    ]
    return _figure(
        rows,
        panels,
        name="epsilon-shares",
        title=f"Share of Adam's second moments below its epsilon of {epsilon}",
        caption="Of the coordinates that ever had a gradient, after the last step; the mean over a role's tensors.",
        y=f"share below {epsilon}",
        log=False,
        shown=("role", "width", "below", "below ten times", "median"),
    )


def _figure(
    rows: list[Row],
    panels: list[str],
    *,
    name: str,
    title: str,
    caption: str,
    y: str,
    log: bool,
    shown: tuple[str, ...],
) -> Figure | None:
    widths = sorted({row["width"] for row in rows})
    if len(widths) < 2:
        return None
    values = [row["value"] for row in rows]
    if log:
        low, high = min(*values, 0.5), max(*values, 2.0)
        powers = [2.0**k for k in range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)]
        scale = alt.Scale(type="log", base=2, domain=[low / 1.1, high * 1.1], nice=False)
        axis = alt.Axis(values=powers, format="~g")
    else:
        scale, axis = (
            alt.Scale(domain=[0, 1.05 * max(*values, 0.02)], nice=False),
            alt.Axis(format="%", tickCount=5),
        )
    ticks = [w for w in widths if math.log2(w).is_integer()] or widths
    base = alt.Chart().encode(
        x=alt.X(
            "width:Q",
            title="width",
            scale=alt.Scale(type="log", base=2, domain=[widths[0] / 1.1, widths[-1] * 1.1], nice=False),
            axis=alt.Axis(values=ticks, format="d", labelOverlap="greedy"),
        ),
        y=alt.Y("value:Q", title=y, scale=scale, axis=axis),
        color=alt.Color("role:N", scale=alt.Scale(domain=list(ROLES), range=list(COLOURS)), title=None),
        detail="role:N",
        tooltip=tips(*shown),
    )
    layers = alt.LayerChart(
        data=ROWS,
        layer=[base.mark_line(strokeWidth=1.6, opacity=0.75), base.mark_circle(size=30, opacity=0.9)],
        height=_HEIGHT,
    )
    chart = in_panels(layers, len(panels), width=420)
    chart.columns = min(len(panels), 2)
    return Figure(
        name=name,
        title=title,
        caption=(caption,),
        description=f"{title}, widths {widths[0]} to {widths[-1]}, a panel for each of {', '.join(panels)}.",
        chart=chart,
        rows=rows,
        widths=1,
        paged=False,
    )
