"""The 72 exponents against the table kept as data, and presets against an exhaustive search of the conditions."""

import json
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest

from theory_search import (
    LARGEST,
    UNIT,
    Case,
    fractions,
    is_maximal,
    is_stable,
    largest_rates,
    units,
)
from widthwise.theory import (
    ADAM,
    ALIGNMENTS,
    FULL,
    MATRIX_ROLES,
    MEAN_FIELD,
    MID,
    MUON,
    MUP,
    NONE,
    OPTIMIZER_RULES,
    PAPER_OPTIMIZERS,
    PARAMETERIZATIONS,
    SGD,
    STANDARD,
    Alignment,
    InitExponents,
    OptimizerRule,
    Parameterization,
    Role,
    RoleExponents,
    exponent_table,
    gradient_exponent,
    largest_stable_rate,
    role_exponents,
)

TABLE = json.loads((Path(__file__).parent / "data" / "exponents_everett2024.json").read_text())["cells"]
CASES = list(product(PARAMETERIZATIONS.values(), PAPER_OPTIMIZERS, (FULL, NONE)))
"""The 24 networks of the table."""
MORE = [
    *product(PARAMETERIZATIONS.values(), PAPER_OPTIMIZERS, (MID,)),
    *product(PARAMETERIZATIONS.values(), (MUON,), ALIGNMENTS.values()),
]
"""Presets beyond the table, of which no published value is kept: the search alone speaks for them."""
HALF = Fraction(1, 2)


def named(values: tuple[Parameterization, OptimizerRule, Alignment]) -> str:
    return " ".join(value.name for value in values)


def case(
    parameterization: Parameterization, optimizer: OptimizerRule, alignment: Alignment, hidden: int
) -> Case:
    roles = [Role.EMBEDDING, *[Role.HIDDEN] * hidden, Role.READOUT]
    return Case(
        a=tuple(units(parameterization[role].a) for role in roles),
        b=tuple(units(parameterization[role].b) for role in roles),
        optimizer=optimizer.name,
        alpha=units(alignment.alpha),
        omega=units(alignment.omega),
        u=units(alignment.u),
    )


def solved(
    parameterization: Parameterization, optimizer: OptimizerRule, alignment: Alignment
) -> tuple[Fraction, Fraction, Fraction]:
    embedding, hidden, readout = (
        largest_stable_rate(parameterization, optimizer, alignment, role) for role in MATRIX_ROLES
    )
    return embedding, hidden, readout


def cell(row: dict[str, str]) -> tuple[str, str, str, str]:
    return row["parameterization"], row["optimizer"], row["alignment"], row["role"]


# The published table


def test_table_holds_every_cell_once() -> None:
    expected = set(
        product(
            PARAMETERIZATIONS,
            [rule.name for rule in PAPER_OPTIMIZERS],
            [FULL.name, NONE.name],
            ["embedding", "hidden", "readout"],
        )
    )
    assert {cell(row) for row in TABLE} == expected
    assert len(TABLE) == len(expected) == 72


@pytest.mark.parametrize("row", TABLE, ids=lambda row: " ".join(cell(row)))
def test_exponents_equal_the_table(row: dict[str, str]) -> None:
    found = role_exponents(
        PARAMETERIZATIONS[row["parameterization"]],
        OPTIMIZER_RULES[row["optimizer"]],
        ALIGNMENTS[row["alignment"]],
        Role(row["role"]),
    )
    assert found == RoleExponents(**{letter: Fraction(row[letter]) for letter in "abcg"})


def test_exponent_table_is_the_same_table() -> None:
    found = {
        (row.parameterization.name, row.optimizer.name, row.alignment.name, str(row.role)): row.exponents
        for row in exponent_table()
    }
    assert len(exponent_table()) == 72
    assert found == {cell(row): RoleExponents(**{x: Fraction(row[x]) for x in "abcg"}) for row in TABLE}


@pytest.mark.parametrize(
    ("name", "scales_as"),
    [("adam-atan2", "adam"), ("rmsprop", "adam"), ("lion", "adam"), ("adam-ps", "adafactor")],
)
def test_optimizers_of_one_scale_share_their_rates(name: str, scales_as: str) -> None:
    for parameterization, alignment in product(PARAMETERIZATIONS.values(), ALIGNMENTS.values()):
        found, expected = (
            solved(parameterization, OPTIMIZER_RULES[rule], alignment) for rule in (name, scales_as)
        )
        assert found == expected


def test_every_exponent_is_exact() -> None:
    exponents = [row.exponents for row in exponent_table()]
    assert {type(value) for e in exponents for value in (e.a, e.b, e.c, e.g)} == {Fraction}


# The exhaustive search


@pytest.mark.parametrize("values", CASES + MORE, ids=named)
def test_the_solver_finds_what_the_search_finds(
    values: tuple[Parameterization, OptimizerRule, Alignment],
) -> None:
    (best,) = largest_rates(case(*values, hidden=1), step=1)
    assert fractions(best) == solved(*values)
    assert max(map(abs, best)) < LARGEST, "the lattice's edge cuts the search off"


