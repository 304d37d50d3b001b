"""Prescriptions from measured alignment, and what they say of the best base rate, with the measurement's intervals."""

from collections.abc import Mapping

from widthwise.theory.measured import End, MeasuredAlignment, measured_alignment
from widthwise.theory.measured_rates import RateInterval
from widthwise.theory.optimizer_rule import OptimizerRule
from widthwise.theory.parameterization import Parameterization
from widthwise.theory.prescription import Prescription, predicted_drift


def measured_prescription(
    measured: Mapping[str, MeasuredAlignment], *, name: str = "measured"
) -> Prescription:
    """The rates that measured alignment asks for, at its values.

    Args:
        measured: of the roles `hidden` and `readout`.

    Raises:
        ValueError: as `measured_alignment` does.

    Example:
        >>> from widthwise.theory import ADAM, STANDARD, MeasuredExponent, Role, prescribed_exponent
        >>> slope = MeasuredExponent(0.62, 0.58, 0.66, widths=(128, 256, 512))
        >>> layer = MeasuredAlignment(alpha=slope, omega=MeasuredExponent(0.5, 0.5, 0.5, slope.widths), u=slope)
        >>> mine = measured_prescription({"hidden": layer, "readout": layer})
        >>> prescribed_exponent(STANDARD, ADAM, mine, Role.HIDDEN)
        Fraction(31, 50)
    """
    return Prescription(name, measured_alignment(measured, name=name))


def measured_drift(
    parameterization: Parameterization,
    optimizer: OptimizerRule,
    prescription: Prescription,
    measured: Mapping[str, MeasuredAlignment],
) -> RateInterval:
    """How the best base rate moves, eta* ~ n^(-drift), if the measured alignment is the true one.

    The interval is the range over the low ends of all measured intervals, the values and the high ends.
    """
    drifts = [
        predicted_drift(parameterization, optimizer, prescription, measured_alignment(measured, end=end))
        for end in (End.LOW, End.VALUE, End.HIGH)
    ]
    return RateInterval(low=min(drifts), value=drifts[1], high=max(drifts))
