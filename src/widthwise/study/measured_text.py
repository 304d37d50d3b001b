"""A store's measured alignment as text: exponents and rates of every role and layer, and the nearest preset."""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

from widthwise.study.measured_rates import MeasuredStore
from widthwise.text_table import aligned, folded
from widthwise.theory import ALIGNMENTS, MeasuredAlignment, MeasuredExponent, RateInterval

HEADER = ("layer", "alpha", "omega", "u", "c", *ALIGNMENTS)


def measured_text(found: MeasuredStore, *, columns: int | None = None) -> str:
    """Exponents with intervals, the largest stable rates n^(-c) they give, and what the presets would give.

    Args:
        found: from `read_measured`.
        columns: of the terminal: sentences are folded to them, and a wider table stands in parts; None for no limit.
    """
    lines = [HEADER, *_role_lines(found), *_layer_lines(found)]
    body = aligned(lines)
    if columns is not None and max(map(len, body)) > columns:
        body = [line for part in _parts(lines) for line in (*aligned(part), "")][:-1]
    head = [part for line in _head(found) for part in folded(line, columns, indent="  ")]
    return "\n".join([*head, "", *body, "", *folded(f"{found.nearest}.", columns)])


def _parts(lines: Sequence[Sequence[str]]) -> Iterator[Sequence[Sequence[str]]]:
    """Two columns at a time beside the names; the presets' stand beside those of roles alone."""
    presets = HEADER.index("c") + 1
    for first in range(1, presets, 2):
        yield [(line[0], *line[first : first + 2]) for line in lines]
    yield [(line[0], *line[presets:]) for line in lines if any(line[presets:])]


def _head(found: MeasuredStore) -> Iterator[str]:
    series = found.series
    yield f"arm {series.arm}: {series.parameterization.name} parameterization, {series.optimizer.name}"
    at = ", ".join(f"{width} at 2^{math.log2(rate):.4g}" for width, rate in series.rates.items())
    yield f"widths {at}; {len(series.seeds)} seed{'s' * (len(series.seeds) > 1)}; 95 % intervals"
    yield f"mean over training by {found.weighting}; c: the largest stable learning rate falls as width^(-c)"


def _role_lines(found: MeasuredStore) -> Iterator[Sequence[str]]:
    for role, reading in found.nearest.layers.items():
        own = found.roles.get(role)
        exponents = _exponents(own) if own is not None else ("-", "-", "-")
        yield (role, *exponents, _rate(reading.rate), *map(str, reading.presets.values()))


def _layer_lines(found: MeasuredStore) -> Iterator[Sequence[str]]:
    for layer, rate in found.layer_rates.items():
        if layer == found.layer_roles[layer]:
            continue  # a readout called readout: its role's line is its own
        yield (f"  {layer}", *_exponents(found.layers[layer]), _rate(rate), *("" for _ in ALIGNMENTS))


def _exponents(own: MeasuredAlignment) -> tuple[str, str, str]:
    return _exponent(own.alpha), _exponent(own.omega), _exponent(own.u)


def _exponent(one: MeasuredExponent) -> str:
    if one.low == one.high:
        return f"{one.value:.2f}"
    return f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})"


def _rate(one: RateInterval) -> str:
    def number(c: Fraction) -> str:
        return f"{float(c):.2f}"

    return (
        number(one.value)
        if one.low == one.high
        else f"{number(one.value)} ({number(one.low)} to {number(one.high)})"
    )
