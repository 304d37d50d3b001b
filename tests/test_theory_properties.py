"""What must hold of every problem: gauge invariance, weaker alignment never hurts, depth changes nothing."""

from dataclasses import replace
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test_house_import_weight import loaded_by, tops
from widthwise.theory import (
    ADAFACTOR,
    ADAM,
    ALIGNMENTS,
    FULL,
    MUON,
    MUP,
    OPTIMIZER_RULES,
    PAPER_OPTIMIZERS,
    PARAMETERIZATIONS,
    STANDARD,
    Alignment,
    InfeasibleError,
    InitExponents,
    Logits,
    Network,
    OptimizerRule,
    Parameterization,
    PerLayerAlignment,
    Role,
    Solution,
    UncertifiedError,
    chain,
    exponent_table,
    rate_power,
    solve,
)

HALF = Fraction(1, 2)
FEWER = 50
"""Examples where each one takes two or four solutions through HiGHS."""
optimizers = st.sampled_from(list(OPTIMIZER_RULES.values()))
exponents = st.integers(-12, 12).map(lambda k: Fraction(k, 12))
shares = st.integers(0, 14).map(lambda k: Fraction(k, 12))
"""Alignment exponents in [0, 7/6]."""


@st.composite
def parameterizations(draw: st.DrawFn) -> Parameterization:
    embedding, hidden, readout = draw(exponents), draw(exponents), draw(exponents)
    return Parameterization(
        "drawn",
        embedding=InitExponents(embedding, -embedding),
        hidden=InitExponents(hidden, HALF - hidden),
        readout=InitExponents(readout, HALF - readout + abs(draw(exponents))),
    )


@st.composite
def per_layer(draw: st.DrawFn, network: Network, omega: Fraction | None = None) -> PerLayerAlignment:
    layers = {
        layer.name: Alignment(
            layer.name, alpha=draw(shares), omega=draw(shares) if omega is None else omega, u=draw(shares)
        )
        for layer in network.layers
        if layer.inputs
    }
    return PerLayerAlignment("drawn", layers)


@st.composite
def weaker(draw: st.DrawFn, alignment: PerLayerAlignment, *, keep_omega: bool) -> PerLayerAlignment:
    def less(one: Alignment) -> Alignment:
        alpha, omega, u = (max(Fraction(0), x - draw(shares)) for x in (one.alpha, one.omega, one.u))
        return replace(one, alpha=alpha, omega=one.omega if keep_omega else omega, u=u)

    return PerLayerAlignment("weaker", {name: less(one) for name, one in alignment.layers.items()})


def shift(parameterization: Parameterization, theta: dict[Role, Fraction]) -> Parameterization:
    moved = {role: parameterization[role] for role in theta}
    layers = {r.value: InitExponents(x.a + theta[r], x.b - theta[r]) for r, x in moved.items()}
    return Parameterization("shifted", **layers)


@settings(max_examples=FEWER)
@given(
    st.data(), parameterizations(), optimizers, st.integers(0, 3), st.tuples(exponents, exponents, exponents)
)
def test_gauge_invariance(
    data: st.DataObject,
    parameterization: Parameterization,
    optimizer: OptimizerRule,
    hidden: int,
    thetas: tuple[Fraction, Fraction, Fraction],
) -> None:
    """a + theta, b - theta: every c moves by its power of theta, and no change of any output moves at all."""
    network = chain(hidden)
    alignment = data.draw(per_layer(network))
    theta = dict(zip((Role.EMBEDDING, Role.HIDDEN, Role.READOUT), thetas, strict=True))
    before = solve(parameterization, optimizer, alignment, network=network)
    after = solve(shift(parameterization, theta), optimizer, alignment, network=network)
    moved = {x.name: rate_power(optimizer.at(x.role)) * theta[x.role] for x in network.layers}
    assert before.total - after.total == sum(moved.values())
    assert before.gradient == after.gradient
    assert slack(before) == slack(after)
    assert before.unique == after.unique
    if before.unique:
        for name, layer in before.layers.items():
            assert layer.c is not None
            assert after[name].c == layer.c - moved[name]
            assert after[name].r == layer.r


def slack(solution: Solution) -> Fraction:
    features = (layer.r for layer in solution.layers.values() if layer.role is not Role.READOUT)
    return sum((r for r in features if r is not None), start=Fraction(0))


@settings(max_examples=FEWER)
@given(st.data(), parameterizations(), optimizers, st.integers(0, 4), st.sampled_from(Logits))
def test_weaker_alignment_never_worsens_the_total(
    data: st.DataObject,
    parameterization: Parameterization,
    optimizer: OptimizerRule,
    hidden: int,
    logits: Logits,
) -> None:
    network = chain(hidden)
    strong = data.draw(per_layer(network))
    weak = data.draw(weaker(strong, keep_omega=False))
    totals = [
        solve(parameterization, optimizer, x, network=network, logits=logits).total for x in (weak, strong)
    ]
    assert totals[0] <= totals[1]


@given(st.data(), parameterizations(), st.sampled_from([ADAM, ADAFACTOR, MUON]), st.integers(0, 4))
def test_weaker_alignment_lowers_no_single_rate(
    data: st.DataObject, parameterization: Parameterization, optimizer: OptimizerRule, hidden: int
) -> None:
    """At omega = 1/2 on a chain: where rates trade off, the tie-break keeps every change of size one."""
    network = chain(hidden)
    strong = data.draw(per_layer(network, HALF))
    weak = data.draw(weaker(strong, keep_omega=True))
    found, expected = (solve(parameterization, optimizer, x, network=network) for x in (weak, strong))
    for layer in network.layers:
        assert found.rate(layer.name) <= expected.rate(layer.name)


