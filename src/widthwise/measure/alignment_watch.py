"""Whether a large run's alignment is what the small widths' was at the same progress: it warns, and changes nothing."""

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from widthwise.theory import AlignmentQuantity, MeasuredGain, Role

Key = tuple[Role, AlignmentQuantity]


class MeasuredThen(MeasuredGain, Protocol):
    """A row of a small width, which also says when."""

    @property
    def progress(self) -> float: ...


class AlignmentWarning(UserWarning):
    """Alignment left what the small widths had."""


@dataclass(frozen=True)
class AlignmentWatch:
    """The small widths' log alignment ratios over training, by role: lowest and highest over widths, seeds and layers.

    Args:
        bands: progress -> (role, quantity) -> (lowest, highest).
        margin: how far outside of a band a ratio may lie: ratios drift with the width by their constants over ln n.
    """

    bands: Mapping[float, Mapping[Key, tuple[float, float]]]
    margin: float = 0.05

    @staticmethod
    def of(rows: Iterable[MeasuredThen], *, margin: float = 0.05) -> "AlignmentWatch":
        """From every measurement of the small widths.

        Raises:
            ValueError: no measurement that is defined.
        """
        bands: dict[float, dict[Key, tuple[float, float]]] = {}
        for row in rows:
            ratio = _ratio(row)
            if row.role is None or not math.isfinite(ratio):
                continue
            band = bands.setdefault(row.progress, {})
            low, high = band.get((row.role, row.quantity), (ratio, ratio))
            band[row.role, row.quantity] = (min(low, ratio), max(high, ratio))
        if not bands:
            raise ValueError(
                "no defined measurement of a small width with a role to hold a larger one against"
            )
        return AlignmentWatch(bands, margin)

    def leaves(self, gains: Iterable[MeasuredGain], *, progress: float) -> tuple[str, ...]:
        """What lies outside, a sentence each, for the mean ratio of every role; nothing where all is as expected.

        The band is that of the measured progress nearest to the run's.
        """
        nearest = min(self.bands, key=lambda time: abs(time - progress))
        found: dict[Key, list[float]] = {}
        for gain in gains:
            if gain.role is not None and (gain.role, gain.quantity) in self.bands[nearest]:
                found.setdefault((gain.role, gain.quantity), []).append(_ratio(gain))
        lines: list[str] = []
        for (role, quantity), ratios in found.items():
            low, high = self.bands[nearest][role, quantity]
            mean = math.fsum(ratios) / len(ratios)
            if not low - self.margin <= mean <= high + self.margin:
                lines.append(
                    f"{role} {quantity}: ratio {mean:.3f} at {progress:.0%} of training, and the small widths had "
                    f"{low:.3f} to {high:.3f} (margin {self.margin:g}): rates from their alignment may not fit here"
                )
        return tuple(lines)

    def check(self, gains: Iterable[MeasuredGain], *, progress: float) -> None:
        """Warn (`AlignmentWarning`) of what lies outside."""
        for line in self.leaves(gains, progress=progress):
            warnings.warn(line, AlignmentWarning, stacklevel=2)


def _ratio(gain: MeasuredGain) -> float:
    """The log alignment ratio; NaN where there is none."""
    return gain.log_gain / math.log(gain.fan_in) if gain.fan_in > 1 else math.nan
