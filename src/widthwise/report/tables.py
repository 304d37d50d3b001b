"""The cells of a page's tables as text, a missing value always with its reason."""

from dataclasses import dataclass

from widthwise.analysis.result import CellOptimum, PrescriptionResult, TransferResult, Verdict
from widthwise.report.numbers import (
    MISSING,
    bounds,
    excess_text,
    fixed,
    loss_text,
    percent,
    percent_range,
    rate_text,
)
from widthwise.report.page_data import PageData
from widthwise.report.words import (
    VERDICT_SIGNS,
    cell_missing,
    exponent_missing,
    reason_text,
    theory_text,
    widths_text,
)

BADGES = {Verdict.TRANSFERS: "yes", Verdict.DOES_NOT: "no", Verdict.UNDECIDED: "open"}


@dataclass(frozen=True)
class Entry:
    """A table cell: its text and what stands under it in small type."""

    text: str
    note: str = ""


@dataclass(frozen=True)
class VerdictRow:
    """One prescription in the table of verdicts."""

    prescription: str
    verdict: str
    sign: str
    badge: str
    regret: Entry
    exponent: Entry
    theory: tuple[Entry, ...]
    widths: str


@dataclass(frozen=True)
class CellRow:
    """One (prescription, width) in the table of optima."""

    prescription: str
    width: int
    status: str
    usable: bool
    entries: tuple[Entry, ...]


CELL_COLUMNS = ("best rate", "log₂ best", "parabola", "cubic", "standard error", "systematic", "loss there")


def assumptions(data: PageData) -> tuple[str, ...]:
    """The alignment assumptions of theory that any prescription has a prediction for, in order."""
    shown = (data.predictions.get(result.prescription, {}) for result in data.analysis.results)
    return tuple(dict.fromkeys(name for predictions in shown for name in predictions))


def verdict_rows(data: PageData) -> list[VerdictRow]:
    """The table of verdicts."""
    columns = assumptions(data)
    rows: list[VerdictRow] = []
    for result in data.analysis.results:
        theory = data.predictions.get(result.prescription, {})
        rows.append(
            VerdictRow(
                prescription=result.prescription,
                verdict=result.verdict.value,
                sign=VERDICT_SIGNS[result.verdict],
                badge=BADGES[result.verdict],
                regret=_regret(result),
                exponent=_exponent(result),
                theory=tuple(
                    Entry(theory_text(theory[name], result.exponent))
                    if name in theory
                    else Entry(MISSING, "no prediction")
                    for name in columns
                ),
                widths=widths_text(result.exponent),
            )
        )
    return rows


def _regret(result: PrescriptionResult) -> Entry:
    loss = result.regret.loss
    if loss is None:
        return Entry(MISSING, reason_text(result))
    text = excess_text(loss)
    return Entry(text, percent_range(loss) if text == percent(loss.estimate) else "")


def _exponent(result: PrescriptionResult) -> Entry:
    fit = result.exponent
    why = exponent_missing(fit)
    if fit.exponent is None or fit.statistical is None:
        return Entry(fixed(fit.exponent, 2), why)
    return Entry(fixed(fit.exponent, 2), f"noise {bounds(fit.statistical)}\ntotal {bounds(fit.total)}")


def cell_rows(analysis: TransferResult) -> list[CellRow]:
    """The table of optima."""
    return [_cell_row(cell) for result in analysis.results for cell in result.cells]


def _cell_row(cell: CellOptimum) -> CellRow:
    why = cell_missing(cell)
    values = (
        MISSING if cell.best is None else rate_text(2.0**cell.best),
        fixed(cell.best, 2),
        fixed(cell.parabola, 2),
        fixed(cell.cubic, 2),
        fixed(cell.standard_error, 3),
        fixed(cell.systematic, 3),
        loss_text(cell.loss),
    )
    entries = tuple(Entry(text, why if text == MISSING else "") for text in values)
    return CellRow(cell.prescription, cell.width, cell.status.value, cell.best is not None, entries)
