"""The law of one dimension: recovered exactly, extrapolated, and refused; and the role that dimensions imply."""

from fractions import Fraction
from itertools import product
from math import ceil

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from widthwise.scaling import Axis, Growth, GrowthKind, fit_growth, role_of
from widthwise.theory import Role

FIXED, POWER, AFFINE, ROUNDED = GrowthKind
C, P, E, S = Axis.CONTRACTED, Axis.PRODUCED, Axis.ELEMENTWISE, Axis.STACKED


@pytest.mark.parametrize(
    ("widths", "sizes", "kind", "exponent", "text"),
    [
        ((64, 256, 1024), (7, 7, 7), FIXED, 0, "7"),
        ((64, 256, 1024), (0, 0, 0), FIXED, 0, "0"),
        ((64, 256, 1024), (64, 256, 1024), POWER, 1, "n"),
        ((64, 256, 1024), (96, 384, 1536), POWER, 1, "3n/2"),
        ((64, 256, 1024), (4096, 65536, 1048576), POWER, 2, "4096(n/64)^2"),
        ((64, 256, 1024), (8, 16, 32), POWER, Fraction(1, 2), "8(n/64)^(1/2)"),
        ((256, 512, 1024), (48, 64, 96), AFFINE, 1, "n/16+32"),
        ((64, 256, 1024), (63, 255, 1023), AFFINE, 1, "n-1"),
        (
            (256, 512, 1024),
            (768, 1536, 2816),
            ROUNDED,
            1,
            "~11n/4",
        ),  # 8 n / 3 in multiples of 256, rounded up
        ((256, 512, 1024), (512, 1280, 2560), ROUNDED, 1, "~5n/2"),  # the same, rounded down
    ],
)
def test_by_hand(
    widths: tuple[int, ...], sizes: tuple[int, ...], kind: GrowthKind, exponent: Fraction, text: str
) -> None:
    growth = fit_growth(widths, sizes)
    assert (growth.kind, growth.exponent, str(growth)) == (kind, exponent, text)
    assert growth.grows == (kind is not FIXED)
    assert growth.multiple == (256 if kind is ROUNDED else 1)


@pytest.mark.parametrize(
    "sizes",
    [
        (48, 64, 97),  # one more than affine
        (8, 16, 40),  # more than a power, and no multiple of 8 is rounded that far
        (256, 256, 512),  # rounded so coarsely that it does not grow at first
        (1536, 3584, 8192),  # n log n
        (96, 80, 48),  # shrinks as a line
        (96, 64, 48),  # shrinks
        (1024, 512, 256),  # shrinks as 1 / n
        (0, 256, 1024),
    ],
)
def test_what_follows_no_law(sizes: tuple[int, ...]) -> None:
    listed = ", ".join(map(str, sizes))
    with pytest.raises(
        ValueError, match=f"^sizes {listed} at widths 256, 512, 1024 are neither fixed, a power"
    ):
        fit_growth((256, 512, 1024), sizes)


@pytest.mark.parametrize("widths", [(64, 128), (64, 64, 128), (128, 64, 256), (0, 64, 128)])
def test_widths_must_tell(widths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"needs at least three|must be positive and ascend"):
        fit_growth(widths, [2 * width for width in widths])


def test_one_size_a_width() -> None:
    with pytest.raises(ValueError, match="2 sizes at 3 widths"):
        fit_growth((1, 2, 3), (4, 5))


widths_of = st.lists(st.integers(1, 4096), min_size=3, max_size=5, unique=True).map(sorted)


roots_of = st.lists(st.integers(1, 16), min_size=3, max_size=5, unique=True).map(sorted)


@given(roots_of, st.integers(1, 64), st.integers(1, 12))
def test_powers_are_recovered_and_extrapolated(roots: list[int], factor: int, quarters: int) -> None:
    """Widths that are fourth powers make every quarter power an integer."""
    exponent = Fraction(quarters, 4)
    widths = [root**4 for root in roots]
    sizes = [factor * root**quarters for root in roots]
    growth = fit_growth(widths, sizes)
    assert growth.exponent == exponent
    assert growth.offset == 0
    # Two roundings of a power and one of a product, each within an ulp or two.
    assert growth.size_at(widths[0] * 16) == pytest.approx(sizes[0] * 2**quarters, rel=1e-14)


