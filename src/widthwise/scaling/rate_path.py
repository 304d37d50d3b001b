"""Rates that follow alignment (experimental): by how much each role's may exceed full alignment's, over training.

Alignment is strong for a short while and weaker later, so that the largest stable rate grows in training. With c(t) the
exponent that exponents measured at small widths allow at progress t, a role's rate at width n is full alignment's times

    (n / n_b)^(c_full - c(t)),        c_none <= c(t) <= c_full

which never falls below full alignment's rate (a Pareto improvement over it), nor exceeds what no alignment allows.
"""

import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from widthwise.theory import (
    FULL,
    NONE,
    MeasuredAlignment,
    OptimizerRule,
    Parameterization,
    Role,
    largest_stable_rate,
    solve_measured,
)

SMOOTHING = 0.1
"""c(t) is averaged over this much of training to each side."""
FOLLOWED = (Role.HIDDEN, Role.READOUT)
"""The roles whose rates follow: those that contract a growing dimension."""


@dataclass(frozen=True)
class RatePath:
    """The exponents c of each role's rate over training.

    Args:
        width, base_width: n and n_b.
        progress: ascending, from 0; between two of them c is linear, beyond the last it stays.
        exponents: role -> c at each of these.
        full: role -> c under full alignment, which the optimizer's rates have.
    """

    width: int
    base_width: int
    progress: tuple[float, ...]
    exponents: Mapping[str, tuple[float, ...]]
    full: Mapping[str, float]

    def exponent(self, role: str, progress: float) -> float:
        """c(t) of a role that follows."""
        times, values = self.progress, self.exponents[role]
        after = bisect.bisect_right(times, progress)
        if after == len(times):
            return values[-1]
        before = max(after - 1, 0)
        share = (progress - times[before]) / (times[after] - times[before]) if after > before else 0.0
        return values[before] + share * (values[after] - values[before])

    def factor(self, role: str, progress: float) -> float:
        """The factor on a role's rate: 1 for roles that do not follow.

        Example:
            >>> path = RatePath(512, 128, (0.0, 0.5), {"hidden": (1.0, 0.5)}, {"hidden": 1.0})
            >>> path.factor("hidden", 0.0), path.factor("hidden", 0.25), path.factor("embedding", 0.25)
            (1.0, 1.4142135623730951, 1.0)
        """
        if role not in self.exponents:
            return 1.0
        return (self.width / self.base_width) ** (self.full[role] - self.exponent(role, progress))

    def to_json(self) -> dict[str, Any]:
        """As values of JSON, for a checkpoint."""
        return {
            "width": self.width,
            "base_width": self.base_width,
            "progress": list(self.progress),
            "exponents": {role: list(values) for role, values in self.exponents.items()},
            "full": dict(self.full),
        }


def make_rate_path(
    measured: Mapping[float, Mapping[str, MeasuredAlignment]],
    *,
    width: int,
    base_width: int,
    parameterization: Parameterization,
    optimizer: OptimizerRule,
    smoothing: float = SMOOTHING,
) -> RatePath:
    """The path of a width from exponents measured at small ones.

    c(t) of each measurement is moved between no and full alignment's. It is full alignment's at progress 0, where
    nothing has been measured, and is then smoothed by a triangular window that falls to zero at `smoothing` to each
    side. Of average and measurement the larger c counts: no rate exceeds what was measured to be stable at that time.

    Args:
        measured: progress -> role -> its exponents over widths, such as `measured_over_training` gives.
        width: n, at least the base width.
        base_width: n_b, where the rates are those that were tuned.
        smoothing: in parts of training; 0 leaves c(t) as it was measured.

    Raises:
        ValueError: nothing measured, progress outside of (0, 1], a width below the base width, or an exponent that is
            undefined.

    Example:
        >>> from widthwise.theory import ADAM, STANDARD, MeasuredExponent
        >>> slope = MeasuredExponent(0.75, 0.7, 0.8, widths=(32, 64, 128))
        >>> half = MeasuredExponent(0.5, 0.5, 0.5, slope.widths)
        >>> layer = MeasuredAlignment(alpha=slope, omega=half, u=slope)
        >>> path = make_rate_path({0.5: {"hidden": layer, "readout": layer}}, width=2048, base_width=128,
        ...                       parameterization=STANDARD, optimizer=ADAM)
        >>> path.factor("hidden", 0.0), path.factor("hidden", 1.0)
        (1.0, 2.0)
    """
    if width < base_width:
        raise ValueError(
            f"width {width} lies below the base width {base_width}: rates follow alignment at larger ones"
        )
    if not measured:
        raise ValueError("no exponents were measured at any progress of training")
    if not smoothing >= 0:
        raise ValueError(f"smoothing {smoothing} must not be negative")
    times = sorted(measured)
    if not 0 < times[0] <= times[-1] <= 1:
        raise ValueError(f"progress runs from {times[0]} to {times[-1]}; it must lie above 0 and up to 1")
    exponents: dict[str, tuple[float, ...]] = {}
    full: dict[str, float] = {}
    grid = (0.0, *times)
    solved = [solve_measured(parameterization, optimizer, measured[time]) for time in times]
    for role in FOLLOWED:
        top, bottom = (float(largest_stable_rate(parameterization, optimizer, a, role)) for a in (FULL, NONE))
        found = [float(rates.interval(role.value).value) for rates in solved]
        bounded = [top, *(min(max(c, bottom), top) for c in found)]
        averaged = smoothed(grid, bounded, smoothing)
        exponents[role.value] = tuple(max(pair) for pair in zip(averaged, bounded, strict=True))
        full[role.value] = top
    return RatePath(width, base_width, grid, exponents, full)


def smoothed(times: tuple[float, ...], values: list[float], half_width: float) -> tuple[float, ...]:
    """Averages with weights max(0, 1 - |t - s| / half_width) over the measurements s.

    Example:
        >>> smoothed((0.0, 0.25, 0.5), [1.0, 0.0, 0.0], 0.5)
        (0.6666666666666666, 0.25, 0.0)
    """
    if not half_width:
        return tuple(values)
    result: list[float] = []
    for t in times:
        weights = [max(0.0, 1 - abs(t - s) / half_width) for s in times]
        total = sum(weights)
        mean = sum(w * v for w, v in zip(weights, values, strict=True)) / total
        result.append(min(max(mean, min(values)), max(values)))  # rounding does not leave the range
    return tuple(result)
