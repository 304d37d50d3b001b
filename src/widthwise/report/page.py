"""One self-contained HTML page: everything it loads is inside it, and nothing in it is loaded from elsewhere."""

import json
from functools import cache
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from widthwise.report.alignment_table import alignment_rows
from widthwise.report.compact import compact
from widthwise.report.figure import Figure, bare_spec, schema_version
from widthwise.report.figures import make_figures
from widthwise.report.filters import FEW, arm_parts, page_filters
from widthwise.report.notes import grouped_notes
from widthwise.report.numbers import percent, short_percent
from widthwise.report.page_data import PageData
from widthwise.report.palette import chart_config
from widthwise.report.tables import BADGES, CELL_COLUMNS, assumptions, cell_rows, verdict_rows
from widthwise.report.words import answer, headline, level_text, noise_sentence

_HARMLESS = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&'\u2028\u2029"})
PANELS = 12
"""So many prescriptions have their panels on the page at once; the reader asks for more, or chooses."""
COUNT_ORDER = ("completed", "diverged", "failed", "pending")


def render_page(data: PageData, figures: tuple[Figure, ...] | None = None) -> str:
    """The page of a report.

    Equal data gives equal bytes. Every text of the data is escaped.

    Args:
        data: the content.
        figures: those of `make_figures(data)`, if they are drawn already.
    """
    figures = make_figures(data) if figures is None else figures
    analysis = data.analysis
    widths = max((figure.widths for figure in figures), default=1)
    names = [result.prescription for result in analysis.results]
    payload = {
        "names": names,
        "arms": arm_parts(names, data.labels),
        "panels": PANELS,
        "figures": {figure.name: _figure(figure) for figure in figures},
        "light": chart_config(widths, dark=False),
        "dark": chart_config(widths, dark=True),
    }
    counts = [name for name in COUNT_ORDER if name in data.counts]
    counts += sorted(set(data.counts) - set(counts))
    return environment().get_template("template.html.j2").render(
        data=data,
        headline=headline(analysis),
        answers=[
            (result.prescription, BADGES[result.verdict], answer(result, analysis.margin, analysis.level))
            for result in analysis.results
        ],
        level=level_text(analysis.level),
        margin=short_percent(analysis.margin),
        percent=percent,
        verdict_rows=verdict_rows(data),
        assumptions=assumptions(data),
        figures=figures,
        filters=page_filters(names, (c.width for r in analysis.results for c in r.cells), data.labels),
        few=len(names) <= FEW,
        paged=len(names) > PANELS,
        noise=noise_sentence(analysis),
        notes=grouped_notes(analysis.notes),
        counts=[(name, data.counts[name]) for name in counts],
        alignment_rows=alignment_rows(data),
        cell_columns=CELL_COLUMNS,
        cell_rows=cell_rows(analysis),
        payload=safe_json(payload),
        bundle=_bundle(),
    )  # fmt: skip


def _figure(figure: Figure) -> dict[str, Any]:
    spec = bare_spec(figure)
    rising = figure.paged and "facet" not in spec
    return {"spec": spec, "tables": compact(figure.rows), "paged": figure.paged, "rising": rising}


def safe_json(value: Any) -> Markup:
    """JSON that no text inside can break out of a script element, on one line and in a fixed order."""
    text = json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.translate(_HARMLESS))  # noqa: S704 - every character that HTML reads is escaped


@cache
def environment() -> Environment:
    """The templates, with HTML escaped and unknown names refused."""
    return Environment(
        loader=PackageLoader("widthwise", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _bundle() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=schema_version())
    return Markup(script.replace("</script", "<\\/script").replace("<!--", "<\\!--"))  # noqa: S704