@pytest.mark.parametrize("values", CASES, ids=named)
def test_depth_does_not_change_it(values: tuple[Parameterization, OptimizerRule, Alignment]) -> None:
    (best,) = largest_rates(case(*values, hidden=2), step=2)
    embedding, hidden, readout = solved(*values)
    assert fractions(best) == (embedding, hidden, hidden, readout)


@pytest.mark.parametrize(
    ("parameterization", "second"),
    [
        (MUP, (HALF, Fraction(0), -HALF)),
        (MEAN_FIELD, (-HALF, Fraction(-1), Fraction(-3, 2))),
    ],
)
def test_second_corner_of_sgd_without_alignment(
    parameterization: Parameterization, second: tuple[Fraction, ...]
) -> None:
    network = case(parameterization, SGD, NONE, hidden=1)
    ours = solved(parameterization, SGD, NONE)
    assert is_maximal(network, tuple(map(units, second)))
    assert is_maximal(network, tuple(map(units, ours)))
    assert sum(second) - sum(ours) == HALF, "the tie-break by the sum of c decides between the two"


def test_elsewhere_no_second_corner_exists() -> None:
    lattice = range(-LARGEST, LARGEST + 1, 2)
    several = set()
    for values in CASES:
        network = case(*values, hidden=1)
        # On a lattice of step 1/2 a corner is a point from which no rate can be lowered by 1/4.
        corners = [c for c in product(lattice, repeat=3) if is_maximal(network, c)]
        if len(corners) > 1:
            several.add(named(values))
    assert several == {"mup sgd none", "mean-field sgd none"}


def test_mean_field_readout_rate_grows_with_the_width() -> None:
    """Another implementation stores +1/2 here: stable, but a whole power of n below the largest stable rate."""
    network = case(MEAN_FIELD, ADAM, NONE, hidden=1)
    ours, theirs = (units(c) for c in (largest_stable_rate(MEAN_FIELD, ADAM, NONE, Role.READOUT), HALF))
    assert ours == -UNIT // 2
    assert is_stable(network, (0, 0, theirs))
    assert not is_maximal(network, (0, 0, theirs))
    assert is_maximal(network, (0, 0, ours))


# Beyond the table


@pytest.mark.parametrize(
    ("name", "g"), [("standard", HALF), ("ntk", HALF), ("mup", Fraction(1)), ("mean-field", Fraction(1))]
)
@pytest.mark.parametrize("alignment", [FULL, NONE], ids=lambda alignment: alignment.name)
def test_vectors_keep_their_scale(name: str, g: Fraction, alignment: Alignment) -> None:
    zero = Fraction(0)
    rates = {"sgd": -g, "adam": zero, "adafactor": zero}
    for optimizer, c in rates.items():
        found = role_exponents(PARAMETERIZATIONS[name], OPTIMIZER_RULES[optimizer], alignment, Role.VECTOR)
        assert found == RoleExponents(a=zero, b=zero, c=c, g=g)


@pytest.mark.parametrize(
    ("alpha", "u"),
    [
        (Fraction(3, 4), Fraction(1, 2)),
        (Fraction(1, 2), Fraction(3, 4)),
        (Fraction(3, 4), Fraction(1)),
        (Fraction(1), Fraction(1, 2)),
        (Fraction(1, 4), Fraction(1, 4)),
    ],
)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS.values(), ids=lambda p: p.name)
def test_measured_alignments_leave_no_rate_to_gain(
    parameterization: Parameterization, alpha: Fraction, u: Fraction
) -> None:
    """No rate can grow. Such points are many where slower features or larger gradients buy rate; this is one."""
    measured = Alignment("measured", alpha=alpha, omega=HALF, u=u)
    for optimizer in (*PAPER_OPTIMIZERS, MUON):
        network = case(parameterization, optimizer, measured, hidden=1)
        assert is_maximal(network, tuple(map(units, solved(parameterization, optimizer, measured))))


def test_named_alignments_are_the_papers() -> None:
    """Full: update and activations aligned, initial weights not. None: independent, all square roots."""
    assert (FULL.alpha, FULL.omega, FULL.u) == (1, HALF, 1)
    assert (NONE.alpha, NONE.omega, NONE.u) == (HALF, HALF, HALF)


def test_gradient_exponent_ignores_the_optimizer() -> None:
    found = [gradient_exponent(STANDARD, role) for role in Role]
    assert found == [HALF, HALF, Fraction(0), HALF, Fraction(0)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"embedding": InitExponents(HALF, Fraction(0))},
            "'custom' is not stable at initialization: embedding a \\+ b = 1/2, must be 0$",
        ),
        ({"hidden": InitExponents(Fraction(0), Fraction(0))}, "hidden a \\+ b = 0, must be 1/2$"),
        ({"hidden": InitExponents(HALF, HALF)}, "hidden a \\+ b = 1, must be 1/2"),
        ({"readout": InitExponents(Fraction(0), Fraction(0))}, "readout a \\+ b = 0, must be at least 1/2$"),
    ],
)
def test_an_unstable_initialization_is_refused(change: dict[str, InitExponents], message: str) -> None:
    layers = {"embedding": STANDARD.embedding, "hidden": STANDARD.hidden, "readout": STANDARD.readout}
    with pytest.raises(ValueError, match=message):
        Parameterization("custom", **(layers | change))
