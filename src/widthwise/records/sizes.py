"""What is measured of tensors in training: root mean squares, and how the sizes of their entries are spread."""

import math
from bisect import bisect_left
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class TensorRow:
    """A tensor whose sizes are measured, with its role."""

    width: int
    name: str
    role: str


@dataclass(frozen=True)
class SizePoint:
    """Root mean squares of one tensor of one trial at a step, and of what it meets on the probe; None: not measured.

    The tensor is W with its multiplier folded in. With n^(-a) in the forward pass instead, its gradients are n^(-a)
    times these, its weights and changes n^a times.

    Args:
        gradient: of the whole batch of this step, before it.
        weight, change: of W after it, and of W - W_0.
        input, input_change: of the layer's input z_0 at the start, and of z - z_0.
        output, output_change: of W z, and of W z - W_0 z_0.
    """

    step: int
    tensor: str
    gradient: float | None = None
    weight: float | None = None
    change: float | None = None
    input: float | None = None
    input_change: float | None = None
    output: float | None = None
    output_change: float | None = None


class Magnitude(StrEnum):
    """What the entries of a `Spread` are: a step's gradients, or Adam's sqrt(v_hat) after it."""

    GRADIENT = "gradient"
    SECOND_MOMENT = "sqrt v"


@dataclass(frozen=True)
class Spread:
    """How the sizes of a tensor's entries are spread, as counts; of the tensor with its multiplier folded in.

    Args:
        scale: what an entry as it was counted is multiplied by: 1, or the multiplier that was not folded in.
        zeros: how many of those looked at are 0: of a second moment, those that never had a gradient.
        first: the number of the first bin. Bin k holds sizes from `edge(k)` to below `edge(k + 1)`.
        counts: of the bins from `first` on.
    """

    step: int
    tensor: str
    magnitude: Magnitude
    scale: float
    zeros: int
    first: int
    counts: tuple[int, ...]

    @staticmethod
    def edge(k: int) -> float:
        """Where bin k begins: four bins an octave, at 1, 1.25, 1.5 and 1.75 times a power of 2.

        Example:
            >>> Spread.edge(4 * 127), Spread.edge(4 * 127 + 1), Spread.edge(4 * 126)
            (1.0, 1.25, 0.5)
        """
        return 2.0 ** (k // 4 - 127) * (1 + k % 4 / 4)

    @property
    def total(self) -> int:
        """Of the entries looked at, those that are not 0."""
        return sum(self.counts)

    def share_below(self, size: float) -> float:
        """The share of the entries that are not 0 below a size, inside of a bin by a straight line; NaN without any.

        Example:
            >>> found = Spread(1, "readout", Magnitude.GRADIENT, 1.0, zeros=5, first=4 * 127, counts=(2, 2))
            >>> found.share_below(1.25), found.share_below(1.375), found.share_below(9.0), found.share_below(0.5)
            (0.5, 0.75, 1.0, 0.0)
        """
        if not self.total:
            return math.nan
        bins = range(self.first, self.first + len(self.counts))
        begun = bisect_left(bins, size, key=lambda k: self.scale * self.edge(k))
        if not begun:
            return 0.0
        low, high = (self.scale * self.edge(self.first + k) for k in (begun - 1, begun))
        part = min(1.0, (size - low) / (high - low))
        return (sum(self.counts[: begun - 1]) + self.counts[begun - 1] * part) / self.total

    def quantile(self, share: float) -> float:
        """The size that a share of the entries that are not 0 lie below, by the same lines; NaN without any.

        Example:
            >>> found = Spread(1, "readout", Magnitude.GRADIENT, 1.0, zeros=5, first=4 * 127, counts=(2, 2))
            >>> found.quantile(0.75)
            1.375
        """
        left = share * self.total
        for k, count in enumerate(self.counts, start=self.first):
            if count and left <= count:
                low, high = self.edge(k), self.edge(k + 1)
                return self.scale * (low + left / count * (high - low))
            left -= count
        return math.nan