@given(widths_of, st.integers(1, 32), st.integers(-32, 64).filter(bool))
def test_affine_is_recovered_and_extrapolated(widths: list[int], slope: int, offset: int) -> None:
    sizes = [slope * width + offset for width in widths]
    assume(sizes[0] > 0)
    growth = fit_growth(widths, sizes)
    if growth.kind is AFFINE:
        assert growth.offset == offset
        assert growth.size_at(10_000) == pytest.approx(slope * 10_000 + offset, rel=1e-14)
    else:  # three points of an affine law may lie on a power too, whose exponent is then no 1
        assert growth.kind is POWER
        assert growth.exponent != 1
        assert [growth.size_at(width) for width in widths] == pytest.approx(sizes, rel=1e-12)


@given(st.integers(2, 16), st.integers(2, 64))
def test_rounding_up_to_a_multiple_grows(numerator: int, multiple: int) -> None:
    """The hidden size of a gated MLP: numerator n / 3, rounded up."""
    widths = (256, 512, 1024)
    growth = fit_growth(widths, [multiple * ceil(numerator * width / 3 / multiple) for width in widths])
    assert growth.grows
    # Exact sizes are at most a multiple away from the law at every width up to the largest described.
    assert growth.size_at(512) == pytest.approx(numerator * 512 / 3, abs=multiple)


@given(widths_of, st.integers(1, 9), st.integers(2, 9))
def test_scaling_the_width_changes_no_kind(widths: list[int], factor: int, scale: int) -> None:
    """A factory may count heads instead of channels: its n is ours over a constant."""
    sizes = [factor * width + 5 for width in widths]
    one, other = fit_growth(widths, sizes), fit_growth([scale * width for width in widths], sizes)
    assert (one.kind, one.exponent) == (other.kind, other.exponent)


BY_HAND = {
    "linear, both grow": ((P, C), (True, True), Role.HIDDEN),
    "first layer": ((P, C), (True, False), Role.EMBEDDING),
    "readout": ((P, C), (False, True), Role.READOUT),
    "fixed layer": ((P, C), (False, False), Role.FIXED),
    "lookup table": ((S, P), (False, True), Role.EMBEDDING),
    "lookup table whose vocabulary grows too": ((S, P), (True, True), Role.EMBEDDING),
    "lookup table whose vocabulary alone grows": ((S, P), (True, False), Role.FIXED),
    "gain": ((E,), (True,), Role.VECTOR),
    "gain over one head": ((E,), (False,), Role.FIXED),
    "state of each channel": ((E, E), (True, False), Role.VECTOR),
    "experts": ((S, P, C), (False, True, True), Role.HIDDEN),
    "more experts of a fixed size": ((S, P, C), (True, False, False), Role.FIXED),
    "bias of each expert": ((S, E), (False, True), Role.VECTOR),
    "convolution": ((P, C, C, C), (True, True, False, False), Role.HIDDEN),
    "depthwise convolution": ((E, C, C), (True, False, False), Role.VECTOR),
    "growing groups of a growing size": ((E, C, C), (True, True, False), Role.HIDDEN),
    "bilinear": ((P, C, C), (True, False, True), Role.HIDDEN),
}


@pytest.mark.parametrize(("axes", "grows", "role"), BY_HAND.values(), ids=BY_HAND)
def test_roles_by_hand(axes: tuple[Axis, ...], grows: tuple[bool, ...], role: Role) -> None:
    assert role_of(axes, grows) is role


def test_transposing_changes_no_role() -> None:
    for axes in product((C, P, E, S), repeat=3):
        for grows in product((False, True), repeat=3):
            assert role_of(axes, grows) is role_of(axes[::-1], grows[::-1])


def test_axes_are_counted() -> None:
    with pytest.raises(ValueError, match=r"2 axes .* for a tensor of 3 dimensions"):
        role_of((P, C), (True, True, False))


def test_a_law_is_a_value() -> None:
    assert Growth(POWER, Fraction(1), 64, 128) == fit_growth((64, 128, 256), (128, 256, 512))
