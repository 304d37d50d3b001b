"""Exponents over widths at every time of training, by role, from a store that measured alignment."""

import math
from pathlib import Path

from widthwise.analysis import Pool, alignment_exponents
from widthwise.theory import MeasuredExponent


def exponents_over_training(store: Path, arm: str) -> dict[float, dict[tuple[str, str], MeasuredExponent]]:
    """Progress -> (role, quantity) -> its exponent."""
    from widthwise.study.measured_rates import measured_series

    found: dict[float, dict[tuple[str, str], MeasuredExponent]] = {}
    for one in alignment_exponents(measured_series(store, arm=arm).rows, pool=Pool.ROLE):
        if math.isfinite(one.exponent.value):
            found.setdefault(one.progress, {})[one.name, str(one.quantity)] = one.exponent
    return found
