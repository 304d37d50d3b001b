"""Alignment: what is refused, alignment layer by layer, and measured exponents with their intervals."""

from dataclasses import replace
from fractions import Fraction

import pytest

from widthwise.theory import (
    ADAM,
    FULL,
    NONE,
    STANDARD,
    Alignment,
    Layer,
    Lexicographic,
    MeasuredAlignment,
    MeasuredExponent,
    Network,
    PerLayerAlignment,
    RateInterval,
    Role,
    chain,
    measured_alignment,
    solve,
    solve_measured,
)
from widthwise.theory.measured import End

HALF = Fraction(1, 2)
WIDTHS = (128, 256, 512)
NAN, INFINITE = float("nan"), float("inf")


def slope(value: float, low: float | None = None, high: float | None = None) -> MeasuredExponent:
    return MeasuredExponent(value, value if low is None else low, value if high is None else high, WIDTHS)


def layer(alpha: MeasuredExponent, u: MeasuredExponent | None = None) -> MeasuredAlignment:
    return MeasuredAlignment(alpha=alpha, omega=slope(0.5), u=alpha if u is None else u)


# Exact exponents


@pytest.mark.parametrize("symbol", ["alpha", "omega", "u"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (NAN, "alignment 'mine': {} is nan; an undefined exponent cannot enter the theory"),
        (INFINITE, "alignment 'mine': {} is inf; an undefined exponent"),
        (
            0.75,
            "alignment 'mine': {} is 0.75, must be a Fraction; measured numbers go through measured_alignment",
        ),
        ("1", "alignment 'mine': {} is '1', must be a Fraction"),
    ],
)
def test_inexact_exponents_are_refused(symbol: str, value: object, message: str) -> None:
    exponents = {"alpha": HALF, "omega": HALF, "u": HALF, symbol: value}
    with pytest.raises(ValueError, match=message.format(symbol)):
        Alignment("mine", **exponents)  # pyright: ignore[reportArgumentType]


def test_integers_are_exact() -> None:
    assert Alignment("integers", 1, 0, 1).alpha == Fraction(1)  # pyright: ignore[reportArgumentType]
    assert isinstance(Alignment("integers", 1, 0, 1).omega, Fraction)  # pyright: ignore[reportArgumentType]
    assert Alignment("both", alpha=HALF, omega=HALF, u=Fraction(3, 4)).update == Fraction(3, 4)


# Layer by layer


def test_every_layer_takes_its_own_exponents() -> None:
    alignment = PerLayerAlignment("mixed", {"hidden.1": NONE, "hidden.2": FULL, "readout": NONE})
    solution = solve(STANDARD, ADAM, alignment, network=chain(2))
    assert [str(x.c) for x in solution.layers.values()] == ["0", "1/2", "1", "1/2"]


def test_an_embeddings_alignment_is_not_asked_for_and_not_used() -> None:
    """It contracts no growing dimension; given, it changes nothing."""
    without = PerLayerAlignment("without", {"hidden": FULL, "readout": FULL})
    given = PerLayerAlignment("given", {"embedding": replace(FULL, alpha=Fraction(3)), **without.layers})
    assert solve(STANDARD, ADAM, without).layers == solve(STANDARD, ADAM, given).layers


