"""An epsilon report as text: the table that is printed, and what it comes to in words."""

import math
from collections.abc import Sequence

from widthwise.measure.epsilon_report import EpsilonReport, EpsilonRow
from widthwise.measure.epsilon_verdict import EpsilonVerdict
from widthwise.scaling.role_decision import numberless
from widthwise.text_table import aligned

HEADER = ("tensor", "role", "epsilon", "touched", "below", "median / epsilon", "median", "v = 0", "verdict")
PLANNED = "by the plan"
FINE = "largest fine"
UNDEFINED = "-"
SHOWN = 6

CURES = (
    "Let epsilon follow the gradient (param_groups(..., epsilon=...)), take a smaller constant, or an optimizer "
    "without one (AdamAtan2)."
)
LOST_SQUARES = (
    "Where v = 0 the square of the gradient has underflowed, which no epsilon cures: keep the root (AdamAtan2 with "
    "second_moment=ROOT), or scale the loss up."
)


def table(report: EpsilonReport) -> str:
    """The whole report: tensors, those that differ only in a layer's number in one line, and then roles."""
    lines = [_header(report)]
    lines += [_cells(report, name, row) for name, row in lines_of(report.rows)]
    lines += [_cells(report, f"all {row.role} ({row.tensors})", row) for row in report.roles]
    return "\n".join([head(report), *aligned(lines)])


def head(report: EpsilonReport) -> str:
    """What was measured, in a line."""
    where = (
        ""
        if report.width is None
        else f"; width {report.width}, base width {report.base_width}, {report.parameterization} parameterization"
    )
    return f"{report.optimizer}, step {report.step}{where}"


def lines_of(rows: Sequence[EpsilonRow]) -> list[tuple[str, EpsilonRow]]:
    """A name and a row a line: of tensors that are alike the one that epsilon is worst for."""
    groups: dict[tuple[object, ...], list[EpsilonRow]] = {}
    for row in rows:
        key = (numberless(row.name), row.role, row.epsilon, row.planned, row.verdict)
        groups.setdefault(key, []).append(row)
    return [
        (found[0].name if len(found) == 1 else f"{key[0]} (x{len(found)})", min(found, key=severity))
        for key, found in groups.items()
    ]


def severity(row: EpsilonRow) -> tuple[float, float]:
    """What puts the row that an epsilon is worst for first, undefined ones last."""
    first, second = -row.fraction, row.median_ratio
    return (
        math.inf if math.isnan(first) else first,
        math.inf if math.isnan(second) else second,
    )


def _header(report: EpsilonReport) -> tuple[str, ...]:
    planned = (PLANNED,) if report.width is not None else ()
    return (*HEADER[:3], *planned, FINE, *HEADER[3:])


def _cells(report: EpsilonReport, name: str, row: EpsilonRow) -> tuple[str, ...]:
    touched = f"{row.counted} of {row.coordinates}" if row.counted < row.coordinates else f"{row.counted}"
    epsilon = UNDEFINED if row.epsilon is None else f"{row.epsilon:.3g}"
    if row.epsilon is None and row.below is not None:
        epsilon = "various"
    planned = (UNDEFINED if row.planned is None else f"{row.planned:.3g}",)
    return (
        name,
        row.role,
        epsilon,
        *(planned if report.width is not None else ()),
        UNDEFINED if row.largest_fine is None else f"{row.largest_fine:.0e}",
        touched,
        percent(row.fraction),
        number(row.median_ratio),
        number(row.median),
        str(row.zeros) + (f", {row.non_finite} not finite" if row.non_finite else ""),
        row.verdict.value,
    )


def percent(fraction: float) -> str:
    """A fraction in per cent, as exactly as it takes to tell it from none and from all.

    Example:
        >>> percent(0.0), percent(2e-5), percent(0.25), percent(float("nan"))
        ('0 %', '0.002 %', '25 %', '-')
    """
    if math.isnan(fraction):
        return UNDEFINED
    scaled = f"{100 * fraction:.2g}"
    if float(scaled) == 100 and fraction < 1:
        return "> 99.5 %"
    return f"{float(scaled):g} %"


def number(value: float) -> str:
    """Three digits, or a dash for what is undefined."""
    return UNDEFINED if math.isnan(value) else f"{value:.3g}"


def summary(report: EpsilonReport) -> str:
    """The verdict, the tensors behind it, and the way out."""
    judged = [row for row in report.rows if row.verdict is not EpsilonVerdict.UNDEFINED]
    sentences: list[str] = []
    if not judged:
        asked = any(row.counted for row in report.rows)
        why = (
            "the optimizer has no epsilon; epsilon=... asks what one would do" if asked else "no gradient yet"
        )
        sentences.append(f"undefined: {why}.")
    else:
        sentences.append(f"{report.verdict.value}: {_counts(judged)}.")
    for verdict, words in (
        (EpsilonVerdict.DOMINATES, "Epsilon dominates"),
        (EpsilonVerdict.BITES, "Epsilon bites"),
    ):
        found = lines_of(report.worst(verdict))
        if found:
            sentences.append(f"{words}: {_listing(found)}")
    if report.verdict in (EpsilonVerdict.BITES, EpsilonVerdict.DOMINATES):
        sentences.append(CURES)
    if report.largest_fine is not None:
        sentences.append(
            f"At this step, the largest constant that is fine for every tensor: {report.largest_fine:.0e}."
        )
    if any(row.zeros for row in report.rows):
        sentences.append(LOST_SQUARES)
    return "\n".join(sentences)


def _counts(rows: Sequence[EpsilonRow]) -> str:
    found = {verdict: sum(row.verdict is verdict for row in rows) for verdict in EpsilonVerdict}
    said = ", ".join(
        f"{found[verdict]} where it {verdict.value}"
        for verdict in (EpsilonVerdict.DOMINATES, EpsilonVerdict.BITES)
        if found[verdict]
    )
    return f"epsilon is fine for {found[EpsilonVerdict.FINE]} of {len(rows)} tensors" + (
        f"; {said}" if said else ""
    )


def _listing(lines: Sequence[tuple[str, EpsilonRow]]) -> str:
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    said = (f"{name} ({percent(row.fraction)} below it)" for name, row in lines[:SHOWN])
    return "; ".join(said) + more + "."
