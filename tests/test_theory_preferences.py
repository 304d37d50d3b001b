"""Where rates trade off: every Pareto corner, whether the optimum is the only one, and what preferences choose."""

import random
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
from scipy.optimize import linprog

from exact_networks import Lattice
from theory_problems import Problem, random_alignment, random_parameterization
from widthwise.theory import (
    ADAFACTOR,
    ADAM,
    FULL,
    MEAN_FIELD,
    MUP,
    NONE,
    OPTIMIZER_RULES,
    PARAMETERIZATIONS,
    PARETO_OVER_FULL,
    SGD,
    SMALLEST_TOTAL,
    STANDARD,
    Alignment,
    Layer,
    Lexicographic,
    Logits,
    Network,
    OptimizerRule,
    Parameterization,
    PerLayerAlignment,
    Role,
    chain,
    exponent_table,
    pareto_corners,
    solve,
)

HALF = Fraction(1, 2)
LATE = Alignment("late", alpha=HALF, omega=HALF, u=Fraction(1))
"""Updates meet changes more than activations (u > alpha): slower features buy rate."""
UNIT, TOP = 4, 11

Point = tuple[Fraction, ...]


def small_problem(seed: int) -> Problem:
    rng = random.Random(f"corners, number {seed}")
    network = chain(rng.choice([0, 1, 1, 1, 1]))
    return Problem(
        unit=UNIT,
        parameterization=random_parameterization(rng, UNIT),
        optimizer=rng.choice([SGD, SGD, *OPTIMIZER_RULES.values()]),
        alignment=random_alignment(rng, UNIT, network),
        network=network,
    )


def extreme(points: Sequence[Point]) -> set[Point]:
    """The points that no mixture of others matches everywhere: corners of what lies on and above all mixtures."""
    if len(points) == 1:
        return set(points)
    corners: set[Point] = set()
    for point in points:
        others = [other for other in points if other != point]
        mixture = linprog(
            [0.0] * len(others),
            A_ub=[[float(other[k]) for other in others] for k in range(len(point))],
            b_ub=[float(x) for x in point],
            A_eq=[[1.0] * len(others)],
            b_eq=[1.0],
        )
        if not mixture.success:
            corners.add(point)
    return corners


SMALL = [small_problem(seed) for seed in range(60)]


def test_corners_are_those_of_an_exhaustive_search() -> None:
    several = 0
    for problem in SMALL:
        expected = extreme(list(Lattice(problem, TOP).maximal()))
        found = pareto_corners(problem.solve())
        assert found.complete
        assert {tuple(corner.values()) for corner in found.corners} == expected
        assert len(found.corners) == len(expected), "none twice"
        several += len(expected) > 1
    assert several > 15


def test_unique_is_what_an_exhaustive_search_says() -> None:
    answers = []
    for problem in SMALL:
        unique = problem.solve().unique
        assert unique == (len(Lattice(problem, TOP).cheapest()) == 1)
        answers.append(unique)
    assert {*answers} == {True, False}


@pytest.mark.parametrize(
    ("parameterization", "corners"),
    [
        (MUP, [(0, -HALF, 0), (HALF, 0, -HALF)]),
        (MEAN_FIELD, [(-1, -3 * HALF, -1), (-HALF, -1, -3 * HALF)]),
    ],
    ids=["mup", "mean-field"],
)
def test_the_two_cells_with_two_corners(parameterization: Parameterization, corners: list[Point]) -> None:
    """SGD without alignment: a larger readout rate enlarges gradients. The smaller sum comes first."""
    solution = solve(parameterization, SGD, NONE)
    found = pareto_corners(solution)
    assert [tuple(corner.values()) for corner in found.corners] == corners
    assert found.complete
    assert solution.unique, "the sum of c decides"
    assert solution.gradient == 1, "gradients keep their initial scale"
    assert pareto_corners(solution, most=2).complete, "what is not efficient does not count"
    second = solve(parameterization, SGD, NONE, prefer=Lexicographic((Role.READOUT,)))
    assert tuple(layer.c for layer in second.layers.values()) == corners[1]
    assert second.gradient == HALF
    assert [tuple(corner.values()) for corner in pareto_corners(second).corners] == corners[::-1], (
        "preferred first"
    )


def test_with_no_hidden_layer_the_two_corners_tie() -> None:
    """With one layer besides the readout their sums are equal: the tie-break keeps the initial gradient."""
    solution = solve(MUP, SGD, NONE, network=chain(0))
    assert [tuple(c.values()) for c in pareto_corners(solution).corners] == [(0, 0), (HALF, -HALF)]
    assert not solution.unique
    assert solution.gradient == 1


@pytest.mark.parametrize("late", ["hidden.1", "hidden.2", "hidden.3", "hidden.4", "readout"])
def test_every_single_trade_is_seen(late: str) -> None:
    """One layer alone gains if the one before it slows down: whichever it is, another optimum exists."""
    network = chain(4)
    early = replace(NONE, omega=Fraction(0))  # so that a layer can be slow although those before it are not
    one = {
        x.name: replace(early, u=Fraction(1 if x.name == late else HALF)) for x in network.layers if x.inputs
    }
    assert not solve(STANDARD, ADAM, PerLayerAlignment("one late", one), network=network).unique
    assert solve(STANDARD, ADAM, early, network=network).unique