@given(parameterizations(), optimizers, st.integers(0, 6))
def test_depth_changes_no_layer_under_full_alignment(
    parameterization: Parameterization, optimizer: OptimizerRule, hidden: int
) -> None:
    shallow, deep = (
        solve(parameterization, optimizer, FULL, network=chain(depth)) for depth in (hidden, hidden + 1)
    )
    for name, layer in shallow.layers.items():
        assert deep[name] == layer
    if hidden:
        assert deep.rate(f"hidden.{hidden + 1}") == shallow.rate("hidden.1")


@settings(max_examples=FEWER)
@given(st.data(), parameterizations(), optimizers, st.integers(0, 4))
def test_permission_never_costs(
    data: st.DataObject, parameterization: Parameterization, optimizer: OptimizerRule, hidden: int
) -> None:
    """Free logits are at least as good as bounded ones, free slack as bounded slack."""
    network = chain(hidden)
    alignment = data.draw(per_layer(network))
    bounded = solve(parameterization, optimizer, alignment, network=network)
    if optimizer.gradient_power or optimizer.parameter_power:  # elsewhere the readout drops out of the sum
        free = solve(parameterization, optimizer, alignment, network=network, logits=Logits.CONTROLLED)
        assert free.total <= bounded.total
    try:
        tight = solve(parameterization, optimizer, alignment, network=network, slack=data.draw(shares))
    except (InfeasibleError, UncertifiedError):
        return
    assert tight.total >= bounded.total


# omega above 1/2


@pytest.mark.parametrize("reading", [4, 12, 50])
def test_omega_above_one_half_compounds(reading: int) -> None:
    """Every layer amplifies by n^(1/20), so the embedding has to pay for all that read it, and layer l for the rest."""
    network = chain(reading - 1)
    measured = replace(FULL, omega=Fraction(55, 100))
    solution = solve(STANDARD, ADAM, measured, network=network)
    assert solution.rate("embedding") == Fraction(reading, 20)
    assert solution["hidden.1"].r == Fraction(reading - 1, 20)
    assert solution["readout"].r == 0
    assert solution.certificate.source == "the closed form"
    bound = Fraction(1, 10)
    with pytest.raises(
        InfeasibleError, match=f"the bound on slack: .* loosened by {Fraction(reading, 20) - bound}$"
    ):
        solve(STANDARD, ADAM, measured, network=network, slack=bound)


@pytest.mark.parametrize("optimizer", [ADAM, ADAFACTOR], ids=lambda rule: rule.name)
def test_the_original_derivation_of_mup_needs_its_readout(optimizer: OptimizerRule) -> None:
    """omega = 1 at the readout: muP's a + b = 1 keeps its rates; the standard one's 1/2 costs half a power."""
    aligned = PerLayerAlignment("omega = 1", {"hidden": FULL, "readout": replace(FULL, omega=Fraction(1))})
    mup = [solve(MUP, optimizer, x) for x in (aligned, FULL)]
    assert [x.c for x in mup[0].layers.values()] == [x.c for x in mup[1].layers.values()]
    assert solve(STANDARD, optimizer, aligned)["hidden"].r == HALF
    assert solve(STANDARD, optimizer, FULL)["hidden"].r == 0


# Presets


@pytest.mark.parametrize("optimizer", OPTIMIZER_RULES.values(), ids=lambda rule: rule.name)
def test_presets_are_proven_from_the_closed_form(optimizer: OptimizerRule) -> None:
    for parameterization, alignment in product(PARAMETERIZATIONS.values(), ALIGNMENTS.values()):
        for depth in (0, 1, 2, 12):
            solution = solve(parameterization, optimizer, alignment, network=chain(depth))
            assert solution.certificate.source == "the closed form"


@pytest.mark.parametrize("omega", [Fraction(1, 4), HALF])
@pytest.mark.parametrize("optimizer", PAPER_OPTIMIZERS, ids=lambda rule: rule.name)
def test_so_are_updates_that_meet_changes_more_than_activations(
    optimizer: OptimizerRule, omega: Fraction
) -> None:
    """u > alpha: the price of one layer's rate is passed back, layer by layer, to one that covers it."""
    late = Alignment("late", alpha=HALF, omega=omega, u=Fraction(1))
    for depth in (0, 1, 4):
        assert solve(STANDARD, optimizer, late, network=chain(depth)).certificate.source == "the closed form"


def test_presets_need_no_scipy() -> None:
    presets = (
        "for a in T.ALIGNMENTS.values(): [T.solve(p, o, a) for p in P for o in T.OPTIMIZER_RULES.values()]"
    )
    code = f"import widthwise.theory as T; P = list(T.PARAMETERIZATIONS.values())\n{presets}"
    loaded = loaded_by("-c", code)
    assert "widthwise.theory.solver" in loaded
    assert not tops(loaded) & {"scipy", "numpy", "torch"}


def test_what_presets_need_scipy_for_would_be_seen() -> None:
    code = "from widthwise.theory import *; solve(MUP, SGD, NONE, prefer=Lexicographic((Role.READOUT,)))"
    assert "scipy" in tops(loaded_by("-c", code))


def test_the_table_is_the_solvers() -> None:
    for row in exponent_table():
        assert (
            solve(row.parameterization, row.optimizer, row.alignment).rate(row.role.value) == row.exponents.c
        )
