"""A figure: one Altair chart with its name, its caption, its description, and the specifications made of it."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt
import vl_convert

from widthwise.report.numbers import LOWERED, RAISED
from widthwise.report.palette import chart_config

Row = dict[str, Any]
ROWS = alt.NamedData(name="rows")

_COLUMNS = 3


@dataclass(frozen=True, repr=False)
class Figure:
    """One figure of a report; a notebook shows it as the image that a report has of it.

    Args:
        name: the stem of its files.
        title: what it shows.
        caption: how to read it, sentence by sentence.
        description: its content in words, for a reader who cannot see it.
        chart: the chart, without title, of the data named `rows`.
        rows: that data, which joins the specification as it is: Altair would copy and check every value.
        widths: the number of widths that need a colour.
        image_note: what an image must say because nobody can choose it there.
        paged: whether it grows by a panel or a row with each prescription, so that a page shows some at a time.
    """

    name: str
    title: str
    caption: tuple[str, ...]
    description: str
    chart: alt.TopLevelMixin
    rows: list[Row]
    widths: int
    image_note: str = ""
    paged: bool = True

    def __repr__(self) -> str:
        """One line, without the rows."""
        return f"<Figure {self.name!r}: {self.title}>"

    def _repr_svg_(self) -> str:
        """What a notebook shows: the chart alone would be one without data."""
        return figure_svg(self)


def page_spec(figure: Figure) -> dict[str, Any]:
    """The Vega-Lite specification with its data, without title, caption and configuration."""
    return bare_spec(figure) | {"datasets": {"rows": figure.rows}}


def bare_spec(figure: Figure) -> dict[str, Any]:
    """The specification for a page, which supplies title, caption, configuration and the rows itself."""
    with alt.theme.enable("none"):
        spec: dict[str, Any] = figure.chart.to_dict()
    spec.pop("config", None)
    return spec | {"description": figure.description}


def static_spec(figure: Figure) -> dict[str, Any]:
    """The specification for an image: with title and caption, on white."""
    spec = _plain_powers(page_spec(figure))
    lines = textwrap.wrap(" ".join([*figure.caption, figure.image_note]), width=_characters(spec))
    title = {"text": figure.title, "subtitle": lines}
    return spec | {"title": title, "config": chart_config(figure.widths, dark=False), "padding": 16}


def figure_svg(figure: Figure) -> str:
    """The image."""
    return vl_convert.vegalite_to_svg(static_spec(figure), vl_version=schema_version())


def _plain_powers(value: Any) -> Any:
    """Raised digits as "^−8": the fonts at hand when an image is drawn often lack them."""
    if isinstance(value, str):
        return RAISED.sub(lambda found: "^" + found.group().translate(LOWERED), value)
    if isinstance(value, dict):
        return {key: _plain_powers(item) for key, item in value.items()}
    return [_plain_powers(item) for item in value] if isinstance(value, list) else value


def _characters(spec: dict[str, Any]) -> int:
    """How many characters of a caption fit over a chart: about 6.2 pixels each."""
    if "vconcat" in spec:
        spec = spec["vconcat"][0]
    if "facet" not in spec:
        return int((spec["width"] + 120) / 6.2)
    panels, width = spec["columns"], spec["spec"]["width"]
    return max(70, int(panels * (width + 20) / 6.2))


def schema_version() -> str:
    """The Vega-Lite version of the installed Altair, as vl-convert names it: "6.4"."""
    return ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def in_panels(layers: alt.LayerChart, panels: int, *, width: int = 300) -> alt.FacetChart:
    """One panel for each prescription, in order, every row of the data naming its `panel` and `order`."""
    header = alt.Header(
        title=None,
        labelAnchor="start",
        labelExpr="split(datum.label, '\\n')",
        labelLimit=width,
        labelPadding=6,
    )
    columns = min(panels, _COLUMNS)
    panel = alt.Facet("panel:N", sort=alt.EncodingSortField("order", op="min"), header=header)
    chart = layers.properties(width=width).facet(facet=panel, columns=columns, spacing=24)
    return chart.resolve_axis(x="independent") if panels > columns else chart


def of_kind(chart: alt.Chart, kind: str) -> alt.Chart:
    """The chart of the rows of one kind only."""
    return chart.transform_filter(alt.FieldEqualPredicate(field="kind", equal=kind))


def tips(*names: str) -> list[alt.Tooltip]:
    """A tooltip with these fields, each already text."""
    return [alt.Tooltip(f"{name}:N") for name in names]


def zoom(name: str, *, along: Sequence[Literal["x", "y"]] = ("x", "y")) -> alt.Parameter:
    """Pan by dragging and zoom with shift and wheel, so that scrolling the page stays scrolling the page.

    Args:
        name: of the parameter.
        along: the axes that move, in all panels together: those that the panels share.
    """
    return alt.selection_interval(
        name=name, bind="scales", encodings=list(along), zoom="wheel![event.shiftKey]"
    )
