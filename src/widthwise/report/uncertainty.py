"""Intervals of optima and the band around a fitted line, from what the analysis reports."""

import math
from dataclasses import dataclass

from widthwise.analysis.noise import student_quantile
from widthwise.analysis.result import CellOptimum, Interval, PrescriptionResult, TransferResult


@dataclass(frozen=True)
class OptimumInterval:
    """Half-widths, in octaves, around a cell's best rate: of the noise alone, and with the fits' difference added."""

    statistical: float
    total: float


def student(analysis: TransferResult, degrees_of_freedom: int) -> float | None:
    """Student's t at the analysis' level; None where the noise is unknown."""
    return student_quantile(analysis.level, degrees_of_freedom) if degrees_of_freedom >= 1 else None


def optimum_interval(cell: CellOptimum, analysis: TransferResult) -> OptimumInterval | None:
    """The interval of a cell's best rate: t s, and t s plus the systematic difference."""
    t = student(analysis, cell.degrees_of_freedom)
    if t is None or cell.standard_error is None:
        return None
    statistical = t * cell.standard_error
    return OptimumInterval(statistical, statistical + (cell.systematic or 0.0))


def line_band(result: PrescriptionResult, analysis: TransferResult, x: float) -> Interval | None:
    """The fitted line at x = log2(width) with its band.

    The uncertainty of the line's height at the mean width, t s / sqrt(n), and that of its slope are independent there
    and add in squares: with equal errors this is the confidence band of a least-squares line.
    """
    fit, t = result.exponent, student(analysis, result.exponent.degrees_of_freedom)
    if fit.exponent is None or fit.intercept is None:
        return None
    height = fit.intercept + fit.exponent * x
    errors = [cell.standard_error for cell in result.cells if cell.width in fit.widths]
    known = [error for error in errors if error is not None]
    if fit.total is None or t is None or len(known) < len(fit.widths):
        return Interval(height, height, height)
    level = t * math.sqrt(sum(error**2 for error in known)) / len(known)
    distance = x - sum(math.log2(width) for width in fit.widths) / len(fit.widths)
    above, below = fit.total.high - fit.exponent, fit.exponent - fit.total.low
    up, down = (above, below) if distance >= 0 else (below, above)
    return Interval(
        height, height - math.hypot(level, down * distance), height + math.hypot(level, up * distance)
    )
