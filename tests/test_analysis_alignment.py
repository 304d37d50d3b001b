"""Exponents of measured log gains: known ones come out within their intervals, and undefined ones stay undefined."""

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from alignment_factors import Factors, independent, log_gain, rank_one
from widthwise.analysis import AlignmentExponent, AlignmentRow, Pool, alignment_exponents
from widthwise.analysis.width_slope import width_slope
from widthwise.theory import AlignmentQuantity, MeasuredAlignment, Role, measured_alignment

WIDTHS = (64, 128, 256, 512)
MANY = (32, 64, 128, 256, 512, 1024)
ALPHA = AlignmentQuantity.ALPHA


def row(
    width: int, value: float, *, seed: int = 0, layer: str = "up", role: Role | None = Role.HIDDEN
) -> AlignmentRow:
    return AlignmentRow(width, seed, layer, role, ALPHA, 0.5, value, width)


def rows_of(make: Callable[[int, int], Factors], seeds: int = 4) -> list[AlignmentRow]:
    found = [(n, seed, make(n, seed)) for n in MANY for seed in range(seeds)]
    return [row(n, log_gain(one.matrix, one.tokens), seed=seed) for n, seed, one in found]


def only(rows: list[AlignmentRow], pool: Pool = Pool.LAYER) -> AlignmentExponent:
    (found,) = alignment_exponents(rows, pool=pool)
    return found


@pytest.mark.parametrize(("make", "truth"), [(independent, 0.5), (rank_one, 1.0)])
def test_known_alignment_within_its_interval(make: Callable[[int, int], Factors], truth: float) -> None:
    """Four seeds: the pooled gain of T tokens and n rows scatters by less than 0.1, the slope by 0.03."""
    found = only(rows_of(make)).exponent
    assert found.low <= truth <= found.high
    assert found.high - found.low < 0.2
    assert found.widths == MANY


def test_the_ratio_of_one_width_is_biased_and_the_slope_is_not() -> None:
    """Of a token's squares 1 / (1 + 4) lie along q, so that the ratio falls short by ln 5 / (2 ln n)."""
    rows = rows_of(rank_one)
    ratios = [one.log_gain / math.log(one.width) for one in rows if one.width == MANY[-1]]
    assert max(ratios) < 0.9
    found = only(rows).exponent
    assert found.low <= 1.0 <= found.high
    assert found.low > max(ratios)


def test_a_layer_s_own_constant_falls_out() -> None:
    rows = [
        row(n, 0.75 * math.log(n) + shift, layer=name)
        for n in WIDTHS
        for name, shift in (("a", -3), ("b", 2))
    ]
    for found in alignment_exponents(rows):
        assert found.exponent.value == pytest.approx(0.75, abs=1e-12)
    assert only(rows, Pool.ROLE).exponent.value == pytest.approx(0.75, abs=1e-12)
    assert only(rows, Pool.ROLE).name == "hidden"


def test_the_slope_is_on_the_width_and_not_on_the_fan_in() -> None:
    rows = [replace(row(n, 0.75 * math.log(4 * n)), fan_in=4 * n * n) for n in WIDTHS]
    assert only(rows).exponent.value == pytest.approx(0.75, abs=1e-12)


def test_an_interval_by_hand() -> None:
    """One seed, ln n = 0, 1, 2 (up to a factor) and residuals r (1, -2, 1): variance 6 r^2 on one degree of freedom."""
    r, step = 0.01, math.log(2)
    values = [[[0.0 + r]], [[step - 2 * r]], [[2 * step + r]]]
    found = width_slope((2, 4, 8), [[held[0] for held in values]])
    half = 12.7062047 * math.sqrt(6 * r**2 / (2 * step**2))
    assert found.estimate == pytest.approx(1.0, abs=1e-12)
    assert found.high - found.estimate == pytest.approx(half, rel=1e-8)
    assert found.errors.seeds == found.errors.layers == 0


def test_seeds_noise_by_hand() -> None:
    """Two seeds at +-d about an exact line: sigma^2 = 2 d^2, three degrees of freedom, the widths explain nothing."""
    d, step = 0.05, math.log(2)
    values = [[[k * step - d, k * step + d] for k in range(3)]]
    found = width_slope((2, 4, 8), values)
    assert found.errors.widths == 0
    assert found.high - found.estimate == pytest.approx(
        3.1824463 * math.sqrt(2 * d**2 / 2 / (2 * step**2)), rel=1e-8
    )


def test_layers_that_differ_widen_the_interval_of_their_role() -> None:
    """Slopes 0.6 and 0.8 without noise: mean 0.7, standard error 0.1, one degree of freedom."""
    rows = [row(n, slope * math.log(n), layer=str(slope)) for n in WIDTHS for slope in (0.6, 0.8)]
    found = only(rows, Pool.ROLE)
    assert found.exponent.value == pytest.approx(0.7)
    assert found.errors.layers == pytest.approx(0.1)
    assert found.exponent.high - 0.7 == pytest.approx(1.27062047, rel=1e-6)


