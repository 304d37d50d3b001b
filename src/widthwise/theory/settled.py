"""What noise may not decide: a measured exponent above 1, and a measured omega that is 1/2 within its interval.

No product exceeds that of its factors' Frobenius norms, so ||W z|| <= n ||W|| ||z|| in root mean squares: no exponent
is above 1, and neither is an end of its interval.

Where omega exceeds 1/2, initial weights amplify the change of what they read by n^(omega - 1/2), and every layer below
has to make room for the product of all of them: 0.05 too much at each of 50 layers asks the first one for n^(-2.5) of
its rate. That is what a true omega means, and what an error of 0.05 must not do. Initial weights are drawn without
looking at the data, so 1/2 is what theory expects unless a measurement says otherwise.
"""

from dataclasses import replace

from widthwise.theory.measured import MeasuredAlignment, MeasuredExponent

LARGEST = 1.0
EXPECTED = 0.5
OMEGA_TOLERANCE = 0.1
"""An omega whose interval contains 1/2 is taken as 1/2 if it is no further from it than this."""


def settle(measured: MeasuredAlignment, *, tolerance: float = OMEGA_TOLERANCE) -> MeasuredAlignment:
    """A layer's exponents as the theory takes them: `at_most_full`, then `settle_omega`."""
    return settle_omega(at_most_full(measured), tolerance=tolerance)


def at_most_full(measured: MeasuredAlignment) -> MeasuredAlignment:
    """No exponent above 1, nor an end of its interval; undefined ones stay undefined.

    Example:
        >>> slope = MeasuredExponent(0.9, 0.7, 1.1, widths=(128, 256, 512))
        >>> at_most_full(MeasuredAlignment(alpha=slope, omega=slope, u=slope)).u
        MeasuredExponent(value=0.9, low=0.7, high=1.0, widths=(128, 256, 512))
    """
    return MeasuredAlignment(*map(_capped, (measured.alpha, measured.omega, measured.u)))


def _capped(one: MeasuredExponent) -> MeasuredExponent:
    ends = (LARGEST if end > LARGEST else end for end in (one.value, one.low, one.high))
    return MeasuredExponent(*ends, widths=one.widths)


def settle_omega(measured: MeasuredAlignment, *, tolerance: float = OMEGA_TOLERANCE) -> MeasuredAlignment:
    """Omega = 1/2, without an interval, where it cannot be told from 1/2; the exponents as they are otherwise.

        |omega - 1/2| <= tolerance  and  low <= 1/2 <= high

    An interval that contains 1/2 because it is wide, about a value far from it, stays: the measurement is too coarse,
    and the interval of the rates says so.

    Args:
        tolerance: below 0 leaves every omega as it was measured.

    Example:
        >>> slope = MeasuredExponent(0.55, 0.48, 0.62, widths=(128, 256, 512))
        >>> settle_omega(MeasuredAlignment(alpha=slope, omega=slope, u=slope)).omega
        MeasuredExponent(value=0.5, low=0.5, high=0.5, widths=(128, 256, 512))
    """
    omega = measured.omega
    if abs(omega.value - EXPECTED) <= tolerance and omega.low <= EXPECTED <= omega.high:
        return replace(measured, omega=MeasuredExponent(EXPECTED, EXPECTED, EXPECTED, omega.widths))
    return measured
