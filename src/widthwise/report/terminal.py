"""The verdicts for a terminal: a table and a line in words, without the plotting libraries."""

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from widthwise.analysis.result import PrescriptionResult, TransferResult, Verdict
from widthwise.report.numbers import MISSING, bounds, excess_text, fixed, percent, percent_range
from widthwise.report.words import (
    MOST_NAMES,
    VERDICT_SIGNS,
    exponent_missing,
    headline,
    level_text,
    listing,
    reason_text,
)

_STYLES = {Verdict.TRANSFERS: "bold green", Verdict.DOES_NOT: "bold red", Verdict.UNDECIDED: "bold yellow"}

Predictions = Mapping[str, Mapping[str, str]]


def summary_line(analysis: TransferResult) -> str:
    """One sentence: which prescriptions transfer the best learning rate, which do not, which are undecided."""
    return headline(analysis)


def verdict_table(analysis: TransferResult, predictions: Predictions | None = None) -> Table:
    """The verdicts as a table for `rich`, made to fit 80 columns; no text of the data is read as markup.

    Args:
        analysis: what was found.
        predictions: prescription -> assumption -> the exponent that theory predicts, as in `PageData`.
    """
    known = predictions or {}
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    spans = {_widths(result.exponent.widths) for result in analysis.results}
    one_span = len(spans) == 1
    fitted = f"widths {next(iter(spans))}, " if one_span and spans != {MISSING} else ""
    below = [f"{fitted}intervals at {level_text(analysis.level)}", *_missing(analysis.results)]
    table.caption = Text("\n".join(below), style="dim")
    table.caption_justify = "left"
    longest = max((len(result.prescription) for result in analysis.results), default=0)
    table.add_column("prescription", overflow="fold", min_width=min(longest, 20 if one_span else 12))
    table.add_column("verdict", no_wrap=True)
    table.add_column("loss given up")
    table.add_column("exponent")
    if known:
        table.add_column("theory", no_wrap=True)
    if not one_span:
        table.add_column("widths", no_wrap=True)
    for result in analysis.results:
        verdict = Text(
            f"{VERDICT_SIGNS[result.verdict]} {result.verdict.value}", style=_STYLES[result.verdict]
        )
        cells = [Text(result.prescription), verdict, Text(_regret(result)), Text(_exponent(result))]
        if known:
            cells.append(Text(_theory(known.get(result.prescription, {}))))
        if not one_span:
            cells.append(Text(_widths(result.exponent.widths)))
        table.add_row(*cells)
    return table


def _regret(result: PrescriptionResult) -> str:
    loss = result.regret.loss
    if loss is None:
        return MISSING
    text = excess_text(loss)
    return f"{text}\n{percent_range(loss)}" if text == percent(loss.estimate) else text


def _exponent(result: PrescriptionResult) -> str:
    fit = result.exponent
    value = fixed(fit.exponent, 2)
    return value if exponent_missing(fit) else f"{value}\n{bounds(fit.total)}"


def _missing(results: Sequence[PrescriptionResult]) -> list[str]:
    """Why a number or its interval is not in the table, once for all prescriptions that lack it."""
    lacking: dict[str, list[str]] = {}
    without: dict[str, list[str]] = {}
    for result in results:
        if result.regret.loss is None:
            lacking.setdefault(reason_text(result), []).append(result.prescription)
        if why := exponent_missing(result.exponent):
            without.setdefault(f"{why}.", []).append(result.prescription)
    lost = [f"{_named(names)}: {why}" for why, names in lacking.items()]
    return lost + [f"exponent of {_named(names)}: {why}" for why, names in without.items()]


def _named(names: list[str]) -> str:
    return listing(names) if len(names) <= MOST_NAMES else f"{len(names)} prescriptions"


def _theory(predicted: Mapping[str, str]) -> str:
    """Theory's exponents, one assumption per line, "full −1" for full alignment."""
    minus = {name.removesuffix(" alignment"): value.replace("-", "−") for name, value in predicted.items()}
    return "\n".join(f"{name} {value}" for name, value in minus.items()) or MISSING


def _widths(widths: tuple[int, ...]) -> str:
    """The range of the widths fitted: "64–2048"."""
    return f"{min(widths)}–{max(widths)}" if len(widths) > 1 else ", ".join(map(str, widths)) or MISSING