@pytest.mark.parametrize(("seeds", "wiggle", "least"), [(1, 0.0, 0.92), (4, 0.0, 0.92), (4, 0.1, 0.88)])
def test_coverage_of_the_interval(seeds: int, wiggle: float, least: float) -> None:
    """400 tables with noise 0.1 a seed and `wiggle` a width: 2.8 standard errors are 3 % (of 95) and 4 (of 92.6)."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        noise = rng.normal(0, 0.1, (4, seeds)) + rng.normal(0, 1, (4, 1)) * wiggle
        values = [[list(0.8 * math.log(n) + noise[k]) for k, n in enumerate(WIDTHS)]]
        found = width_slope(WIDTHS, values)
        inside += found.low <= 0.8 <= found.high
    assert inside >= least * 400


@pytest.mark.slow
@pytest.mark.parametrize(
    ("widths", "wiggle", "least"),
    [(3, 0, 0.95), (4, 0, 0.95), (3, 1, 0.87), (4, 1, 0.91), (6, 1, 0.91)],
)
def test_the_stated_coverage(widths: int, wiggle: float, least: float) -> None:
    """The least that docs/alignment.md states; of 600 tables 3 % are two standard errors or more."""
    rng = np.random.default_rng(1)
    at = tuple(64 * 2**k for k in range(widths))
    for seeds in (2, 4, 8):
        for size in (0.03, 0.05, 0.1, 0.3) if wiggle else (0.0,):
            inside = 0
            for _ in range(600):
                noise = rng.normal(0, 0.1, (widths, seeds)) + size * rng.normal(0, 1, (widths, 1))
                found = width_slope(at, [[list(0.8 * math.log(n) + noise[k]) for k, n in enumerate(at)]])
                inside += found.low <= 0.8 <= found.high
            assert inside >= (least - 0.03) * 600, (seeds, size, inside / 600)


def test_pure_noise_fakes_no_small_interval() -> None:
    rows = [row(n, float(np.random.default_rng([n, s]).normal()), seed=s) for n in WIDTHS for s in range(3)]
    found = only(rows).exponent
    assert found.high - found.low > 0.5


def test_an_undefined_row_gives_an_undefined_exponent() -> None:
    """Defect 7: nothing changed is no exponent of 0 or 1, and the solver refuses what is undefined."""
    rows = [row(n, math.nan if n == 128 else math.log(n)) for n in WIDTHS]
    found = only(rows)
    assert math.isnan(found.exponent.value)
    assert "up is undefined at width 128" in found.undefined
    with pytest.raises(ValueError, match="undefined"):
        measured_alignment({"up": MeasuredAlignment(found.exponent, found.exponent, found.exponent)})


def test_an_embedding_has_no_exponent() -> None:
    rows = [replace(row(n, 0.3), fan_in=256, role=Role.EMBEDDING) for n in WIDTHS]
    found = only(rows)
    assert math.isnan(found.exponent.value)
    assert found.undefined == "sums over 256 entries at every width"


def test_exponents_enter_the_theory() -> None:
    found = only([row(n, 0.9312 * math.log(n)) for n in WIDTHS]).exponent
    layer = measured_alignment({"up": MeasuredAlignment(found, found, found)}).layers["up"]
    assert layer.alpha == Fraction(931, 1000)


@pytest.mark.parametrize(
    ("rows", "pool", "message"),
    [
        ([row(64, 1.0)], Pool.LAYER, r"1 width\(s\) \[64\]; a ratio at one width is not an exponent"),
        ([row(64, 1.0), row(128, 2.0), row(128, 2.0, seed=1)], Pool.LAYER, r"2 width\(s\)"),
        ([row(64, 1.0), row(64, 1.0)], Pool.LAYER, "width 64, seed 0 is there twice"),
        ([row(64, 1.0, role=None)], Pool.ROLE, "layer 'up' has no role"),
        (
            [*(row(n, 1.0) for n in WIDTHS), *(row(n, 1.0, layer="down") for n in WIDTHS[1:])],
            Pool.ROLE,
            "layer 'down' has no row at width 64, seed 0",
        ),
        (
            [
                *(row(n, 1.0) for n in WIDTHS),
                *(replace(row(n, 1.0, layer="fixed"), fan_in=7) for n in WIDTHS),
            ],
            Pool.ROLE,
            "'fixed' sums over 7 entries at every width",
        ),
    ],
)
def test_what_cannot_be_regressed_is_refused(rows: list[AlignmentRow], pool: Pool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        alignment_exponents(rows, pool=pool)
