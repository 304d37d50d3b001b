"""Ticks of the axes: learning rates as powers of two or decimals, widths as they are, losses on round numbers.

A Vega axis gets its tick values and one expression that looks the label up by position, so that no label is ever
computed in the browser.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

from widthwise.report.numbers import fixed, is_dyadic, power_of_two, rate_label, significant


@dataclass(frozen=True)
class Ticks:
    """Positions on an axis and their labels."""

    values: tuple[float, ...]
    labels: tuple[str, ...]

    @property
    def label_expr(self) -> str:
        """The Vega expression that gives `datum.value` its label."""
        labels = json.dumps(list(self.labels), ensure_ascii=False)
        return f"{labels}[indexof({json.dumps(list(self.values))}, datum.value)]"


def rate_ticks(low: float, high: float, *, dyadic: bool, most: int = 9) -> Ticks:
    """Ticks between two learning rates.

    Args:
        low: the lowest rate shown, positive.
        high: the highest rate shown.
        dyadic: whether the rates are powers of two.
        most: the largest number of ticks.
    """
    values = _powers_of_two(low, high, most) if dyadic else _decimals(low, high, most)
    label = (lambda rate: power_of_two(math.log2(rate))) if dyadic else rate_label
    return Ticks(tuple(values), tuple(label(value) for value in values))


def _powers_of_two(low: float, high: float, most: int) -> list[float]:
    """Whole powers; halves or quarters of an octave where an axis is so short that it would have one tick."""
    first, last = math.ceil(math.log2(low) - 1e-9), math.floor(math.log2(high) + 1e-9)
    step = max(1, math.ceil((last - first + 1) / most))
    values = [2.0**k for k in range(first, last + 1) if k % step == 0]
    for parts in (2, 4):
        if len(values) < 2:
            first, last = math.ceil(parts * math.log2(low) - 1e-9), math.floor(parts * math.log2(high) + 1e-9)
            values = [2.0 ** (k / parts) for k in range(first, last + 1)]
    return values or [2.0 ** round(math.log2(low))]


def _decimals(low: float, high: float, most: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for leading in ((1, 2, 5), (1, 3), (1,)):
        values = [float(f"{digit}e{decade}") for decade in decades for digit in leading]
        values = [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(values) <= most:
            break
    if len(values) < 2:  # an axis so short that it would have one tick
        return list(round_ticks(low, high, most=4).values)
    return values[:: max(1, math.ceil(len(values) / most))]


def all_dyadic(rates: Iterable[float]) -> bool:
    """Whether every rate reads best as a power of two."""
    return all(is_dyadic(math.log2(rate)) for rate in rates)


def round_ticks(low: float, high: float, *, most: int = 7) -> Ticks:
    """Round numbers (1, 2 or 5 times a power of ten) from low to high, labelled with the digits that they need."""
    if not high > low:
        return Ticks((low,), (significant(low),))
    power = math.floor(math.log10((high - low) / most))
    factor = next(k for k in (1, 2, 5, 10, 20) if (high - low) / (10.0**power * k) <= most)
    step, digits = 10.0**power * factor, max(0, -power - (factor >= 10))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    values = tuple(float(f"{k * step:.12g}") for k in range(first, last + 1))
    return Ticks(values, tuple(fixed(value, digits) for value in values))
