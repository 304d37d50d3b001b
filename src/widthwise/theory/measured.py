"""Measured alignment: exponents from a regression over widths, with their intervals.

A log alignment ratio read at one width is biased by O(1 / log n): it is a diagnostic. Only the slope over at least
three widths estimates the exponent, so nothing else is accepted here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from widthwise.theory.alignment import Alignment, PerLayerAlignment

RESOLUTION = 1000
"""Measured exponents enter the exact theory as multiples of 1 / RESOLUTION: far below any interval's width."""

LEAST_WIDTHS = 3


@dataclass(frozen=True)
class MeasuredExponent:
    """One alignment exponent with its interval.

    Args:
        value: the slope; NaN where it is undefined (nothing changed).
        low: lower end of its interval.
        high: upper end.
        widths: the widths that the regression ran over.
    """

    value: float
    low: float
    high: float
    widths: tuple[int, ...]


@dataclass(frozen=True)
class MeasuredAlignment:
    """The three measured exponents of a layer."""

    alpha: MeasuredExponent
    omega: MeasuredExponent
    u: MeasuredExponent


class End(StrEnum):
    """Which end of the intervals is read."""

    LOW = "low"
    VALUE = "value"
    HIGH = "high"


def measured_alignment(
    layers: Mapping[str, MeasuredAlignment], *, end: End = End.VALUE, name: str = "measured"
) -> PerLayerAlignment:
    """The assumption that measured exponents amount to, at their values or at one end of their intervals.

    Raises:
        ValueError: an undefined exponent, an interval that does not contain its value, or fewer than three widths.

    Example:
        >>> slope = MeasuredExponent(0.9312, 0.90, 0.96, widths=(128, 256, 512))
        >>> measured = measured_alignment({"hidden": MeasuredAlignment(slope, slope, slope)})
        >>> measured.layers["hidden"].alpha
        Fraction(931, 1000)
    """
    return PerLayerAlignment(
        name=name,
        layers={
            layer: Alignment(
                name=f"{name} at {layer}",
                alpha=_read(layer, "alpha", measured.alpha, end),
                omega=_read(layer, "omega", measured.omega, end),
                u=_read(layer, "u", measured.u, end),
            )
            for layer, measured in layers.items()
        },
    )


def _read(layer: str, symbol: str, exponent: MeasuredExponent, end: End) -> Fraction:
    widths = sorted(set(exponent.widths))
    if len(widths) < LEAST_WIDTHS:
        raise ValueError(
            f"layer {layer!r}: {symbol} was measured at {len(widths)} width(s) {widths}; a ratio at one width is not "
            f"an exponent: measure at {LEAST_WIDTHS} or more and take the slope"
        )
    if not all(math.isfinite(x) for x in (exponent.low, exponent.value, exponent.high)):
        raise ValueError(
            f"layer {layer!r}: {symbol} is undefined ({exponent.value}, interval {exponent.low} to {exponent.high}); "
            "measure where the layer changes, or freeze the layer"
        )
    if not exponent.low <= exponent.value <= exponent.high:
        raise ValueError(
            f"layer {layer!r}: {symbol} = {exponent.value} lies outside its interval {exponent.low} to {exponent.high}"
        )
    value = {End.LOW: exponent.low, End.VALUE: exponent.value, End.HIGH: exponent.high}[end]
    return Fraction(round(value * RESOLUTION), RESOLUTION)
