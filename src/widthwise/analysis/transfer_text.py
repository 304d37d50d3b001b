"""The analysis of a table as text: one line for each prescription, and what its reader must know."""

import math

from widthwise.analysis.result import Interval, PrescriptionResult, TransferResult
from widthwise.analysis.verdict import percent
from widthwise.text_table import aligned

HEADER = ("prescription", "verdict", "loss given up", "interval", "exponent", "interval", "widths")
UNDEFINED = "-"


def text(analysis: TransferResult) -> str:
    """The table, then a sentence where it has no number for what is lost, then the notes.

    Example:
        >>> from widthwise.analysis import Observation, transfer
        >>> runs = [
        ...     Observation("p", width, 2.0**x, seed, 2 + 0.02 * (x + 6) ** 2 + 0.0001 * seed * x)
        ...     for width in (128, 256) for x in range(-10, -1) for seed in (0, 1)
        ... ]
        >>> print(transfer(runs))
        loss given up against a margin of 1 %, exponent of the best rate; 95 % intervals
        prescription  verdict    loss given up  interval        exponent  interval       widths
        p             transfers  0.00 %         0.00 to 0.00 %  0.00      -0.01 to 0.01  128, 256
    """
    head = (
        f"loss given up against a margin of {100 * analysis.margin:g} %, exponent of the best rate; "
        f"{100 * analysis.level:g} % intervals"
    )
    table = aligned([HEADER, *(_cells(result) for result in analysis.results)])
    reasons = (
        f"{result.prescription}: {result.reason.removeprefix(f'{result.verdict}: ')}"
        for result in analysis.results
        if result.regret.loss is None or math.isinf(result.regret.loss.estimate)
    )
    return "\n".join([head, *table, *reasons, *analysis.notes])


def _cells(result: PrescriptionResult) -> tuple[str, ...]:
    fit, loss = result.exponent, result.regret.loss
    exponent = UNDEFINED if fit.exponent is None else _fixed(fit.exponent)
    widths = ", ".join(map(str, fit.widths)) or UNDEFINED
    return (
        result.prescription, result.verdict.value, _lost(loss), _range_lost(loss), exponent, _range(fit.total), widths
    )  # fmt: skip


def _lost(loss: Interval | None) -> str:
    if loss is None:
        return UNDEFINED
    if math.isinf(loss.estimate):
        return "diverges" if math.isinf(loss.low) else "unbounded"
    bound = math.isinf(loss.high) and loss.estimate == loss.low
    return f"{'at least ' if bound else ''}{percent(loss.estimate)} %"


def _range_lost(loss: Interval | None) -> str:
    if loss is None or math.isinf(loss.low) or (math.isinf(loss.high) and loss.estimate == loss.low):
        return UNDEFINED
    if math.isinf(loss.high):
        return f"{percent(loss.low)} % or more"
    return f"{percent(loss.low)} to {percent(loss.high)} %"


def _range(interval: Interval | None) -> str:
    return UNDEFINED if interval is None else f"{_fixed(interval.low)} to {_fixed(interval.high)}"


def _fixed(value: float) -> str:
    """Two decimals; a rounded zero has no sign."""
    return f"{round(value, 2) + 0.0:.2f}"
