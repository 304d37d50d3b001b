"""The rows behind the figure of best learning rate against width."""

import math
from fractions import Fraction

from widthwise.analysis.result import CellOptimum, CellStatus, PrescriptionResult, TransferResult
from widthwise.report.figure import Row
from widthwise.report.loss_rows import lowest
from widthwise.report.numbers import MISSING, bounds, fixed, plural, rate_label
from widthwise.report.page_data import PageData
from widthwise.report.uncertainty import line_band, optimum_interval
from widthwise.report.words import cell_missing

MEASURED = "measured"
_STEPS = 16


def optimum_rows(data: PageData) -> list[Row]:
    """Rows of kind "point" (bracketed), "edge" (not), "line" (fitted, with its band) and "theory"."""
    rows: list[Row] = []
    for order, result in enumerate(data.analysis.results):
        theory = data.predictions.get(result.prescription, {})
        shared: Row = {"prescription": result.prescription, "panel": _panel(result), "order": order}
        for cell in result.cells:
            row = _cell(cell, data.analysis)
            if row is not None:
                rows.append(shared | row)
        rows += [shared | row for row in _line(result, data.analysis)]
        lines = [row for of, exponent in theory.items() for row in _theory(result, of, exponent)]
        rows += [shared | row for row in _apart(lines)]
    return rows


def _panel(result: PrescriptionResult) -> str:
    fit = result.exponent
    if fit.exponent is None:
        return f"{result.prescription}\n{len(fit.widths)} of {plural(len(result.cells), 'width')} bracketed"
    interval = f" {bounds(fit.total)}" if fit.total is not None else ", noise unknown"
    return f"{result.prescription}\nexponent {fixed(fit.exponent, 2)}{interval}"


def _cell(cell: CellOptimum, analysis: TransferResult) -> Row | None:
    if cell.status is not CellStatus.BRACKETED or cell.best is None:
        rate, loss = lowest(cell)
        if loss is None:
            return None
        return {
            "kind": "edge", "width": cell.width, "rate": rate, "status": cell.status.value,
            "best rate": rate_label(rate), "interval": f"{MISSING} ({cell_missing(cell)})",
        }  # fmt: skip
    interval = optimum_interval(cell, analysis)
    inner = interval.statistical if interval is not None else 0.0
    outer = interval.total if interval is not None else 0.0
    span = f"{rate_label(2 ** (cell.best - outer))} to {rate_label(2 ** (cell.best + outer))}"
    return {
        "kind": "point", "width": cell.width, "rate": 2.0**cell.best, "status": cell.status.value, "line": MEASURED,
        "inner low": 2.0 ** (cell.best - inner), "inner high": 2.0 ** (cell.best + inner),
        "outer low": 2.0 ** (cell.best - outer), "outer high": 2.0 ** (cell.best + outer),
        "best rate": rate_label(2.0**cell.best),
        "interval": span if interval is not None else f"{MISSING} ({cell_missing(cell)})",
    }  # fmt: skip


def _line(result: PrescriptionResult, analysis: TransferResult) -> list[Row]:
    widths = result.exponent.widths
    if len(widths) < 2:
        return []
    first, last = math.log2(min(widths)), math.log2(max(widths))
    rows: list[Row] = []
    for k in range(_STEPS + 1):
        x = first + (last - first) * k / _STEPS
        band = line_band(result, analysis, x)
        if band is not None:
            bounded = math.isfinite(band.low) and math.isfinite(band.high)
            rows.append(
                {
                    "kind": "line",
                    "line": MEASURED,
                    "width": 2.0**x,
                    "rate": 2.0**band.estimate,
                    "low": 2.0**band.low if bounded else None,
                    "high": 2.0**band.high if bounded else None,
                }
            )
    return rows


def _theory(result: PrescriptionResult, assumption: str, exponent: str) -> list[Row]:
    bracketed = {cell.width: cell.best for cell in result.cells if cell.best is not None}
    if not bracketed:
        return []
    base = result.regret.base_width
    anchor = base if base in bracketed else min(bracketed)
    widths = sorted(cell.width for cell in result.cells)
    slope, height = float(Fraction(exponent)), bracketed[anchor]
    return [
        {
            "kind": "theory",
            "line": f"theory, {assumption}",
            "width": width,
            "rate": 2.0 ** (height + slope * math.log2(width / anchor)),
            "end": exponent.replace("-", "−") if width == widths[-1] else "",
        }
        for width in (widths[0], widths[-1])
    ]


def _apart(lines: list[Row]) -> list[Row]:
    """Theory's lines; those that end together, at their anchor, have their exponents in one label."""
    ends: dict[float, list[str]] = {}
    for row in lines:
        if row["end"]:
            ends.setdefault(row["rate"], []).append(row["end"])
    labels = {rate: ", ".join(dict.fromkeys(texts)) for rate, texts in ends.items()}
    return [row | {"end": labels.pop(row["rate"], "") if row["end"] else ""} for row in lines]
