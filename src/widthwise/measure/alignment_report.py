"""What `measure_alignment` found: sums per layer that add up, the ratios that they amount to, and what is left out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from widthwise.measure.alignment_sizes import ProductSizes, log_gain, token_mean_log_gain
from widthwise.theory import AlignmentQuantity, Role

if TYPE_CHECKING:
    from pathlib import Path

UNDEFINED = float("nan")


class Estimator(StrEnum):
    """How tokens are put together: sums over all of them, or the mean of their log gains."""

    POOLED = "pooled"
    TOKEN_MEAN = "token mean"


@dataclass(frozen=True)
class Gain:
    """One log gain of one layer, as `alignment_rows` takes it."""

    layer: str
    role: Role | None
    quantity: AlignmentQuantity
    log_gain: float
    fan_in: int


@dataclass(frozen=True)
class LayerAlignment:
    """One tensor's products.

    Args:
        layer: the tensor's name, under which it is used.
        role: None if nobody said.
        fan_in: over how many entries each output sums.
        fan_out: outputs.
        calls: how often it was used in one pass.
        sizes: of each product, summed over calls and tokens.
        spectral_norm: of dW, by power iteration; the largest one of a stack. NaN if it was not asked for.
        note: why some quantities are undefined; empty if they are not, or if nothing has changed.
    """

    layer: str
    role: Role | None
    fan_in: int
    fan_out: int
    calls: int
    sizes: Mapping[AlignmentQuantity, ProductSizes]
    spectral_norm: float
    note: str = ""

    def log_gain(self, quantity: AlignmentQuantity, *, estimator: Estimator = Estimator.POOLED) -> float:
        """ln( rms(y) / (rms(A) rms(x)) ); NaN where it is undefined."""
        if quantity not in self.sizes:
            return UNDEFINED
        found = log_gain if estimator is Estimator.POOLED else token_mean_log_gain
        return found(self.sizes[quantity]).item()

    def ratio(self, quantity: AlignmentQuantity, *, estimator: Estimator = Estimator.POOLED) -> float:
        """The log alignment ratio, log gain / ln(fan_in): a diagnostic at one width, no exponent. NaN if undefined."""
        if self.fan_in < 2:
            return UNDEFINED
        return self.log_gain(quantity, estimator=estimator) / math.log(self.fan_in)

    def effective_dimension(self, quantity: AlignmentQuantity = AlignmentQuantity.PRODUCT) -> float:
        """k = n^(2 (1 - ratio)): as many directions, equally used by A and x, would align them as much."""
        return math.exp(2 * (math.log(self.fan_in) - self.log_gain(quantity)))

    @property
    def relative_change(self) -> float:
        """rms(dW) / rms(W_0); NaN if either is unknown or zero."""
        alpha, omega = (self.sizes.get(one) for one in (AlignmentQuantity.ALPHA, AlignmentQuantity.OMEGA))
        if alpha is None or omega is None:
            return UNDEFINED
        return (alpha.matrix.mean / omega.matrix.mean).sqrt().item()

    def __add__(self, other: "LayerAlignment") -> "LayerAlignment":
        shared = self.sizes.keys() & other.sizes.keys()
        return replace(
            self,
            sizes={
                quantity: self.sizes[quantity] + other.sizes[quantity]
                for quantity in self.sizes
                if quantity in shared
            },
            note=self.note or other.note,
        )


@dataclass(frozen=True)
class LookedUp:
    """A table of which rows are looked up: nothing is summed over, so there are sizes and no alignment.

    Args:
        layer: its name.
        role: None if nobody said.
        weights: root mean square of W.
        change: root mean square of dW.
    """

    layer: str
    role: Role | None
    weights: float
    change: float

    @property
    def relative_change(self) -> float:
        """rms(dW) / rms(W); NaN for a table of zeros."""
        return self.change / self.weights if self.weights else UNDEFINED


@dataclass(frozen=True)
class Unmeasured:
    """A tensor that is in no product, and why."""

    layer: str
    reason: str


@dataclass(frozen=True)
class AlignmentReport:
    """A model's alignment on one probe, since one reference.

    Args:
        layers: every tensor that meets activations in a matrix product or a convolution.
        looked_up: every table.
        unmeasured: every other parameter.
    """

    layers: tuple[LayerAlignment, ...]
    looked_up: tuple[LookedUp, ...]
    unmeasured: tuple[Unmeasured, ...]

    def layer(self, name: str) -> LayerAlignment:
        """The layer of a name.

        Raises:
            KeyError: there is none; says which there are, or why it is not among them.
        """
        for layer in self.layers:
            if layer.layer == name:
                return layer
        why = next((f": {one.reason}" for one in self.unmeasured if one.layer == name), "")
        raise KeyError(f"no layer {name!r}{why}; there are {', '.join(one.layer for one in self.layers)}")

    def gains(self, *, estimator: Estimator = Estimator.POOLED) -> tuple[Gain, ...]:
        """Every log gain, undefined ones as NaN: what `widthwise.analysis.alignment_rows` takes."""
        return tuple(
            Gain(one.layer, one.role, quantity, one.log_gain(quantity, estimator=estimator), one.fan_in)
            for one in self.layers
            for quantity in AlignmentQuantity
        )

    def __add__(self, other: "AlignmentReport") -> "AlignmentReport":
        """Two parts of one probe, measured one after the other with the same weights: the sums add up.

        Raises:
            ValueError: reports of other layers.
        """
        if [one.layer for one in self.layers] != [one.layer for one in other.layers]:
            raise ValueError("these reports are of different layers; add reports of one model")
        return replace(self, layers=tuple(a + b for a, b in zip(self.layers, other.layers, strict=True)))

    def save(self, path: "Path") -> None:
        """Write the report as JSON: the file is replaced at once or left as it was."""
        from widthwise.measure.alignment_json import save_alignment

        save_alignment(self, path)

    def __str__(self) -> str:
        from widthwise.measure.alignment_text import alignment_text

        return alignment_text(self)