def test_the_other_cells_have_one_corner() -> None:
    cells = {
        (row.parameterization.name, row.optimizer.name, row.alignment.name): row for row in exponent_table()
    }
    several = {
        cell
        for cell, row in cells.items()
        if len(pareto_corners(solve(row.parameterization, row.optimizer, row.alignment)).corners) > 1
    }
    assert len(cells) == 24
    assert several == {("mup", "sgd", "none"), ("mean-field", "sgd", "none")}


def test_the_walk_stops_at_its_cap() -> None:
    solution = solve(STANDARD, ADAM, LATE, network=chain(3))
    every = pareto_corners(solution)
    assert every.complete
    assert len(every.corners) == 5, "any one of the five layers is slow, or none has to be"
    for most in (1, 2, 4):
        some = pareto_corners(solution, most=most)
        assert not some.complete
        assert len(some.corners) <= most
    with pytest.raises(ValueError, match="at most 0 corners: the cap must be at least 1"):
        pareto_corners(solution, most=0)


# Preferences


def rates(
    parameterization: Parameterization, optimizer: OptimizerRule, alignment: Alignment, *order: Role
) -> Point:
    found = solve(parameterization, optimizer, alignment, prefer=Lexicographic(order))
    return tuple(found.rate(name) for name in ("embedding", "hidden", "readout"))


def test_lexicographic_order_decides_who_gains() -> None:
    """u = 1 over alpha = 1/2: an embedding at n^(-1/2) gives one of the later layers half a power, not both."""
    assert rates(STANDARD, ADAM, LATE, Role.EMBEDDING, Role.HIDDEN) == (0, 1, 1)
    assert rates(STANDARD, ADAM, LATE, Role.HIDDEN, Role.READOUT) == (HALF, HALF, 1)
    assert rates(STANDARD, ADAM, LATE, Role.READOUT) == (HALF, 1, HALF)
    assert rates(STANDARD, ADAM, LATE, Role.EMBEDDING) == (0, 1, 1)


def test_a_lexicographic_order_of_no_or_repeated_roles_is_refused() -> None:
    with pytest.raises(ValueError, match="needs at least one role"):
        Lexicographic(())
    with pytest.raises(
        ValueError, match="names a role twice: readout, hidden, readout; each role has one place"
    ):
        Lexicographic((Role.READOUT, Role.HIDDEN, Role.READOUT))


@pytest.mark.parametrize("role", [Role.HIDDEN, Role.VECTOR])
def test_a_preferred_role_that_the_network_lacks_is_refused(role: Role) -> None:
    with pytest.raises(ValueError, match=f"names the role '{role}', of which the network has no layer"):
        solve(STANDARD, ADAM, FULL, network=chain(0), prefer=Lexicographic((role,)))


def test_a_preference_without_an_optimum_is_refused() -> None:
    """Under controlled logits the readout's rate may grow for ever, if gradients may: nobody else counts before it."""
    first = Lexicographic((Role.READOUT, Role.HIDDEN))
    with pytest.raises(ValueError, match=r"its sum number 1 falls without bound.*or name the readout last"):
        solve(STANDARD, SGD, FULL, logits=Logits.CONTROLLED, prefer=first)
    last = Lexicographic((Role.HIDDEN, Role.EMBEDDING, Role.READOUT))
    assert solve(STANDARD, SGD, FULL, logits=Logits.CONTROLLED, prefer=last).rate("readout") == HALF


@pytest.mark.parametrize("optimizer", [SGD, ADAM, ADAFACTOR], ids=lambda rule: rule.name)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS.values(), ids=lambda p: p.name)
def test_pareto_over_full_gives_up_no_rate(
    parameterization: Parameterization, optimizer: OptimizerRule
) -> None:
    """Alignment below full: no layer's rate falls below the one for full alignment, and some rate grows."""
    network = chain(3)
    weak = Alignment("weak", alpha=HALF, omega=HALF, u=Fraction(9, 10))
    full = solve(parameterization, optimizer, FULL, network=network)
    kept = solve(parameterization, optimizer, weak, network=network, prefer=PARETO_OVER_FULL)
    assert all(kept.rate(name) <= full.rate(name) for name in kept.layers)
    assert kept.total < full.total


def test_pareto_over_full_excludes_a_trade() -> None:
    """SGD without alignment: the readout first would raise muP's c of the embedding from 0 to 1/2; full gives 0."""
    greedy = solve(MUP, SGD, NONE, prefer=Lexicographic((Role.READOUT,)))
    assert greedy.rate("embedding") == HALF > solve(MUP, SGD, FULL).rate("embedding")
    kept = solve(MUP, SGD, NONE, prefer=PARETO_OVER_FULL)
    assert [layer.c for layer in kept.layers.values()] == [0, -HALF, 0]


def test_pareto_over_full_excludes_the_totals_trade() -> None:
    """Two readouts with u = 1 gain what one embedding loses: the total takes that, Pareto does not."""
    network = Network(
        (
            Layer("embedding", Role.EMBEDDING),
            Layer("one", Role.READOUT, ("embedding",)),
            Layer("two", Role.READOUT, ("embedding",)),
        )
    )
    free, kept, full = (
        solve(STANDARD, ADAM, alignment, network=network, prefer=prefer)
        for alignment, prefer in ((LATE, SMALLEST_TOTAL), (LATE, PARETO_OVER_FULL), (FULL, SMALLEST_TOTAL))
    )
    assert [layer.c for layer in free.layers.values()] == [HALF, HALF, HALF]
    assert [layer.c for layer in kept.layers.values()] == [0, 1, 1]
    assert [layer.c for layer in full.layers.values()] == [0, 1, 1]
    assert (
        kept.why("embedding")
        == "embedding rate limited by its own update, which must not outgrow the features"
    )
