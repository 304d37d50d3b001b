"""What a policy for Adam's epsilon costs at the best rate: loss less that of the best policy, over the width."""

from dataclasses import replace

import altair as alt

from widthwise.analysis.arm_label import ArmLabel
from widthwise.analysis.result import CellOptimum
from widthwise.report.figure import ROWS, Figure, Row, in_panels, tips
from widthwise.report.numbers import fixed, loss_text, plural
from widthwise.report.page_data import PageData
from widthwise.report.size_figure import COLOURS, half_width
from widthwise.report.ticks import Ticks, round_ticks

_HEIGHT = 220
_APART = 0.06  # octaves between the policies at a width, so that their bars stand side by side


def policy_figure(data: PageData) -> Figure | None:
    """The figure; None where no prescription was run with two policies at two widths."""
    rows = _rows(data)
    if not rows:
        return None
    panels = len({row["panel"] for row in rows})
    return Figure(
        name="loss-by-epsilon",
        title="What the choice of epsilon costs",
        caption=(
            "The loss of each policy at its own best rate, over all seeds, less the lowest of all policies at that "
            "width; policies of a width stand side by side.",
            "The bar is the 95 % interval of a policy's own loss; two policies share their seeds, so their difference "
            "is surer than it shows.",
        ),
        description=f"Loss over the best policy's for {plural(panels, 'prescription')}.",
        chart=in_panels(_layers(rows), panels, width=420 if panels == 1 else 300),
        rows=rows,
        widths=1,
        paged=False,
    )


def _family(label: ArmLabel) -> tuple[ArmLabel, str]:
    """A label without its policy, and the policy; Adam-atan2 is the policy of Adam that has no epsilon."""
    if label.optimizer == "adam-atan2":
        return replace(label, optimizer="adam", epsilon=""), "atan2"
    return replace(label, epsilon=""), label.epsilon


def _rows(data: PageData) -> list[Row]:
    families: dict[ArmLabel, dict[str, tuple[str, dict[int, CellOptimum]]]] = {}
    for result in data.analysis.results:
        label = data.labels.get(result.prescription)
        if label is None:
            continue
        family, policy = _family(label)
        cells = {cell.width: cell for cell in result.cells if cell.loss is not None}
        families.setdefault(family, {})[policy] = (result.prescription, cells)
    rows: list[Row] = []
    order = 0
    for family, policies in families.items():
        widths = sorted({width for _, cells in policies.values() for width in cells})
        found = [row for width in widths for row in _at(width, policies, data)]
        if len(policies) < 2 or len({row["width"] for row in found}) < 2:
            continue
        words = [family.optimizer, family.parameterization, family.prescription]
        words += [family.constants] if family.constants != "default" else []
        rows += [{"panel": " ".join(words), "order": order, **row} for row in found]
        order += 1
    return rows


def _at(width: int, policies: dict[str, tuple[str, dict[int, CellOptimum]]], data: PageData) -> list[Row]:
    """The policies that have an optimum at a width; nothing where only one has."""
    known = {
        policy: loss
        for policy, (_, cells) in policies.items()
        if width in cells and (loss := cells[width].loss) is not None
    }
    if len(known) < 2:
        return []
    least = min(known.values())
    rows: list[Row] = []
    order = list(policies)
    for policy, loss in known.items():
        name, cells = policies[policy]
        half = half_width(cells[width], data)
        rows.append({
            "prescription": name, "policy": policy, "width": width, "cost": loss - least,
            "beside": width * 2 ** (_APART * (order.index(policy) - (len(order) - 1) / 2)),
            "low": loss - least - half, "high": loss - least + half, "loss": loss_text(loss),
            "over the best": fixed(loss - least, 4),
        })  # fmt: skip
    return rows


def _layers(rows: list[Row]) -> alt.LayerChart:
    widths = sorted({row["width"] for row in rows})
    beside = [row["beside"] for row in rows]
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    span = max(high - low, 1e-6)
    ticks, costs = Ticks(tuple(map(float, widths)), tuple(map(str, widths))), round_ticks(low, high)
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    title = "loss over the best policy's"
    y = alt.Y(
        "cost:Q",
        title=title,
        scale=alt.Scale(domain=[low - 0.05 * span, high + 0.05 * span], nice=False, zero=False),
        axis=alt.Axis(values=list(costs.values), labelExpr=costs.label_expr),
    )
    colours = [COLOURS[k % len(COLOURS)] for k in range(len(policies))]
    base = alt.Chart().encode(
        x=alt.X(
            "beside:Q",
            title="width",
            scale=alt.Scale(
                type="log", base=2, domain=[min(beside) / 2**_APART, max(beside) * 2**_APART], nice=False
            ),
            axis=alt.Axis(values=list(ticks.values), labelExpr=ticks.label_expr, labelOverlap="greedy"),
        ),
        color=alt.Color(
            "policy:N",
            title="epsilon",
            scale=alt.Scale(domain=policies, range=colours),
            legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=2.5, symbolSize=300),
        ),
    )
    layers = [
        base.mark_line(strokeWidth=1.8).encode(y=y),
        base.mark_rule(strokeWidth=2, opacity=0.7).encode(y=alt.Y("low:Q", title=title), y2="high:Q"),
        base.mark_circle(size=42, opacity=1).encode(
            y=y, tooltip=tips("prescription", "policy", "width", "loss", "over the best")
        ),
    ]
    return alt.LayerChart(data=ROWS, layer=layers, height=_HEIGHT)
