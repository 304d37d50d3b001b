"""Rows of a coordinate check: one measured exponent beside theory's, and what follows.

pass       the slope's interval lies inside theory -+ margin (below theory + margin, where theory is a bound)
fail       the interval lies outside
undecided  neither: more seeds or a wider range of widths would tell
undefined  there is no exponent: nothing changed, no numbers to change, or no module of its own; the reason is given
reported   measured, and not judged: theory makes no statement that must hold
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from widthwise.measure.run_once import Quantity
from widthwise.measure.slope import SlopeInterval, slope_interval


class Verdict(StrEnum):
    """What a row, or all of them, came to."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"
    UNDEFINED = "undefined"
    REPORTED = "reported"


@dataclass(frozen=True)
class Margins:
    """How far a slope may lie from theory's, in powers of the width.

    A margin has to cover what finite widths do to a correct plan (measured: benchmarks/results/coordinate_check.json)
    and to stay well below 1/2, the least by which a broken rule moves a slope.

    Args:
        factor: of an init factor: arithmetic alone.
        update: of the first update where the optimizer divides the gradient's size away: arithmetic, and its epsilon.
        gradient_update: of the first update where the gradient's size counts.
        effect: of what an update does to a module's output; finite widths bias it downwards.
        gradient_effect: the same where the gradient's size counts, which differs between seeds.
        feature: of activations at initialization.
        growth: of activations' changes, above theory's bound.

    Raises:
        ValueError: a margin that is not positive and finite.
    """

    factor: float = 0.01
    update: float = 0.05
    gradient_update: float = 0.15
    effect: float = 0.15
    gradient_effect: float = 0.2
    feature: float = 0.15
    growth: float = 0.1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < math.inf:
                raise ValueError(f"margin {name} = {value} must be positive and finite")


@dataclass(frozen=True)
class CheckRow:
    """One measured exponent.

    Args:
        quantity: what was measured.
        name: the tensor's or the module's.
        step: after how many updates.
        role: of the tensor; empty for a module.
        theory: the exponent expected, value ~ n^theory; None where there is none.
        bound: whether theory is an upper bound only.
        margin: what the slope may miss theory by.
        slope: measured; None where it is undefined.
        values: for each seed, the value at each width; empty where it is undefined.
        verdict: see above.
        reason: why, where the numbers do not say it.
    """

    quantity: Quantity
    name: str
    step: int
    role: str
    theory: float | None
    bound: bool
    margin: float
    slope: SlopeInterval | None
    values: tuple[tuple[float, ...], ...]
    verdict: Verdict
    reason: str = ""


def judged(slope: SlopeInterval, theory: float, margin: float, *, bound: bool) -> Verdict:
    """The verdict on a slope.

    Example:
        >>> judged(SlopeInterval(0.02, -0.03, 0.07), theory=0.0, margin=0.1, bound=False).value
        'pass'
        >>> judged(SlopeInterval(-0.5, -0.6, -0.4), theory=0.0, margin=0.1, bound=False).value
        'fail'
        >>> judged(SlopeInterval(-0.5, -0.6, -0.4), theory=0.0, margin=0.1, bound=True).value
        'pass'
    """
    below = slope.high < theory - margin and not bound
    if slope.low > theory + margin or below:
        return Verdict.FAIL
    inside = slope.high <= theory + margin and (bound or slope.low >= theory - margin)
    return Verdict.PASS if inside else Verdict.UNDECIDED


def measured_row(
    quantity: Quantity,
    name: str,
    step: int,
    *,
    widths: Sequence[int],
    values: Sequence[Sequence[float]],
    theory: float | None,
    margin: float,
    bound: bool = False,
    role: str = "",
    reason: str = "",
) -> CheckRow:
    """A row from its values: undefined without two seeds of positive numbers, failed where any is not finite.

    Args:
        values: for each seed, one value a width.
        theory: None reports the slope without judging it.
    """

    def row(slope: SlopeInterval | None, verdict: Verdict, why: str) -> CheckRow:
        kept = tuple(map(tuple, values)) if slope is not None else ()
        return CheckRow(quantity, name, step, role, theory, bound, margin, slope, kept, verdict, why)

    numbers = [value for seed in values for value in seed]
    if any(not math.isfinite(value) for value in numbers):
        return row(
            None, Verdict.FAIL, "not finite at some width: lower the learning rate, or the model diverges"
        )
    if any(value <= 0 for value in numbers):
        return row(None, Verdict.UNDEFINED, "zero at some width")
    if len(values) < 2:
        return row(None, Verdict.UNDEFINED, "measured under fewer than two seeds")
    slope = slope_interval(widths, values)
    if theory is None:
        return row(slope, Verdict.REPORTED, reason)
    return row(slope, judged(slope, theory, margin, bound=bound), reason)
