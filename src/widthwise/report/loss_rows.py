"""The rows behind the figure of loss against learning rate."""

import math

from widthwise.analysis.result import CellOptimum, CellStatus, PrescriptionResult, RatePoint, TransferResult
from widthwise.report.figure import Row
from widthwise.report.numbers import MISSING, loss_text, rate_label, rate_text
from widthwise.report.uncertainty import optimum_interval
from widthwise.report.strip import STRIP_ROW, STRIP_TOP
from widthwise.report.valley import Valley
from widthwise.report.words import VERDICT_SIGNS, cell_missing, level_text


def loss_rows(analysis: TransferResult, valley: Valley, widths: list[int]) -> list[Row]:
    """One row per mean ("point"), per mark in the strip ("mark") and per optimum or edge ("optimum").

    A mean that does not exist has a null loss, which breaks the line, and a mark in the strip.
    """
    rows: list[Row] = []
    for order, result in enumerate(analysis.results):
        for cell in result.cells:
            shared = _shared(result, order) | {"width": cell.width}
            pixel = STRIP_TOP + STRIP_ROW * widths.index(cell.width)
            rows += [shared | _point(point) for point in cell.points]
            rows += [
                shared | _point(point) | {"kind": "mark", "mark": mark, "pixel": pixel}
                for point in cell.points
                if (mark := _mark(point, valley)) is not None
            ]
            if (optimum := _optimum(cell, analysis)) is not None:
                rows.append(shared | optimum)
    return rows


def _shared(result: PrescriptionResult, order: int) -> Row:
    panel = f"{result.prescription}\n{VERDICT_SIGNS[result.verdict]} {result.verdict.value}"
    return {"prescription": result.prescription, "panel": panel, "order": order}


def _point(point: RatePoint) -> Row:
    known = point.low is not None and point.high is not None and point.trained > 1
    return {
        "kind": "point",
        "rate": point.rate,
        "loss": point.loss,
        "low": point.low,
        "high": point.high,
        "learning rate": rate_text(point.rate),
        "mean loss": loss_text(point.loss),
        "seed range": f"{loss_text(point.low)} to {loss_text(point.high)}" if known else MISSING,
        "seeds": f"{point.trained} trained, {point.diverged} diverged",
    }


def _mark(point: RatePoint, valley: Valley) -> str | None:
    if point.loss is None:
        return "diverged" if point.diverged else None
    if point.loss > valley.cap:
        return "loss off the scale"
    return "some seeds diverged" if point.diverged else None


def _optimum(cell: CellOptimum, analysis: TransferResult) -> Row | None:
    if cell.status is CellStatus.BRACKETED and cell.best is not None:
        interval = optimum_interval(cell, analysis)
        reach = interval.total if interval is not None else 0.0
        rate, loss = 2.0**cell.best, cell.loss if cell.loss is not None else lowest(cell)[1]
        span = f"{rate_label(2 ** (cell.best - reach))} to {rate_label(2 ** (cell.best + reach))}"
        text = f"{span} ({level_text(analysis.level)})" if interval is not None else f"{MISSING} ({cell_missing(cell)})"
    else:
        (rate, loss), reach, text = lowest(cell), 0.0, MISSING
    if loss is None or math.isnan(rate):
        return None
    return {
        "kind": "optimum",
        "mark": cell.status.value,
        "status": cell.status.value,
        "rate": rate,
        "loss": loss,
        "rate low": rate / 2.0**reach,
        "rate high": rate * 2.0**reach,
        "best rate": rate_label(rate),
        "interval": text,
        "loss there": loss_text(loss),
    }


def lowest(cell: CellOptimum) -> tuple[float, float | None]:
    """The rate with the lowest mean loss, and that loss; (nan, None) where nothing trained."""
    trained = [(point.loss, point.rate) for point in cell.points if point.loss is not None]
    if not trained:
        return math.nan, None
    loss, rate = min(trained)
    return rate, loss
