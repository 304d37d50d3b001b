"""Rate axes of panels far apart: each around its own rates, and all over as many octaves, so that slopes compare.

One axis for all panels would serve SGD and Adam, whose best rates lie twenty octaves apart, and flatten every line.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt

from widthwise.report.figure import Row
from widthwise.report.ticks import rate_ticks

_WIDER = 1.5  # one axis for all panels may span so many times what the widest panel needs
_HAIR = 1.0
FRAME = "frame"
"""The kind of the rows that stretch a panel's axis; nothing is drawn of them."""


@dataclass(frozen=True)
class RateAxis:
    """The rates that each panel shows.

    Args:
        low: log2 of the lowest rate of any panel, its margin included.
        high: of the highest.
        frames: panel -> log2 of its lowest and its highest rate; none where all share one axis.
    """

    low: float
    high: float
    frames: Mapping[str, tuple[float, float]]

    def holds(self, rate: float, panel: str, *, room: float = 0.0) -> bool:
        """Whether a panel shows a rate, with so many octaves to each side."""
        return all(self.clipped(end, panel) == end for end in (rate / 2.0**room, rate * 2.0**room))

    def clipped(self, rate: float, panel: str) -> float:
        """A rate, or the end of its panel that lies beyond it."""
        low, high = self.frames.get(panel, (self.low, self.high))
        return min(max(rate, 2.0**low), 2.0**high)

    def within(self, row: Row, ends: Sequence[str]) -> Row:
        """A row whose intervals end with its panel, which they would stretch; `wide` where one goes on at both sides.

        Args:
            row: of the figure.
            ends: names of rates, the low and the high end of an interval after each other.
        """
        if not self.frames:
            return row
        kept = {name: self.clipped(row[name], row["panel"]) for name in ends if row.get(name)}
        pairs = zip(ends[::2], ends[1::2], strict=True)
        wide = any(
            kept.get(low, 0) > row.get(low, 0) and kept[high] < row[high]
            for low, high in pairs
            if low in kept
        )
        return row | kept | {"wide": wide}

    def scale(self) -> alt.Scale:
        """Of the chart: with the domain where it is shared, of the panel's rows where it is not."""
        if self.frames:
            return alt.Scale(type="log", base=2, nice=False)
        return alt.Scale(type="log", base=2, domain=[2.0**self.low, 2.0**self.high], nice=False)

    def axis(self, *, dyadic: bool, most: int, extent: int = 0) -> alt.Axis:
        """Ticks, so many in a panel at most, and the pixels that their labels take where each panel has its own."""
        spans = [high - low for low, high in self.frames.values()] or [self.high - self.low]
        every = math.ceil(most * (self.high - self.low) / max(max(spans), 1e-9))
        ticks = rate_ticks(2.0**self.low, 2.0**self.high, dyadic=dyadic, most=every)
        axis = alt.Axis(values=list(ticks.values), labelExpr=ticks.label_expr, labelOverlap="greedy")
        if self.frames:  # equally wide panels, one below the other
            axis.minExtent, axis.labelBound = extent, True
        return axis

    def rows(self, rows: list[Row]) -> list[Row]:
        """What stretches each panel's axis, one row an end."""
        shared = {
            row["panel"]: {name: row[name] for name in ("prescription", "panel", "order")} for row in rows
        }
        return [
            {**shared[panel], "kind": FRAME, "rate": 2.0**end}
            for panel, ends in self.frames.items()
            for end in ends
        ]


def rate_axis(ranges: Mapping[str, tuple[float, float]], *, margin: float) -> RateAxis:
    """One axis for all panels if it does not flatten them, or one of as many octaves for each.

    Args:
        ranges: panel -> log2 of the lowest and highest rate that it must show.
        margin: octaves beyond them.

    Example:
        >>> rate_axis({"adam": (-10, -7), "sgd": (-1, 1)}, margin=0.5).frames
        {'adam': (-10.5, -6.5), 'sgd': (-2.0, 2.0)}
        >>> rate_axis({"adam": (-10, -7), "mup": (-9, -7)}, margin=0.5).frames
        {}
    """
    low, high = min(low for low, _ in ranges.values()), max(high for _, high in ranges.values())
    half = max(high - low for low, high in ranges.values()) / 2 + margin
    frames: dict[str, tuple[float, float]] = {}
    if high - low + 2 * margin > _WIDER * 2 * half:
        middles = {panel: (first + last) / 2 for panel, (first, last) in ranges.items()}
        frames = {panel: (middle - half, middle + half) for panel, middle in middles.items()}
        return RateAxis(min(f[0] for f in frames.values()), max(f[1] for f in frames.values()), frames)
    return RateAxis(low - margin, high + margin, frames)


def thickness(usual: float) -> Any:
    """Of a bar: a hair where it is wider than its panel, so that it does not bury what it crosses."""
    return alt.condition("datum.wide", alt.value(_HAIR), alt.value(usual))


def stretched(chart: alt.FacetChart, axis: RateAxis, *, along: Literal["x", "y"]) -> alt.FacetChart:
    """The panels, each with a rate axis of its own where `axis` says so.

    Args:
        chart: of `in_panels`.
        axis: of the rates.
        along: which axis the rates are on.
    """
    if not axis.frames:
        return chart
    return chart.resolve_scale(x="independent") if along == "x" else chart.resolve_scale(y="independent")


def frame_layer(encoding: alt.X | alt.Y) -> alt.Chart:
    """A layer without a mark that is seen, whose rows stretch the axis."""
    chart = alt.Chart().transform_filter(alt.FieldEqualPredicate(field="kind", equal=FRAME))
    return chart.mark_point(opacity=0, size=0).encode(encoding)
