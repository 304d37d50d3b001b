"""Rates from measured alignment, with the measurement's intervals carried through the solver."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from widthwise.theory.conditions import Logits
from widthwise.theory.measured import End, MeasuredAlignment, measured_alignment
from widthwise.theory.network import ROLE_CHAIN, Network
from widthwise.theory.optimizer_rule import OptimizerRule
from widthwise.theory.parameterization import Parameterization
from widthwise.theory.preference import SMALLEST_TOTAL, Preference
from widthwise.theory.solution import Solution
from widthwise.theory.solver import solve


@dataclass(frozen=True)
class RateInterval:
    """The exponent c at the measured values, and its range between the ends of their intervals."""

    low: Fraction
    value: Fraction
    high: Fraction


@dataclass(frozen=True)
class MeasuredRates:
    """Three solutions: at the low ends of all intervals, at the values, at the high ends.

    Stronger alignment never lowers the preferred sum of c. A single rate can move the other way where rates trade off,
    so an interval is the range over the three.
    """

    low: Solution
    value: Solution
    high: Solution

    def interval(self, layer: str) -> RateInterval:
        """The interval of a layer's c."""
        rates = [solution.rate(layer) for solution in (self.low, self.value, self.high)]
        return RateInterval(low=min(rates), value=rates[1], high=max(rates))


def solve_measured(
    parameterization: Parameterization,
    optimizer: OptimizerRule,
    measured: Mapping[str, MeasuredAlignment],
    *,
    network: Network = ROLE_CHAIN,
    logits: Logits | str = Logits.BOUNDED,
    prefer: Preference = SMALLEST_TOTAL,
    slack: Fraction | None = None,
) -> MeasuredRates:
    """The largest stable rates under measured alignment, with intervals.

    Args:
        measured: layer -> its exponents from a regression over widths.

    Raises:
        ValueError: as `measured_alignment` and `solve` do.

    Example:
        >>> from widthwise.theory import ADAM, STANDARD, MeasuredAlignment, MeasuredExponent
        >>> widths = (128, 256, 512)
        >>> half = MeasuredExponent(0.5, 0.5, 0.5, widths)
        >>> slope = MeasuredExponent(0.8, 0.7, 0.9, widths)
        >>> layer = MeasuredAlignment(alpha=slope, omega=half, u=slope)
        >>> rates = solve_measured(STANDARD, ADAM, {"hidden": layer, "readout": layer})
        >>> rates.interval("hidden")
        RateInterval(low=Fraction(7, 10), value=Fraction(4, 5), high=Fraction(9, 10))
    """

    def at(end: End) -> Solution:
        return solve(
            parameterization,
            optimizer,
            measured_alignment(measured, end=end),
            network=network,
            logits=logits,
            prefer=prefer,
            slack=slack,
        )

    return MeasuredRates(low=at(End.LOW), value=at(End.VALUE), high=at(End.HIGH))
