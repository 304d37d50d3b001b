"""The law of an initializer from samples alone: true laws are named, false ones refused, errors by hand."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from widthwise.scaling import fit_initializer
from widthwise.scaling.draws import Pair, pool
from widthwise.scaling.initializers import Draw, Sample

HALF = Fraction(1, 2)
WIDTHS = (32, 64, 128)


def sample(width: int, exponent: float, entries: int, deviate: float) -> Sample:
    """A sample whose log spread is off by that many standard errors."""
    spread = width**-exponent * math.exp(deviate / math.sqrt(2 * entries))
    return Sample((width, 3), entries, spread, spread, None)


@pytest.mark.parametrize("exponent", [0, 0.5, 1])
@pytest.mark.parametrize("entries", [300, 3_000, 3_000_000])
def test_true_laws_are_named(exponent: float, entries: int) -> None:
    """2000 draws of a true law: it is always among the candidates, and alone from 300 entries a width on.

    One in 200,000 is lost by design, so none is expected here. Spreads are drawn from their own distribution,
    chi-square, and not from its normal limit.
    """
    generator = np.random.default_rng(20240501)
    chi = np.sqrt(generator.chisquare(entries, size=(2000, 3)) / entries)
    for row in chi:
        samples = {
            width: Sample((width, 3), entries, spread, spread, None)
            for width, spread in zip(WIDTHS, WIDTHS ** -np.float64(exponent) * row, strict=True)
        }
        assert fit_initializer(samples).candidates == (Fraction(exponent),)


@pytest.mark.parametrize("exponent", [0.1, 0.4, 0.6, 0.9])
def test_false_laws_are_not(exponent: float) -> None:
    samples = {width: sample(width, exponent, 100_000, 0) for width in WIDTHS}
    fit = fit_initializer(samples)
    assert fit.exponent is None
    assert fit.slope == pytest.approx(-exponent, rel=1e-9)
    assert fit.evidence().endswith("no law fits")


def test_curvature_is_refused_though_its_slope_is_on_the_lattice() -> None:
    deviates = {
        32: 12.0,
        64: -24.0,
        128: 12.0,
    }  # sigma at the ends, twice that in the middle: slope unchanged
    fit = fit_initializer({width: sample(width, 0.5, 100_000, deviates[width]) for width in WIDTHS})
    assert fit.slope == pytest.approx(-0.5, abs=1e-9)
    assert fit.exponent is None


def test_the_slope_and_its_error_by_hand() -> None:
    """Equal weights, log2 n = 5, 6, 7: slope (y3 - y1) / (2 log 2), error sigma / (sqrt(2) log 2)."""
    fit = fit_initializer({width: sample(width, 0.5, 5000, 1.0 if width == 128 else 0.0) for width in WIDTHS})
    sigma = math.sqrt(1 / 10_000 + 2.0**-18)
    assert fit.slope == pytest.approx(-0.5 + 0.01 / (2 * math.log(2)), rel=1e-9)
    assert fit.standard_error == pytest.approx(sigma / (math.sqrt(2) * math.log(2)), rel=1e-9)


@pytest.mark.parametrize(("kurtosis", "held"), [(3.0, False), (1.8, False), (30.0, True)])
def test_heavy_tails_are_less_certain(kurtosis: float, held: bool) -> None:
    """Ends 8 normal errors off, in opposite directions; at kurtosis 30 an error is sqrt(29 / 2) = 3.8 times that."""
    deviates = {32: 8.0, 64: 0.0, 128: -8.0}
    samples = {
        width: replace(sample(width, 0.5, 5000, deviates[width]), kurtosis=kurtosis) for width in WIDTHS
    }
    assert (fit_initializer(samples).candidates == (HALF,)) == held


def test_kurtosis_by_hand() -> None:
    """Differences 2, 2, 0.5, 0.5 over two pairs: mean square 2.125, mean fourth 8.03125."""
    pairs = [Pair((2,), 2, 8.0, 32.0, 1.0, None), Pair((2,), 2, 0.5, 0.125, 1.0, None)]
    pooled = pool(pairs)
    assert pooled.kurtosis == pytest.approx(8.03125 / 2.125**2, rel=1e-15)
    assert (pooled.entries, pooled.spread, pooled.size) == (
        4,
        pytest.approx(math.sqrt(2.125 / 2)),
        math.sqrt(0.5),
    )


def test_one_width_is_too_few() -> None:
    with pytest.raises(ValueError, match=r"draws at widths \[64\]; an exponent needs at least two"):
        fit_initializer({64: sample(64, 0, 10, 0)})


def test_zeros_among_what_differs_are_left_out() -> None:
    """(2, 0) and (-1, 3), and 6 zeros in common: three numbers that are drawn, squares 14, differences 2 and -4."""
    sample = pool([Pair((8,), 2, 20.0, 272.0, 7.0, None, zeros=1)])
    assert (sample.entries, sample.spread) == (2, math.sqrt(20 / 3))
    assert sample.size == math.sqrt(14 / 3)
    assert sample.kurtosis == 2 * 272 / 400


def test_a_size_is_less_noisy_than_a_spread() -> None:
    """Spread 1 about 3^(1/2): r = 1/4, so r (2 - r) = 7/16 of a spread's squared error, 1 / (2 entries)."""
    samples = {width: Sample((width, 3), 5000, 1.0, 2.0, None) for width in WIDTHS}
    fit = fit_initializer(samples)
    assert fit.draw is Draw.SHIFTED
    assert fit.errors == pytest.approx([math.sqrt(7 / 16 / 10_000 + 2.0**-18)] * 3, rel=1e-12)


@pytest.mark.parametrize(("last", "scales"), [(1.0, (3.0, 3.0, 1.0)), (2.0, (4.0, 4.0, 2.0))])
def test_all_widths_are_measured_as_the_last(last: float, scales: tuple[float, ...]) -> None:
    """Spreads of 3, 3 and 1 and sizes of 4, 4 and of the last: by spreads if that is centred, else by sizes."""
    samples = {width: Sample((width, 3), 5000, 3.0, 4.0, None) for width in WIDTHS[:2]}
    fit = fit_initializer({**samples, 128: Sample((128, 3), 5000, 1.0, last, None)})
    assert fit.scales == scales


@pytest.mark.parametrize(("excess", "draw"), [(0.0038, Draw.RANDOM), (0.0060, Draw.SHIFTED)])
def test_rounding_to_bfloat16_shifts_nothing(excess: float, draw: Draw) -> None:
    """Of a billion entries: the sampling error of size^2 / spread^2, 0.0003, is below what bfloat16 moves, 0.0039."""
    assert Sample((9,), 10**9, 1.0, math.sqrt(1 + excess), None).draw is draw
