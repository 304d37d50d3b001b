"""Measured rates against the presets, omegas that noise lifted, and what measured alignment says of the best rate."""

from fractions import Fraction

import pytest

from widthwise.theory import (
    ADAFACTOR,
    ADAM,
    FULL,
    GLOBAL_RATE,
    MUP,
    SGD,
    STANDARD,
    MeasuredAlignment,
    MeasuredExponent,
    OptimizerRule,
    Parameterization,
    RateInterval,
    chain,
    measured_drift,
    measured_prescription,
    nearest_preset,
    predicted_drift,
    settle,
    settle_omega,
    solve,
    solve_measured,
)

WIDTHS = (128, 256, 512)


def slope(value: float, half: float = 0.0) -> MeasuredExponent:
    return MeasuredExponent(value, value - half, value + half, WIDTHS)


def layer(update: MeasuredExponent, omega: MeasuredExponent | None = None) -> MeasuredAlignment:
    return MeasuredAlignment(alpha=update, omega=slope(0.5) if omega is None else omega, u=update)


def both(update: MeasuredExponent) -> dict[str, MeasuredAlignment]:
    return {"hidden": layer(update), "readout": layer(update)}


# Which preset


@pytest.mark.parametrize(
    ("update", "nearest", "inside", "sentence"),
    [
        (slope(0.97, 0.05), "full", ("full",), "full alone lies within the intervals"),
        (slope(0.7, 0.1), "mid", ("mid",), "mid alone lies within the intervals"),
        (slope(0.5, 0.0), "none", ("none",), "none alone lies within the intervals"),
        (
            slope(0.85, 0.2),
            "mid",
            ("full", "mid"),
            "full and mid lie within the intervals and are not told apart",
        ),
        (slope(0.6, 0.05), "none", (), "no preset lies within the intervals; nearest: none"),
        (
            slope(0.8, 0.35),
            "mid",
            ("full", "mid", "none"),
            "full, mid and none all lie within the intervals: this measurement does not tell them apart",
        ),
    ],
)
def test_the_nearest_preset_and_those_within_the_interval(
    update: MeasuredExponent, nearest: str, inside: tuple[str, ...], sentence: str
) -> None:
    found = nearest_preset(solve_measured(STANDARD, ADAM, both(update)))
    assert (found.nearest, found.inside) == (nearest, inside)
    assert sentence in str(found)


def test_a_preset_must_lie_within_the_interval_of_every_layer() -> None:
    measured = {"hidden": layer(slope(1.0, 0.1)), "readout": layer(slope(0.5, 0.1))}
    found = nearest_preset(solve_measured(STANDARD, ADAM, measured))
    assert found.inside == ()
    assert found.layers["hidden"].inside == ("full",)
    assert found.layers["readout"].inside == ("none",)
    assert found.layers["embedding"].inside == ("full", "mid", "none")  # c = 0 under every assumption
    assert found.distance == Fraction(1, 2)


def test_where_alignment_changes_no_rate_it_says_so() -> None:
    """Muon's updates are orthogonal by construction; its embedding and readout follow Adam's rule."""
    fixed = OptimizerRule("fixed", alignment=Fraction(1, 2))
    found = nearest_preset(solve_measured(STANDARD, fixed, both(slope(0.9, 0.01))))
    assert str(found) == "full, mid and none prescribe the same rates here: alignment does not matter"


# An omega above 1/2 by noise


@pytest.mark.parametrize("hidden", [4, 12, 50])
def test_an_omega_lifted_by_noise_does_not_compound(hidden: int) -> None:
    """0.55 where 1/2 is within the interval: the first layer asks for n^(-0.05 (hidden + 1)), n^-2.55 at 50."""
    network = chain(hidden)
    names = [one.name for one in network.layers if one.name != "embedding"]
    noisy = {name: layer(slope(0.75), MeasuredExponent(0.55, 0.48, 0.62, WIDTHS)) for name in names}
    raw = solve_measured(STANDARD, ADAM, noisy, network=network)
    assert raw.interval("embedding").value == Fraction(5, 100) * (hidden + 1)
    settled = {name: settle_omega(one) for name, one in noisy.items()}
    rates = solve_measured(STANDARD, ADAM, settled, network=network)
    assert rates.interval("embedding") == RateInterval(Fraction(0), Fraction(0), Fraction(0))
    assert rates.interval("hidden.1").value == Fraction(3, 4)


@pytest.mark.parametrize(
    ("omega", "settled"),
    [
        (MeasuredExponent(0.55, 0.48, 0.62, WIDTHS), True),
        (MeasuredExponent(0.45, 0.40, 0.51, WIDTHS), True),
        (MeasuredExponent(0.55, 0.51, 0.59, WIDTHS), False),  # told apart from 1/2
        (MeasuredExponent(0.75, 0.40, 1.10, WIDTHS), False),  # not told apart, and far away: too coarse
        (MeasuredExponent(float("nan"), float("nan"), float("nan"), WIDTHS), False),
    ],
)
def test_what_is_settled(omega: MeasuredExponent, settled: bool) -> None:
    one = layer(slope(0.7), omega)
    found = settle_omega(one)
    assert (found.omega == slope(0.5)) is settled
    assert settled or found is one
    assert found.alpha is one.alpha
    assert settle_omega(one, tolerance=-1) is one


def test_no_exponent_is_above_one() -> None:
    """Cauchy and Schwarz: an interval that reaches above 1 ends there, and rates stay at full alignment's."""
    above = {"hidden": layer(slope(0.9, 0.3)), "readout": layer(slope(1.2, 0.1))}
    settled = {name: settle(one) for name, one in above.items()}
    assert settled["hidden"].alpha == MeasuredExponent(0.9, pytest.approx(0.6), 1.0, WIDTHS)
    assert settled["readout"].u == slope(1.0)
    rates = solve_measured(STANDARD, ADAM, settled)
    assert rates.interval("hidden").high == rates.interval("readout").value == 1
    undefined = MeasuredExponent(float("nan"), float("nan"), float("nan"), WIDTHS)
    assert settle(layer(undefined)).alpha.value != settle(layer(undefined)).alpha.value


# The prescription


@pytest.mark.parametrize("parameterization", [STANDARD, MUP], ids=lambda p: p.name)
@pytest.mark.parametrize("optimizer", [SGD, ADAM, ADAFACTOR], ids=lambda o: o.name)
def test_measured_rates_that_are_a_presets_prescribe_its_rates(
    parameterization: Parameterization, optimizer: OptimizerRule
) -> None:
    prescription = measured_prescription(both(slope(1.0)))
    expected = solve(parameterization, optimizer, FULL)
    assert predicted_drift(parameterization, optimizer, prescription, FULL) == 0
    assert prescription.alignment is not None
    found = solve(parameterization, optimizer, prescription.alignment)
    assert [one.c for one in found.layers.values()] == [one.c for one in expected.layers.values()]


def test_the_drift_that_measured_alignment_predicts() -> None:
    """One global rate under Adam and standard falls as the larger of the two roles' c."""
    measured = {"hidden": layer(slope(0.8, 0.1)), "readout": layer(slope(0.7, 0.25))}
    assert measured_drift(STANDARD, ADAM, GLOBAL_RATE, measured) == RateInterval(
        Fraction(7, 10), Fraction(4, 5), Fraction(95, 100)
    )
    mine = measured_prescription(measured)
    assert measured_drift(STANDARD, ADAM, mine, measured).value == 0
