"""How one dimension of a tensor grows with the width n, from its sizes at three or more widths.

| kind | size at width n | examples |
|---|---|---|
| fixed | s | vocabulary, size of one head |
| power | s_0 (n / n_0)^p | 3 n of a fused projection, n / 16 of a low rank |
| affine | s_0 + k (n - n_0) | 48, 64, 96 at widths 256, 512, 1024: a state-space model's fused projection |
| rounded | k n, rounded to a multiple of m | 768, 1536, 2816 at the same widths: 8 n / 3 in multiples of 256 |

The first three hold exactly, in integers; sizes that fit none of the four are an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from math import gcd, log

LARGEST_DENOMINATOR = 4
"""Powers of n are looked for among fractions up to quarters: n / 16, n, n^2, the square root of n."""


class GrowthKind(StrEnum):
    """The four laws of this module's head."""

    FIXED = "fixed"
    POWER = "power"
    AFFINE = "affine"
    ROUNDED = "rounded"


@dataclass(frozen=True)
class Growth:
    """One dimension's law.

        size(n) = offset + (size - offset) * (n / width)^exponent

    Args:
        kind: which of the four laws.
        exponent: p, in powers of n: 0 fixed, 1 affine and rounded.
        width: n_0, a width that was described: the smallest; the largest of a rounded size, where rounding is least.
        size: the size at that width.
        offset: the part that does not grow; 0 unless affine. It may be negative (n - 1).
        multiple: m, what a rounded size is a multiple of; 1 otherwise.
    """

    kind: GrowthKind
    exponent: Fraction
    width: int
    size: int
    offset: Fraction = Fraction(0)
    multiple: int = 1

    @property
    def grows(self) -> bool:
        """Whether the size grows with the width at all."""
        return self.exponent > 0

    def size_at(self, width: int) -> float:
        """The size at another width, in elements; for a rounded one, before rounding.

        Example:
            >>> fit_growth((256, 512, 1024), (48, 64, 96)).size_at(2048)
            160.0
        """
        ratio = float(Fraction(width, self.width)) ** float(self.exponent)
        return float(self.offset) + float(self.size - self.offset) * ratio

    def __str__(self) -> str:
        """The law as the tables print it.

        Example:
            >>> [str(fit_growth((64, 128, 256), s)) for s in [(4, 4, 4), (192, 384, 768), (36, 40, 48), (8, 16, 32)]]
            ['4', '3n', 'n/16+32', 'n/8']
        """
        if self.kind is GrowthKind.FIXED:
            return str(self.size)
        if self.exponent != 1:
            power = f"{self.exponent}" if self.exponent.denominator == 1 else f"({self.exponent})"
            return f"{self.size}(n/{self.width})^{power}"
        slope = Fraction(self.size - self.offset, self.width)
        top = "n" if slope.numerator == 1 else f"{slope.numerator}n"
        line = top if slope.denominator == 1 else f"{top}/{slope.denominator}"
        if self.kind is GrowthKind.ROUNDED:
            return f"~{line}"
        return line + (f"{'+' if self.offset > 0 else ''}{self.offset}" if self.offset else "")


def fit_growth(widths: Sequence[int], sizes: Sequence[int]) -> Growth:
    """The law that gives these sizes at these widths.

    Args:
        widths: at least three, ascending, positive.
        sizes: of one dimension, in elements, one a width.

    Raises:
        ValueError: fewer than three widths, widths that do not ascend, or sizes that follow no law of this module.

    Example:
        >>> fit_growth((256, 512, 1024), (48, 64, 96)).kind.value
        'affine'
        >>> fit_growth((64, 128, 256), (16, 24, 33))
        Traceback (most recent call last):
        ...
        ValueError: sizes 16, 24, 33 at widths 64, 128, 256 are neither fixed, a power of the width, affine in it, \
nor proportional to it up to rounding; describe the model at widths where they are (powers of 2 times the smallest)
    """
    if len(widths) < 3 or len(sizes) != len(widths):
        raise ValueError(
            f"{len(sizes)} sizes at {len(widths)} widths; growth needs at least three, one size a width"
        )
    if widths[0] < 1 or any(later <= earlier for earlier, later in pairwise(widths)):
        raise ValueError(f"widths {_listed(widths)} must be positive and ascend")
    if len(set(sizes)) == 1:
        return Growth(GrowthKind.FIXED, Fraction(0), widths[0], sizes[0])
    growth = _power(widths, sizes) or _affine(widths, sizes) or _rounded(widths, sizes)
    if growth is None:
        raise ValueError(
            f"sizes {_listed(sizes)} at widths {_listed(widths)} are neither fixed, a power of the width, affine in "
            "it, nor proportional to it up to rounding; describe the model at widths where they are "
            "(powers of 2 times the smallest)"
        )
    return growth


def _power(widths: Sequence[int], sizes: Sequence[int]) -> Growth | None:
    """The power p = u / v with s_i^v n_0^u = s_0^v n_i^u for every width, in integers."""
    if sizes[0] < 1 or sizes[-1] <= sizes[0]:
        return None
    p = Fraction(log(sizes[-1] / sizes[0]) / log(widths[-1] / widths[0])).limit_denominator(
        LARGEST_DENOMINATOR
    )
    u, v = p.numerator, p.denominator
    exact = all(
        size**v * widths[0] ** u == sizes[0] ** v * width**u
        for width, size in zip(widths, sizes, strict=True)
    )
    return Growth(GrowthKind.POWER, p, widths[0], sizes[0]) if exact else None


def _affine(widths: Sequence[int], sizes: Sequence[int]) -> Growth | None:
    slope = Fraction(sizes[-1] - sizes[0], widths[-1] - widths[0])
    offset = sizes[0] - slope * widths[0]
    exact = all(offset + slope * width == size for width, size in zip(widths, sizes, strict=True))
    return (
        Growth(GrowthKind.AFFINE, Fraction(1), widths[0], sizes[0], offset=offset)
        if exact and slope > 0
        else None
    )


def _rounded(widths: Sequence[int], sizes: Sequence[int]) -> Growth | None:
    """Multiples of m that are k n rounded up, or rounded down, for one k at every width.

    The multiple may be at most half of the smallest size, or almost any sizes would pass.
    """
    multiple = gcd(*sizes)
    ascending = all(later > earlier for earlier, later in pairwise(sizes))
    if not ascending or 2 * multiple > sizes[0]:
        return None
    above = [Fraction(size + multiple, width) for width, size in zip(widths, sizes, strict=True)]
    here = [Fraction(size, width) for width, size in zip(widths, sizes, strict=True)]
    below = [Fraction(size - multiple, width) for width, size in zip(widths, sizes, strict=True)]
    rounded_up, rounded_down = max(below) < min(here), max(here) < min(above)
    if not (rounded_up or rounded_down):
        return None
    return Growth(GrowthKind.ROUNDED, Fraction(1), widths[-1], sizes[-1], multiple=multiple)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)
