"""Alignment between parameters and data, as an assumption.

When a matrix meets a vector, their product is larger than that of two independent ones if they are aligned. With RMS
norms and d. for the change since initialization (Everett et al. 2024):

    alpha = log_n ||dW z|| / (||dW|| ||z||)        the update meets the activations
    omega = log_n ||W dz|| / (||W|| ||dz||)        the initial weights meet the activations' change
    u     = log_n ||dW dz|| / (||dW|| ||dz||)      the update meets the activations' change

each in the limit of large n: 1/2 for independent factors (central limit theorem), 1 for aligned ones (law of large
numbers). Values between them occur in training; `measured_alignment` takes them from a regression over widths.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Alignment:
    """The three alignment exponents of a layer, or the same ones for every layer.

    Raises:
        ValueError: an exponent that is undefined (NaN) or infinite, or a float: exponents are exact.

    Example:
        >>> Alignment("mine", alpha=Fraction(9, 10), omega=Fraction(1, 2), u=Fraction(3, 4)).update
        Fraction(9, 10)
    """

    name: str
    alpha: Fraction
    omega: Fraction
    u: Fraction

    def __post_init__(self) -> None:
        for symbol in ("alpha", "omega", "u"):
            object.__setattr__(self, symbol, _exact(self.name, symbol, getattr(self, symbol)))

    @property
    def update(self) -> Fraction:
        """The larger of alpha and u: what the update of a layer meets at worst."""
        return max(self.alpha, self.u)


def _exact(name: str, symbol: str, value: object) -> Fraction:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(
            f"alignment {name!r}: {symbol} is {value}; an undefined exponent cannot enter the theory"
        )
    if not isinstance(value, Fraction | int):
        raise ValueError(
            f"alignment {name!r}: {symbol} is {value!r}, must be a Fraction; measured numbers go through "
            "measured_alignment"
        )
    return Fraction(value)


@dataclass(frozen=True)
class PerLayerAlignment:
    """Alignment exponents of their own for every layer that contracts a growing dimension.

    Args:
        layers: layer name -> its exponents.
    """

    name: str
    layers: Mapping[str, Alignment]

    def __hash__(self) -> int:
        return hash((self.name, frozenset(self.layers.items())))


AnyAlignment = Alignment | PerLayerAlignment


def alignment_at(alignment: AnyAlignment, layer: str) -> Alignment:
    """The exponents that an assumption gives to a layer.

    Raises:
        ValueError: a per-layer assumption that does not know the layer.

    Example:
        >>> alignment_at(FULL, "any layer").alpha
        Fraction(1, 1)
    """
    if isinstance(alignment, Alignment):
        return alignment
    if layer not in alignment.layers:
        raise ValueError(
            f"alignment {alignment.name!r} has no exponents for layer {layer!r}; it has {sorted(alignment.layers)}"
        )
    return alignment.layers[layer]


def weakest_update(alignment: AnyAlignment) -> Fraction:
    """The smallest `update` of all layers: what an assumption risks where alignment is full."""
    if isinstance(alignment, Alignment):
        return alignment.update
    return min(layer.update for layer in alignment.layers.values())


FULL = Alignment("full", alpha=Fraction(1), omega=Fraction(1, 2), u=Fraction(1))
MID = Alignment("mid", alpha=Fraction(3, 4), omega=Fraction(1, 2), u=Fraction(3, 4))
"""Between the two, where training spends most of its time (arXiv 2604.27077)."""
NONE = Alignment("none", alpha=Fraction(1, 2), omega=Fraction(1, 2), u=Fraction(1, 2))

ALIGNMENTS = {alignment.name: alignment for alignment in (FULL, MID, NONE)}
"""The named assumptions, by the names that specs and the command line use."""
