"""Colours and the look of the figures, for light and dark pages.

Widths run along a piece of viridis, which stays ordered in grey and for colour-blind readers; the ends that would
vanish on the page are left off. The other colours have a contrast of at least 3:1 on either background.
"""

from widthwise.analysis.result import Verdict

VERDICT_COLOURS = {Verdict.TRANSFERS: "#178a62", Verdict.DOES_NOT: "#d0521b", Verdict.UNDECIDED: "#7a828e"}
MEASURED = "#3a79c9"
THEORY = ("#c77d0a", "#a55fc4", "#7a828e")

FONT = (
    "-apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"
)

_VIRIDIS = (
    "#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725",
)  # fmt: skip
_LIGHT_WIDTHS = (0.68, 0.04)
_DARK_WIDTHS = (0.36, 0.97)


def width_colours(count: int, *, dark: bool) -> list[str]:
    """One colour per width, the largest the strongest on its background."""
    first, last = _DARK_WIDTHS if dark else _LIGHT_WIDTHS
    steps = [first + (last - first) * (k / (count - 1) if count > 1 else 1) for k in range(count)]
    return [_viridis(step) for step in steps]


def _viridis(position: float) -> str:
    scaled = position * (len(_VIRIDIS) - 1)
    k = min(int(scaled), len(_VIRIDIS) - 2)
    pairs = zip(_channels(_VIRIDIS[k]), _channels(_VIRIDIS[k + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (scaled - k)):02x}" for a, b in pairs)


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5))


def chart_config(widths: int, *, dark: bool) -> dict[str, object]:
    """The Vega-Lite configuration of every figure.

    Args:
        widths: the number of widths, each of which gets a colour.
        dark: for a dark background instead of a light one.
    """
    text, muted, grid = ("#e6e9ee", "#a9b1bd", "#31363f") if dark else ("#1c2128", "#59626e", "#e4e7eb")
    axis = {
        "labelColor": muted, "titleColor": text, "gridColor": grid, "domainColor": muted, "tickColor": muted,
        "labelFontSize": 12, "titleFontSize": 12.5, "titleFontWeight": 500, "titlePadding": 8,
        "labelPadding": 4, "labelSeparation": 7,
    }  # fmt: skip
    return {
        "background": "transparent" if dark else "#ffffff",
        "font": FONT,
        "view": {"stroke": grid},
        "axis": axis,
        "legend": {
            "labelColor": text, "titleColor": text, "labelFontSize": 12, "titleFontSize": 12.5,
            "titleFontWeight": 500, "orient": "top", "symbolSize": 90, "labelLimit": 260,
        },
        "header": {"labelColor": text, "labelFontSize": 13, "labelFontWeight": 600, "labelLineHeight": 17},
        "title": {
            "color": text, "subtitleColor": muted, "fontSize": 17, "subtitleFontSize": 12.5, "fontWeight": 600,
            "anchor": "start", "subtitlePadding": 6, "subtitleLineHeight": 17, "offset": 14,
        },
        "text": {"color": text},
        "rule": {"color": muted},
        "range": {
            "ordinal": width_colours(widths, dark=dark),
            "ramp": [_viridis(k / 12) for k in (range(3, 13) if dark else range(10, -1, -1))],
        },
    }  # fmt: skip
