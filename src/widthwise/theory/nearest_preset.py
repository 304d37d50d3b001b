"""Measured rates beside those of the presets full, mid and none: which is nearest, and which cannot be told apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from widthwise.theory.alignment import ALIGNMENTS
from widthwise.theory.measured_rates import MeasuredRates, RateInterval
from widthwise.theory.solver import solve


@dataclass(frozen=True)
class PresetReading:
    """One layer's measured c, and what every preset gives it.

    Args:
        presets: name -> c.
        inside: the presets whose c lies within the measured interval.
    """

    rate: RateInterval
    presets: Mapping[str, Fraction]
    inside: tuple[str, ...]


@dataclass(frozen=True)
class NearestPreset:
    """Which preset measured rates are like.

    Args:
        layers: each layer that has a rate.
        nearest: the preset with the smallest sum of distances |c - c measured| over the layers.
        distance: that sum.
        inside: the presets whose c lies within the interval at every layer.
    """

    layers: Mapping[str, PresetReading]
    nearest: str
    distance: Fraction
    inside: tuple[str, ...]

    @property
    def alike(self) -> tuple[str, ...]:
        """The presets that give every layer the same c as the nearest one does: for this network, one and the same."""
        readings = self.layers.values()
        return tuple(
            name for name in ALIGNMENTS if all(r.presets[name] == r.presets[self.nearest] for r in readings)
        )

    def __str__(self) -> str:
        if len(self.alike) == len(ALIGNMENTS):
            return "full, mid and none prescribe the same rates here: alignment does not matter"
        if len(self.inside) == len(ALIGNMENTS):
            return (
                f"full, mid and none all lie within the intervals: this measurement does not tell them apart "
                f"(nearest: {self.nearest}); more widths or seeds would"
            )
        if not self.inside:
            return f"no preset lies within the intervals; nearest: {self.nearest}"
        if len(self.inside) == 1:
            return f"{self.inside[0]} alone lies within the intervals"
        return f"{' and '.join(self.inside)} lie within the intervals and are not told apart (nearest: {self.nearest})"


def nearest_preset(rates: MeasuredRates) -> NearestPreset:
    """Hold measured rates against the presets'.

    Example:
        >>> from widthwise.theory import ADAM, STANDARD, MeasuredAlignment, MeasuredExponent, solve_measured
        >>> widths = (128, 256, 512)
        >>> half, slope = MeasuredExponent(0.5, 0.5, 0.5, widths), MeasuredExponent(0.8, 0.7, 0.9, widths)
        >>> layer = MeasuredAlignment(alpha=slope, omega=half, u=slope)
        >>> print(nearest_preset(solve_measured(STANDARD, ADAM, {"hidden": layer, "readout": layer})))
        mid alone lies within the intervals
    """
    at = rates.value
    solutions = {
        name: solve(
            at.parameterization,
            at.optimizer,
            alignment,
            network=at.network,
            logits=at.logits,
            prefer=at.prefer,
            slack=at.slack,
        )
        for name, alignment in ALIGNMENTS.items()
    }
    layers: dict[str, PresetReading] = {}
    for layer, solution in at.layers.items():
        if solution.c is None:
            continue
        interval = rates.interval(layer)
        presets = {name: preset.rate(layer) for name, preset in solutions.items()}
        inside = tuple(name for name, c in presets.items() if interval.low <= c <= interval.high)
        layers[layer] = PresetReading(interval, presets, inside)
    distances = {
        name: sum((abs(r.presets[name] - r.rate.value) for r in layers.values()), start=Fraction(0))
        for name in ALIGNMENTS
    }
    nearest = min(distances, key=lambda name: distances[name])
    inside = tuple(name for name in ALIGNMENTS if all(name in r.inside for r in layers.values()))
    return NearestPreset(layers, nearest, distances[nearest], inside)
