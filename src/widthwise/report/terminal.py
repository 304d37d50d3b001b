"""The verdicts for a terminal: a table and a line in words, without the plotting libraries."""

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from widthwise.analysis.result import PrescriptionResult, TransferResult, Verdict
from widthwise.report.numbers import MISSING, bounds, excess_with_range, fixed
from widthwise.report.words import (
    VERDICT_SIGNS,
    exponent_missing,
    headline,
    level_text,
    theory_text,
    widths_text,
)

_STYLES = {Verdict.TRANSFERS: "bold green", Verdict.DOES_NOT: "bold red", Verdict.UNDECIDED: "bold yellow"}

Predictions = Mapping[str, Mapping[str, str]]


def summary_line(analysis: TransferResult) -> str:
    """One sentence: which prescriptions transfer the best learning rate, which do not, which are undecided."""
    return headline(analysis)


def verdict_table(analysis: TransferResult, predictions: Predictions | None = None) -> Table:
    """The verdicts as a table for `rich`; no text of the data is read as markup.

    Args:
        analysis: what was found.
        predictions: prescription -> assumption -> the exponent that theory predicts, as in `PageData`.
    """
    known = predictions or {}
    shown = (known.get(result.prescription, {}) for result in analysis.results)
    columns = list(dict.fromkeys(name for theory in shown for name in theory))
    table = Table(title_justify="left", show_lines=False)
    table.add_column("prescription", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    table.add_column(f"loss given up ({level_text(analysis.level)} interval)")
    table.add_column(f"exponent ({level_text(analysis.level)}, total)")
    for name in columns:
        table.add_column(Text(f"theory, {name}"))
    table.add_column("widths")
    for result in analysis.results:
        theory = known.get(result.prescription, {})
        predicted = [
            theory_text(theory[name], result.exponent) if name in theory else MISSING for name in columns
        ]
        verdict = Text(
            f"{VERDICT_SIGNS[result.verdict]} {result.verdict.value}", style=_STYLES[result.verdict]
        )
        table.add_row(
            Text(result.prescription),
            verdict,
            Text(_regret(result)),
            Text(_exponent(result)),
            *map(Text, predicted),
            Text(widths_text(result.exponent)),
        )
    return table


def _regret(result: PrescriptionResult) -> str:
    loss = result.regret.loss
    return f"{MISSING} {result.reason}" if loss is None else excess_with_range(loss)


def _exponent(result: PrescriptionResult) -> str:
    fit = result.exponent
    value, why = fixed(fit.exponent, 2), exponent_missing(fit)
    return f"{value} ({why})" if why else f"{value} {bounds(fit.total)}"
