"""The rows behind the figure of loss against learning rate."""

import math

from widthwise.analysis.result import CellOptimum, CellStatus, PrescriptionResult, RatePoint, TransferResult
from widthwise.report.figure import Row
from widthwise.report.numbers import MISSING, loss_text, rate_label, rate_text
from widthwise.report.strip import STRIP_ROW, STRIP_TOP
from widthwise.report.uncertainty import optimum_interval
from widthwise.report.valley import Valley
from widthwise.report.words import cell_missing, level_text


def loss_rows(analysis: TransferResult, valley: Valley, widths: list[int]) -> list[Row]:
    """Rows of kind "line", "point", "mark" and "optimum".

    A line breaks (null loss) where nothing trained, and ends at the cap on its way to a mean above it. A "point" is a
    mean below the cap; a "mark" stands in the strip for what is not there; an "optimum" is a cell's optimum, or its
    lowest mean where it has none.
    """
    rows: list[Row] = []
    for order, result in enumerate(analysis.results):
        for cell in result.cells:
            shared = _shared(result, order) | {"width": cell.width}
            pixel = STRIP_TOP + STRIP_ROW * widths.index(cell.width)
            rows += [shared | row for row in _line(cell, valley)]
            rows += [shared | _point(point, valley) for point in cell.points if below(point, valley)]
            rows += [
                shared | _point(point, valley) | {"kind": "mark", "mark": mark, "pixel": pixel}
                for point in cell.points
                if (mark := _mark(point, valley)) is not None
            ]
            if (optimum := _optimum(cell, analysis)) is not None:
                rows.append(shared | optimum)
    return rows


def _shared(result: PrescriptionResult, order: int) -> Row:
    panel = f"{result.prescription}\n{result.verdict.value}"
    return {"prescription": result.prescription, "panel": panel, "order": order}


def below(point: RatePoint, valley: Valley) -> bool:
    """Whether a mean exists and is shown."""
    return point.loss is not None and point.loss <= valley.cap


def _line(cell: CellOptimum, valley: Valley) -> list[Row]:
    rows: list[Row] = []
    for k, point in enumerate(cell.points):
        before = cell.points[k - 1] if k else None
        if point.loss is not None and before is not None and before.loss is not None:
            rows += _crossing(before.rate, before.loss, point.rate, point.loss, valley.cap)
        rows.append(
            {"kind": "line", "rate": point.rate, "loss": point.loss if below(point, valley) else None}
        )
    return rows


def _crossing(rate: float, loss: float, next_rate: float, next_loss: float, cap: float) -> list[Row]:
    """Where a segment crosses the cap, linear in log rate; nothing if it does not."""
    if (loss <= cap) == (next_loss <= cap):
        return []
    share = (cap - loss) / (next_loss - loss)
    return [{"kind": "line", "rate": rate * (next_rate / rate) ** share, "loss": cap}]


def _point(point: RatePoint, valley: Valley) -> Row:
    known = point.low is not None and point.high is not None and point.trained > 1
    return {
        "kind": "point",
        "rate": point.rate,
        "loss": point.loss,
        "low": point.low,
        "high": None if point.high is None else min(point.high, valley.cap),
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
        text = (
            f"{span} ({level_text(analysis.level)})"
            if interval is not None
            else f"{MISSING} ({cell_missing(cell)})"
        )
    else:
        (rate, loss), reach, text = lowest(cell), 0.0, MISSING
    if loss is None or math.isnan(rate):
        return None
    return {
        "kind": "optimum",
        "fitted": cell.status is CellStatus.BRACKETED,
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