def test_a_vector_in_the_network_needs_no_alignment() -> None:
    """A gain on the stream may change features as the embedding may: c = 0 for Adam; r of its input passes through."""
    network = Network(
        (
            Layer("embedding", Role.EMBEDDING),
            Layer("gain", Role.VECTOR, ("embedding",)),
            Layer("readout", Role.READOUT, ("gain",)),
        )
    )
    steep = PerLayerAlignment("steep", {"readout": replace(FULL, omega=Fraction(3, 4))})
    solution = solve(STANDARD, ADAM, steep, network=network)
    quarter = Fraction(1, 4)
    assert [x.c for x in solution.layers.values()] == [quarter, quarter, 1]
    assert [x.r for x in solution.layers.values()] == [quarter, quarter, 0]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"hidden": FULL}, r"alignment 'partial' has no exponents for layer 'readout'; it has \['hidden'\]"),
        ({}, r"alignment 'partial' has no exponents for layer 'hidden'; it has \[\]"),
        (
            {"hidden": FULL, "readout": FULL, "head": FULL},
            r"alignment 'partial' is for layer 'head', which the network does not have; its layers are \['embedding', ",
        ),
    ],
)
def test_layers_that_do_not_match_are_refused(layers: dict[str, Alignment], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solve(STANDARD, ADAM, PerLayerAlignment("partial", layers))


# Measured


@pytest.mark.parametrize(
    ("exponent", "message"),
    [
        (
            MeasuredExponent(0.9, 0.8, 1.0, (128,)),
            r"layer 'hidden': alpha was measured at 1 width\(s\) \[128\]; a",
        ),
        (
            MeasuredExponent(0.9, 0.8, 1.0, (256, 128)),
            r"'hidden': alpha was measured at 2 width\(s\) \[128, 256\]",
        ),
        (MeasuredExponent(0.9, 0.8, 1.0, (64, 64, 128)), r"measured at 2 width\(s\) \[64, 128\]"),
        (MeasuredExponent(0.9, 0.8, 1.0, ()), r"measured at 0 width\(s\) \[\]"),
        (
            slope(NAN),
            "layer 'hidden': alpha is undefined .nan, interval nan to nan.; measure where the layer changes",
        ),
        (slope(0.9, NAN, 1.0), "layer 'hidden': alpha is undefined .0.9, interval nan to 1.0"),
        (slope(0.9, 0.8, INFINITE), "layer 'hidden': alpha is undefined .0.9, interval 0.8 to inf"),
        (slope(0.7, 0.8, 1.0), "layer 'hidden': alpha = 0.7 lies outside its interval 0.8 to 1.0"),
        (slope(1.1, 0.8, 1.0), "layer 'hidden': alpha = 1.1 lies outside its interval 0.8 to 1.0"),
    ],
)
def test_what_is_no_measured_exponent_is_refused(exponent: MeasuredExponent, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measured_alignment({"readout": layer(slope(0.5)), "hidden": layer(exponent, slope(0.5))})


@pytest.mark.parametrize("symbol", ["alpha", "omega", "u"])
def test_the_undefined_exponent_is_named(symbol: str) -> None:
    measured = replace(layer(slope(0.5)), **{symbol: slope(NAN)})
    with pytest.raises(ValueError, match=f"layer 'blocks.3': {symbol} is undefined"):
        measured_alignment({"blocks.3": measured})


def test_ends_of_the_intervals() -> None:
    """Exponents become multiples of 1/1000, rounded to the nearest."""
    measured = {"hidden": layer(slope(0.87654, 0.81249, 0.9996), slope(0.5, 0.4, 0.6))}
    read = {end: measured_alignment(measured, end=end, name="gpt").layers["hidden"] for end in End}
    assert [read[end].alpha for end in End] == [Fraction(n, 1000) for n in (812, 877, 1000)]
    assert [read[end].u for end in End] == [Fraction(n, 10) for n in (4, 5, 6)]
    assert {one.omega for one in read.values()} == {HALF}
    assert measured_alignment(measured, name="gpt").name == "gpt"
    assert measured_alignment(measured).layers["hidden"].alpha == Fraction(877, 1000), "the values by default"


def test_intervals_pass_through_the_solver() -> None:
    """Each layer's interval is its own; the embedding meets no alignment and has none."""
    rates = solve_measured(
        STANDARD, ADAM, {"hidden": layer(slope(0.8, 0.7, 0.9)), "readout": layer(slope(0.6, 0.55, 0.7))}
    )
    tenth = Fraction(1, 10)
    assert rates.interval("hidden") == RateInterval(low=7 * tenth, value=8 * tenth, high=9 * tenth)
    assert rates.interval("readout") == RateInterval(low=Fraction(11, 20), value=6 * tenth, high=7 * tenth)
    assert rates.interval("embedding") == RateInterval(low=Fraction(0), value=Fraction(0), high=Fraction(0))
    assert rates.low.total <= rates.value.total <= rates.high.total


def test_an_interval_is_the_range_even_where_a_rate_moves_the_other_way() -> None:
    """Readout first: features slow down by u - alpha for its sake, so the embedding's c falls as alpha grows."""
    measured = {"hidden": layer(slope(0.5)), "readout": layer(slope(0.6, 0.5, 0.7), slope(0.9))}
    rates = solve_measured(STANDARD, ADAM, measured, prefer=Lexicographic((Role.READOUT,)))
    assert [x.rate("embedding") * 10 for x in (rates.low, rates.value, rates.high)] == [4, 3, 2]
    tenth = Fraction(1, 10)
    assert rates.interval("embedding") == RateInterval(low=2 * tenth, value=3 * tenth, high=4 * tenth)
    assert rates.interval("readout") == RateInterval(low=5 * tenth, value=6 * tenth, high=7 * tenth)


def test_a_measured_layer_that_the_network_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="alignment 'measured' is for layer 'other'"):
        solve_measured(STANDARD, ADAM, {name: layer(slope(0.5)) for name in ("hidden", "readout", "other")})
