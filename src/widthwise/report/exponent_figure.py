"""The exponent of the best rate per prescription: measured, as theory says it, and as the paper fitted it."""

from fractions import Fraction

import altair as alt

from widthwise.analysis.result import PrescriptionResult
from widthwise.report.figure import ROWS, Figure, Row, of_kind, tips
from widthwise.report.numbers import bounds, fixed, plural
from widthwise.report.optimum_rows import MEASURED
from widthwise.report.page_data import PageData
from widthwise.report.palette import MEASURED as BLUE
from widthwise.report.palette import THEORY
from widthwise.report.paper_text import published_laws
from widthwise.report.words import level_text

PAPER = "the paper's fit"
_ROW = 24
_REACH = 0.6  # how far an interval may stretch the axis beyond what is drawn; a wider one is cut off
_TIPS = ("prescription", "of", "value")


def exponent_figure(data: PageData) -> Figure | None:
    """The figure; None where no exponent is known or theory says none."""
    rows = [row for order, result in enumerate(data.analysis.results) for row in _rows(data, result, order)]
    measured = [row for row in rows if row["kind"] == "measured"]
    said = list(dict.fromkeys(row["of"] for row in rows if row["kind"] == "theory"))
    if not measured or not said:
        return None
    values = "; ".join(f"{row['prescription']} {row['value']}" for row in measured)
    paper = any(row["kind"] == "paper" for row in rows)
    return Figure(
        name="exponents",
        title="Exponents of the best rate, measured and predicted",
        caption=_caption(data, rows),
        description=f"Exponents of the best rate for {plural(len(measured), 'prescription')}: {values}.",
        chart=_chart(rows, said, paper=paper, height=_ROW * len(data.analysis.results)),
        rows=rows,
        widths=1,
    )


def _rows(data: PageData, result: PrescriptionResult, order: int) -> list[Row]:
    fit, name = result.exponent, result.prescription
    if fit.exponent is None:
        return []
    shared: Row = {"prescription": name, "order": order}
    interval = f" {bounds(fit.total)}" if fit.total is not None else ""
    rows: list[Row] = [
        shared | {"kind": "theory", "of": f"theory, {of}", "exponent": float(Fraction(text)), "value": text}
        for of, text in data.predictions.get(name, {}).items()
    ]
    rows += [
        shared | {"kind": "paper", "of": PAPER, "exponent": law, "value": fixed(law, 2)}
        for law in published_laws(data.labels.get(name))
    ]
    ends = {
        f"{part} {end}": None if of is None else getattr(of, end)
        for part, of in (("inner", fit.statistical), ("outer", fit.total))
        for end in ("low", "high")
    }
    value = f"{fixed(fit.exponent, 2)}{interval}"
    return [
        *rows,
        shared | ends | {"kind": "measured", "of": MEASURED, "exponent": fit.exponent, "value": value},
    ]


def _chart(rows: list[Row], said: list[str], *, paper: bool, height: int) -> alt.LayerChart:
    drawn = [row["exponent"] for row in rows]
    ends = [row[end] for row in rows if row["kind"] == "measured" for end in ("outer low", "outer high")]
    low, high = min(drawn), max(drawn)
    known = [end for end in ends if end is not None]
    low, high = max(min([low, *known]), low - _REACH), min(max([high, *known]), high + _REACH)
    domain = [low - 0.05, high + 0.05]

    def x(field: str) -> alt.X:
        return alt.X(
            f"{field}:Q",
            title="exponent of the best rate in the width",
            scale=alt.Scale(domain=domain, nice=False),
            axis=alt.Axis(tickCount=8),
        )

    named = [MEASURED, *said, *([PAPER] if paper else [])]
    colours = alt.Scale(
        domain=named, range=[BLUE, *(THEORY[k % 2] for k in range(len(said))), *THEORY[2:]][: len(named)]
    )
    legend = alt.Legend(title=None, symbolType="circle", symbolSize=110)
    base = alt.Chart().encode(
        y=alt.Y(
            "prescription:N",
            sort=alt.EncodingSortField("order", op="min"),
            title=None,
            axis=alt.Axis(grid=True, ticks=False, domain=False, labelLimit=320),
        ),
        color=alt.Color("of:N", scale=colours, legend=legend),
        tooltip=tips(*_TIPS),
    )
    measured = of_kind(base, "measured")
    return alt.LayerChart(
        data=ROWS,
        layer=[
            measured.mark_rule(clip=True, strokeWidth=1.2).encode(x=x("outer low"), x2="outer high:Q"),
            measured.mark_rule(clip=True, strokeWidth=4).encode(x=x("inner low"), x2="inner high:Q"),
            *(  # of unlike heights, so that both are seen where they agree
                base.transform_filter(alt.FieldEqualPredicate(field="of", equal=of))
                .mark_tick(thickness=3, size=_ROW - 4 - 8 * k, opacity=1)
                .encode(x=x("exponent"))
                for k, of in enumerate(said)
            ),
            of_kind(base, "paper")
            .mark_point(shape="diamond", filled=False, size=70, strokeWidth=1.6, opacity=1)
            .encode(x=x("exponent")),
            measured.mark_circle(size=80, opacity=1).encode(x=x("exponent")),
        ],
        width=640,
        height=height,
    )


def _caption(data: PageData, rows: list[Row]) -> tuple[str, ...]:
    lines = [
        "The best rate of a prescription goes with the width to the power of its exponent; 0 is a rate that transfers."
    ]
    if any(row.get("outer low") is not None for row in rows):
        lines.append(
            f"The thick bar is the {level_text(data.analysis.level)} interval of the noise, the thin one adds the "
            "difference between the parabola and the cubic; a bar that reaches the frame goes on beyond it."
        )
    lines.append(
        "The strokes are theory's: of the largest rate that stays stable as widths grow, under each assumption on "
        "alignment."
    )
    if any(row["kind"] == "paper" for row in rows):
        lines.append("Diamonds are the paper's fits, one each of its two sweeps.")
    return tuple(lines)
