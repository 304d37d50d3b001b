"""Why a rate is what it is: sentences word for word, and a limit with a price for every layer of random problems."""

import random
from dataclasses import replace
from fractions import Fraction
from functools import cache

import pytest

from theory_problems import random_problem
from widthwise.theory import (
    ADAFACTOR,
    ADAM,
    FULL,
    MUP,
    NONE,
    PARETO_OVER_FULL,
    SGD,
    SMALLEST_TOTAL,
    STANDARD,
    Alignment,
    Binding,
    InfeasibleError,
    Join,
    Kind,
    Layer,
    Lexicographic,
    Logits,
    Network,
    PerLayerAlignment,
    Role,
    Solution,
    UncertifiedError,
    chain,
    solve,
)

HALF, ZERO = Fraction(1, 2), Fraction(0)
LATE = Alignment("late", alpha=HALF, omega=HALF, u=Fraction(1))
AMPLIFIED = replace(FULL, omega=Fraction(11, 20))


def test_the_sentences_of_the_standard_network() -> None:
    solution = solve(STANDARD, ADAM, FULL)
    assert [solution.why(name) for name in solution.layers] == [
        "embedding rate limited by its own update, which must not outgrow the features",
        "hidden rate limited by the update meeting aligned activations (alpha = 1)",
        "readout rate limited by the update meeting aligned activations (alpha = 1)",
    ]


