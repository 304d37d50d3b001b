"""The exponent: the slope of log2(best rate) against log2(width)."""

from collections.abc import Sequence

import numpy as np

from widthwise.analysis.cell import Floats
from widthwise.analysis.noise import Noise, contrast
from widthwise.analysis.optimum import CellFit
from widthwise.analysis.result import ExponentFit


def slope_weights(widths: tuple[int, ...]) -> Floats:
    """Weights w with slope = sum_c w_c x_c in ordinary least squares on log2(width).

    Example:
        >>> slope_weights((64, 128, 256)).tolist()
        [-0.5, 0.0, 0.5]
    """
    centred_C = np.log2(np.array(widths, dtype=np.float64))
    centred_C -= centred_C.mean()
    return centred_C / (centred_C @ centred_C)


def fit_exponent(fits: Sequence[CellFit], noise: Noise | None, *, level: float) -> ExponentFit:
    """Fit one prescription's exponent on its bracketed cells.

        x_c = intercept + exponent log2(width_c)

    Args:
        fits: one prescription's cells.
        noise: pooled over the table; None if unknown, and then there is no interval.
        level: of the intervals.

    Returns:
        The fit; its numbers are None if fewer than two widths are bracketed.
    """
    used = [(fit.cell.width, fit.local) for fit in fits if fit.local is not None]
    widths = tuple(width for width, _ in used)
    optima = [local for _, local in used]
    freedom = noise.degrees_of_freedom if noise else 0
    name = fits[0].cell.prescription
    if len(used) < 2:
        return ExponentFit(name, widths, None, None, None, None, None, None, freedom)
    weights_C = slope_weights(widths)
    parabola_C = np.array([optimum.parabola.x for optimum in optima])
    cubic_C = np.array([optimum.cubic.x for optimum in optima])
    exponent = float(weights_C @ parabola_C)
    found = contrast(optima, list(weights_C), noise, level=level) if noise else None
    return ExponentFit(
        prescription=name,
        widths=widths,
        intercept=float(parabola_C.mean() - exponent * np.log2(widths).mean()),
        exponent=exponent,
        parabola=exponent,
        cubic=float(weights_C @ cubic_C),
        statistical=found.statistical if found else None,
        total=found.total if found else None,
        degrees_of_freedom=freedom,
    )
