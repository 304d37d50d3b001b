"""Alignment over training: exponents over widths at every time and ratios of each width, as numbers and a figure."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import altair as alt
from stored import series

from widthwise.analysis import Pool, alignment_exponents
from widthwise.report.figure import ROWS, Figure
from widthwise.theory import MeasuredExponent

SHOWN = ("alpha", "u")


def exponents_over_training(store: Path, arm: str) -> dict[float, dict[tuple[str, str], MeasuredExponent]]:
    """Progress -> (role, quantity) -> its exponent; what is undefined is left out."""
    found: dict[float, dict[tuple[str, str], MeasuredExponent]] = {}
    for one in alignment_exponents(series(store, arm).rows, pool=Pool.ROLE):
        if math.isfinite(one.exponent.value):
            found.setdefault(one.progress, {})[one.name, str(one.quantity)] = one.exponent
    return found


def ratios_over_training(store: Path, arm: str) -> dict[tuple[str, str, int, float], float]:
    """(role, quantity, width, progress) -> the log alignment ratio, mean over layers and seeds."""
    found: dict[tuple[str, str, int, float], list[float]] = {}
    for row in series(store, arm).rows:
        assert row.role is not None
        key = (row.role.value, str(row.quantity), row.width, row.progress)
        found.setdefault(key, []).append(row.log_gain / math.log(row.fan_in))
    return {key: math.fsum(ratios) / len(ratios) for key, ratios in found.items()}


def _rows(stores: dict[str, Path], arm: str) -> Iterator[dict[str, Any]]:
    for case, store in stores.items():
        for (role, quantity, width, progress), ratio in ratios_over_training(store, arm).items():
            if quantity in SHOWN and math.isfinite(ratio):
                panel = {"case": case, "layer": f"{role}, {quantity}"}
                yield {**panel, "kind": "ratio", "progress": progress, "value": ratio, "width": width}
        for progress, exponents in exponents_over_training(store, arm).items():
            for (role, quantity), one in exponents.items():
                if quantity in SHOWN:
                    panel = {"case": case, "layer": f"{role}, {quantity}"}
                    ends = {"low": max(one.low, LOWEST), "high": min(one.high, HIGHEST)}
                    yield {**panel, **ends, "kind": "exponent", "progress": progress, "value": one.value}


LOWEST, HIGHEST = 0.2, 1.2
"""Of the vertical axis; intervals that reach further are cut off there."""


def figure(stores: dict[str, Path], arm: str) -> Figure:
    """Ratios by width and exponents with their intervals over training, a row of panels a case.

    Args:
        stores: case -> its store with measurements.
        arm: under whose rates.
    """
    rows = list(_rows(stores, arm))
    x = alt.X("progress:Q", title="training done", axis=alt.Axis(format="%"))
    scale = alt.Scale(domain=[LOWEST, HIGHEST], clamp=True, zero=False)
    y = alt.Y("value:Q", title="alignment", scale=scale)
    low = alt.Y("low:Q", title="alignment", scale=scale)
    base = alt.Chart(ROWS).encode(x=x)
    exponent = base.transform_filter(alt.FieldEqualPredicate(field="kind", equal="exponent"))
    ratio = base.transform_filter(alt.FieldEqualPredicate(field="kind", equal="ratio"))
    layers = alt.layer(
        exponent.mark_area(opacity=0.2, color="#7a828e").encode(y=low, y2="high:Q"),
        ratio.mark_line(strokeWidth=1.5).encode(y=y, color=alt.Color("width:O", title="ratio at width")),
        exponent.mark_line(strokeWidth=2.5, strokeDash=[5, 3], color="#1c2128").encode(y=y),
    ).properties(width=170, height=130)
    chart = layers.facet(
        row=alt.Row("case:N", title=None, sort=list(stores)),
        column=alt.Column("layer:N", title=None),
        spacing=12,
    )
    widths = len({row["width"] for row in rows if "width" in row})
    return Figure(
        name="alignment-experiment",
        title="Alignment of updates over training",
        caption=(
            f"At the base width's best rate under {arm} alignment's rates.",
            "Coloured: the ratio of each width, mean over layers and seeds, a diagnostic.",
            "Dashed: the exponent over widths, with its 95 % interval; 1/2 is no alignment, 1 is full.",
            f"What is above {HIGHEST} is drawn there.",
        ),
        description="Log alignment ratios by width and their exponents over training, for each case and role.",
        chart=chart,
        rows=rows,
        widths=widths,
    )


def write_figure(stores: dict[str, Path], arm: str, path: Path) -> None:
    """The figure as a PNG of twice its size."""
    import vl_convert

    from widthwise.report.figure import page_spec, schema_version
    from widthwise.report.palette import chart_config

    one = figure(stores, arm)
    title = {"text": one.title, "subtitle": list(one.caption)}
    spec = page_spec(one) | {"title": title, "config": chart_config(one.widths, dark=False), "padding": 16}
    path.write_bytes(vl_convert.vegalite_to_png(spec, vl_version=schema_version(), scale=2))