@pytest.mark.parametrize(
    ("solution", "layer", "sentence"),
    [
        (
            solve(STANDARD, ADAM, NONE),
            "hidden",
            "hidden rate limited by the update meeting independent activations (alpha = 1/2)",
        ),
        (
            solve(STANDARD, ADAM, LATE),
            "readout",
            "readout rate limited by the update meeting the change of hidden (u = 1)",
        ),
        (
            solve(STANDARD, ADAFACTOR, Alignment("weak", HALF / 2, HALF, HALF / 2)),
            "hidden",
            "hidden rate limited by the size of its own weights, to which its updates are proportional (c >= 0)",
        ),
        (
            solve(MUP, SGD, NONE),
            "readout",
            "readout rate limited by the gradient: a larger readout update would enlarge every gradient that passes "
            "through it",
        ),
        (
            solve(STANDARD, ADAM, FULL, logits=Logits.CONTROLLED),
            "readout",
            "readout rate unconstrained: logits may grow, and nothing else limits it",
        ),
        (
            solve(STANDARD, ADAM, AMPLIFIED, network=chain(5)),
            "embedding",
            "embedding rate limited by its own update, which must not outgrow the features; its output changes by only "
            "n^-(3/10), because initial weights amplify it in hidden.1 (omega = 11/20), hidden.2 (omega = 11/20), "
            "hidden.3 (omega = 11/20) and 3 more",
        ),
        (
            solve(STANDARD, ADAM, AMPLIFIED, network=chain(5)),
            "hidden.4",
            "hidden.4 rate limited by the update meeting aligned activations (alpha = 1); its output changes by only "
            "n^-(1/10), because initial weights amplify it in hidden.5 (omega = 11/20), readout (omega = 11/20)",
        ),
        (
            solve(STANDARD, ADAM, LATE, prefer=Lexicographic((Role.READOUT,))),
            "embedding",
            "embedding rate limited by its own update, which must not outgrow the features; its output changes by only "
            "n^-(1/2), so that later layers may learn faster",
        ),
        (
            solve(MUP, SGD, NONE, prefer=PARETO_OVER_FULL),
            "embedding",
            "embedding rate limited by its own update, which must not outgrow the features",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_sentences(solution: Solution, layer: str, sentence: str) -> None:
    assert solution.why(layer) == sentence


def test_what_lies_beside_the_stream_is_not_blamed() -> None:
    """Only amplifiers that a layer's change passes through are named: `side` is frozen after `other` alone."""
    network = Network(
        (
            Layer("one", Role.EMBEDDING),
            Layer("other", Role.EMBEDDING),
            Layer("side", Role.HIDDEN, ("other",)),
            Join("stream", ("one", "side")),
            Layer("readout", Role.READOUT, ("stream",)),
        )
    )
    steep = PerLayerAlignment("steep", {"side": AMPLIFIED, "readout": FULL})
    solution = solve(STANDARD, ADAM, steep, network=network)
    assert "side (omega" in solution.why("other")
    assert "omega" not in solution.why("one")


def test_frozen_and_unlimited_layers_have_no_rate() -> None:
    layers = (replace(x, frozen=x.name == "hidden") for x in solve(STANDARD, ADAM, FULL).network.layers)
    frozen = solve(STANDARD, ADAM, FULL, network=Network(tuple(layers)))
    assert frozen["hidden"].c is None
    assert not frozen["hidden"].unconstrained
    with pytest.raises(ValueError, match=r"^hidden is frozen: it has no rate$"):
        frozen.rate("hidden")
    free = solve(STANDARD, ADAM, FULL, logits=Logits.CONTROLLED)
    assert free["readout"].c is None
    with pytest.raises(
        ValueError, match=r"^readout rate unconstrained: logits may grow, and nothing else limits it$"
    ):
        free.rate("readout")


def test_bindings_by_hand() -> None:
    """Full alignment: the update's row has the price; the cross row, tight too because u = alpha, has none."""
    assert solve(STANDARD, ADAM, FULL).binding("hidden") == (
        Binding(Kind.UPDATE, Fraction(1), None, Fraction(1)),
        Binding(Kind.CROSS, Fraction(1), "embedding", ZERO),
    )
    assert solve(STANDARD, ADAFACTOR, FULL).binding("embedding") == (
        Binding(Kind.UPDATE, None, None, Fraction(1)),
        Binding(Kind.SCALE, None, None, ZERO),
    )


@cache
def solved() -> tuple[Solution, ...]:
    """Random problems of every kind that have an optimum."""
    found: list[Solution] = []
    for seed in range(300):
        try:
            found.append(random_problem(random.Random(f"an explanation, number {seed}")).solve())
        except (InfeasibleError, UncertifiedError):
            continue
    assert len(found) > 200
    return tuple(found)


def totals() -> list[Solution]:
    return [solution for solution in solved() if solution.prefer is SMALLEST_TOTAL]


def test_every_rate_has_a_limit_and_a_sentence() -> None:
    for solution in solved():
        for name, layer in solution.layers.items():
            words = solution.why(name)
            assert words.startswith(f"{name} ")
            if layer.c is None:
                assert "no rate" in words or "unconstrained" in words
                continue
            first, *rest = solution.binding(name)
            assert first.price > 0, "what limits a rate has a price"
            assert [x.price for x in rest] == sorted((x.price for x in rest), reverse=True)
            meets = layer.role in (Role.HIDDEN, Role.READOUT) and first.kind in (Kind.UPDATE, Kind.CROSS)
            assert (first.exponent is not None) == meets
            assert (first.through is not None) == (first.kind is Kind.CROSS)
            slower = layer.role is not Role.READOUT and bool(layer.r)
            assert ("its output changes by only" in words) == slower


def test_bindings_hold_with_equality() -> None:
    """Evaluated anew: the update's exponent meets alpha or u exactly as the binding says."""
    for solution in solved():
        terms = solution.conditions.terms
        for name, layer in solution.layers.items():
            if layer.c is None or layer.role is Role.READOUT or layer.r is None:
                continue
            size = terms[name].size + layer.c
            if terms[name].rule.gradient_power:
                size += solution.gradient
            for binding in solution.binding(name):
                if binding.kind is Kind.UPDATE:
                    assert layer.r == size - (binding.exponent or 0)
                if binding.kind is Kind.SCALE:
                    assert layer.c == 0


def test_no_price_of_a_total_is_negative() -> None:
    assert all(binding.price >= 0 for x in totals() for name in x.layers for binding in x.binding(name))


def test_prices_of_a_rate_add_up_to_one() -> None:
    """The dual's balance: a unit of c costs 1, and the conditions on c are what pays for it."""
    for solution in totals():
        for name, layer in solution.layers.items():
            if layer.c is not None:
                assert sum(binding.price for binding in solution.binding(name)) == 1


def test_slack_that_is_forced_is_not_called_a_trade() -> None:
    """Adafactor's c = 0 and alignment of 1/4 everywhere: the hidden layer cannot change by more than n^(-1/4)."""
    weak = Alignment("weak", HALF / 2, HALF / 2, HALF / 2)
    assert solve(STANDARD, ADAFACTOR, weak).why("hidden") == (
        "hidden rate limited by the size of its own weights, to which its updates are proportional (c >= 0); "
        "its output changes by only n^-(1/4), the largest that such updates can do"
    )
