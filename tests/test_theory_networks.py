"""Networks: what is refused, and the solver against an exhaustive search on small directed graphs."""

import random
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest

from exact_networks import Lattice
from theory_problems import Problem, random_parameterization
from widthwise.theory import (
    ADAM,
    FULL,
    MUP,
    NONE,
    OPTIMIZER_RULES,
    SGD,
    SMALLEST_TOTAL,
    STANDARD,
    Alignment,
    AnyAlignment,
    InfeasibleError,
    Join,
    Layer,
    Lexicographic,
    Logits,
    Network,
    PerLayerAlignment,
    Role,
    UncertifiedError,
    chain,
    solve,
)

EMBEDDING, HIDDEN, READOUT = Role.EMBEDDING, Role.HIDDEN, Role.READOUT
UNIT, TOP, MOST_TRAINED = 4, 12, 4
PROBLEMS = 480


def random_network(rng: random.Random) -> tuple[Network, frozenset[str]]:
    """One or two embeddings, up to two hidden layers and two joins, one or two readouts, some frozen; its products."""
    while True:
        nodes: list[Layer | Join] = [Layer(f"embedding.{k}", EMBEDDING) for k in range(rng.randint(1, 2))]
        for k in range(rng.randint(1, 4)):
            names = [node.name for node in nodes]
            if len(names) > 1 and rng.random() < 0.5:
                nodes.append(Join(f"join.{k}", tuple(rng.sample(names, 2))))
            else:
                nodes.append(
                    Layer(f"hidden.{k}", HIDDEN, tuple(rng.sample(names, rng.randint(1, min(2, len(names))))))
                )
        read = {name for node in nodes for name in node.inputs}
        unread = [node.name for node in nodes if node.name not in read]
        names = [node.name for node in nodes]
        nodes.append(Layer("readout.0", READOUT, tuple(unread)))
        if rng.random() < 0.4:
            nodes.append(Layer("readout.1", READOUT, (rng.choice(names),)))
        freezing = rng.choice([0, 0, 0.4])
        nodes = [
            replace(node, frozen=rng.random() < freezing) if isinstance(node, Layer) else node
            for node in nodes
        ]
        trained = [node for node in nodes if isinstance(node, Layer) and not node.frozen]
        if 1 <= len(trained) <= MOST_TRAINED:
            joins = [node.name for node in nodes if isinstance(node, Join)]
            rng.shuffle(nodes)  # the order in which nodes are given must not matter
            return Network(tuple(nodes)), frozenset(name for name in joins if rng.random() < 0.5)


def random_alignment(rng: random.Random, network: Network) -> AnyAlignment:
    def one(name: str) -> Alignment:
        alpha, u = (Fraction(rng.randint(0, 5), UNIT) for _ in range(2))
        return Alignment(name, alpha=alpha, omega=Fraction(rng.choice([1, 2, 2, 2, 3]), UNIT), u=u)

    return PerLayerAlignment("random", {x.name: one(x.name) for x in network.layers if x.inputs})


def random_lattice(seed: int) -> Lattice:
    rng = random.Random(f"a network, number {seed}")
    network, products = random_network(rng)
    problem = Problem(
        unit=UNIT,
        parameterization=random_parameterization(rng, UNIT),
        optimizer=rng.choice([SGD, *OPTIMIZER_RULES.values()]),
        alignment=random_alignment(rng, network),
        network=network,
        prefer=rng.choice([SMALLEST_TOTAL, SMALLEST_TOTAL, Lexicographic((READOUT,))]),
        slack=Fraction(rng.randint(0, 3), UNIT) if rng.random() < 0.2 else None,
    )
    return Lattice(problem, TOP, products)


def check(seed: int) -> str:
    lattice = random_lattice(seed)
    problem = lattice.problem
    found = lattice.best()
    if found is None:
        with pytest.raises(InfeasibleError):
            problem.solve()
        return "infeasible"
    sums, _, points = found
    solution = problem.solve()
    scaled = [problem.units(solution.rate(layer.name)) for layer in lattice.trained]
    rates = {layer.name: rate for layer, rate in zip(lattice.trained, scaled, strict=True)}
    names = [layer.name for layer in problem.network.layers]
    assert tuple(sum(rates.get(names[k], 0) for k in group) for group in problem.groups()) == sums
    assert scaled in points.tolist(), "stable, and with the least slack"
    (index,) = (lattice.c == scaled).all(axis=1).nonzero()[0]
    for layer in problem.network.layers:
        r = solution[layer.name].r
        assert lattice.r[layer.name][index] == (10**6 if r is None else problem.units(r))
    return solution.certificate.source


@pytest.mark.parametrize("batch", range(12))
def test_random_networks(batch: int) -> None:
    size = PROBLEMS // 12
    ended = Counter(check(seed) for seed in range(batch * size, (batch + 1) * size))
    assert {"the closed form", "HiGHS"} <= set(ended)


def test_the_sample_holds_what_it_should() -> None:
    lattices = [random_lattice(seed) for seed in range(PROBLEMS)]
    networks = [lattice.problem.network for lattice in lattices]
    assert sum(bool(lattice.products) for lattice in lattices) > 30
    assert sum(len(n.layers) < len(n.nodes) for n in networks) > 80
    assert sum(sum(x.role is READOUT for x in n.layers) > 1 for n in networks) > 50
    assert sum(any(x.frozen for x in n.layers) for n in networks) > 50
    assert sum(any(len(x.inputs) > 1 for x in n.layers) for n in networks) > 80


# What is refused


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ((), "the network is empty: it needs at least an embedding and a readout"),
        ((Join("sum", ("sum",)),), "the network is empty"),
        ((Layer("e", EMBEDDING), Layer("e", EMBEDDING)), "more than one node called 'e'"),
        ((Layer("e", EMBEDDING), Layer("r", READOUT, ("x",))), "'r' reads 'x', which is not in the network"),
        (
            (Layer("e", EMBEDDING, ("e",)),),
            "the embedding 'e' reads \\['e'\\]: an embedding reads data alone",
        ),
        ((Layer("e", EMBEDDING), Layer("h", HIDDEN)), "the hidden 'h' reads nothing: name its inputs"),
        ((Layer("r", READOUT),), "the readout 'r' reads nothing"),
        ((Layer("v", Role.VECTOR),), "the vector 'v' reads nothing"),
        ((Layer("e", EMBEDDING), Join("sum", ())), "the join 'sum' has no inputs"),
        ((Layer("f", Role.FIXED),), "'f': a fixed tensor has no place in the width limit; leave it out"),
        (
            (Layer("e", EMBEDDING), Layer("r", READOUT, ("e",)), Layer("h", HIDDEN, ("r",))),
            "'h' reads the readout 'r': its output does not grow",
        ),
        (
            (Layer("e", EMBEDDING), Layer("h", HIDDEN, ("e",)), Layer("r", READOUT, ("e",))),
            "no readout reads from 'h', directly or not: it gets no gradient; remove it",
        ),
        (
            (
                Layer("e", EMBEDDING),
                Layer("x", HIDDEN, ("e", "y")),
                Layer("y", HIDDEN, ("x",)),
                Layer("r", READOUT, ("y",)),
            ),
            "the network has a cycle: .*x -> .*; unroll it",
        ),
    ],
)
def test_a_network_that_is_none_is_refused(nodes: tuple[Layer | Join, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Network(nodes)


def test_a_chain_of_fewer_than_no_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="a chain of -1 hidden layers does not exist"):
        chain(-1)


def test_readouts_of_each_node() -> None:
    network = Network(
        (
            Layer("main", READOUT, ("late",)),
            Layer("early", HIDDEN, ("embedding",)),
            Layer("embedding", EMBEDDING),
            Layer("auxiliary", READOUT, ("early",)),
            Layer("late", HIDDEN, ("early",)),
        )
    )
    both = {"main", "auxiliary"}
    expected = {
        "embedding": both,
        "early": both,
        "late": {"main"},
        "main": {"main"},
        "auxiliary": {"auxiliary"},
    }
    assert network.readouts_of == expected


# Worked by hand


def test_a_residual_stream_changes_as_its_largest_part() -> None:
    """omega = 3/4 in `up`: what passes through it is amplified, what passes around it is not; both need r = 1/4."""
    residual = Network(
        (
            Layer("embedding", EMBEDDING),
            Layer("up", HIDDEN, ("embedding",)),
            Join("stream", ("embedding", "up")),
            Layer("readout", READOUT, ("stream",)),
        )
    )
    full = solve(STANDARD, ADAM, FULL, network=residual)
    assert [str(x.c) for x in full.layers.values()] == ["0", "1", "1"]
    amplified = replace(FULL, omega=Fraction(3, 4))
    layers = PerLayerAlignment("amplified", {"up": amplified, "readout": FULL})
    found = solve(STANDARD, ADAM, layers, network=residual)
    assert [str(x.c) for x in found.layers.values()] == ["1/4", "1", "1"]
    assert [str(x.r) for x in found.layers.values()] == ["1/4", "0", "0"]


def test_controlled_logits_leave_the_readout_free() -> None:
    assert solve(STANDARD, ADAM, FULL, logits=Logits.CONTROLLED)["readout"].unconstrained


def test_each_readout_sends_gradients_back_to_what_it_reads() -> None:
    """SGD, readouts first: the main one's larger rate enlarges gradients to n^(-1/2), but not those of `side`."""
    network = Network(
        (
            Layer("embedding", EMBEDDING),
            Layer("trunk", HIDDEN, ("embedding",)),
            Layer("side", HIDDEN, ("embedding",)),
            Layer("main", READOUT, ("trunk",)),
            Layer("auxiliary", READOUT, ("side",)),
        )
    )
    names = ("trunk", "side", "main", "auxiliary")
    alignment = PerLayerAlignment("mixed", {**dict.fromkeys(names, NONE), "auxiliary": FULL})
    found = solve(MUP, SGD, alignment, network=network, prefer=Lexicographic((READOUT,)))
    # c = alpha - 2 a - G with G = 1/2 (embedding, trunk) and 1 (side); readouts: alpha - 2 a.
    assert [str(x.c) for x in found.layers.values()] == ["1/2", "0", "-1/2", "-1/2", "0"]
    assert found.gradient == Fraction(1, 2), "over all readouts"


@pytest.mark.parametrize("slack", [0, 1])
def test_a_frozen_layer_cannot_promise_what_it_does_not_keep(slack: int) -> None:
    """omega = 1/4 in a frozen layer: its output changes by n^(-1/4) less than its input, whoever asks otherwise."""
    layers = (replace(x, frozen=x.name == "hidden.1") for x in chain(2).layers)
    network = Network(tuple(layers))
    quarter = Fraction(1, 4)
    damped = PerLayerAlignment(
        "damped", {"hidden.1": replace(FULL, omega=quarter), "hidden.2": FULL, "readout": FULL}
    )
    if slack:
        assert solve(STANDARD, ADAM, damped, network=network, slack=quarter)["hidden.1"].r == quarter
        return
    with pytest.raises(InfeasibleError, match=r"the bound on slack: .* loosened by 1/4$"):
        solve(STANDARD, ADAM, damped, network=network, slack=Fraction(0))


def test_a_damping_frozen_layer_limits_what_its_input_may_give_up() -> None:
    """Readout first with u = 1: it wants slow features, but the embedding must leave 1/4 of the slack to hidden.1."""
    network = Network(tuple(replace(x, frozen=x.name == "hidden.1") for x in chain(1).layers))
    quarter, half = Fraction(1, 4), Fraction(1, 2)
    late = replace(NONE, u=Fraction(1))
    damped = PerLayerAlignment("damped", {"hidden.1": replace(FULL, omega=quarter), "readout": late})
    for bound, embedding, readout in ((quarter, 0, 3 * quarter), (half, quarter, half)):
        found = solve(
            STANDARD, ADAM, damped, network=network, slack=bound, prefer=Lexicographic((Role.READOUT,))
        )
        assert found.rate("embedding") == embedding
        assert found.rate("readout") == readout
        assert found["hidden.1"].r == bound


def test_a_bound_on_a_frozen_layer_with_two_inputs_may_be_refused() -> None:
    """Readouts first want both embeddings slow; the frozen layer's bound of 1/4 is kept only if they are not.

    Of several inputs the smallest r counts, which no linear program says: rates exist, and none are returned.
    """
    network = Network(
        (
            Layer("one", EMBEDDING),
            Layer("two", EMBEDDING),
            Layer("frozen", HIDDEN, ("one", "two"), frozen=True),
            Layer("main", READOUT, ("one", "two")),
            Layer("auxiliary", READOUT, ("frozen",), frozen=True),
        )
    )
    quarter = Fraction(1, 4)
    late, damped = replace(NONE, u=Fraction(1)), replace(NONE, omega=quarter)
    alignment = PerLayerAlignment("mixed", {"frozen": damped, "main": late, "auxiliary": NONE})
    problem = Problem(4, STANDARD, ADAM, alignment, network, prefer=Lexicographic((READOUT,)), slack=quarter)
    best = Lattice(problem, TOP).best()
    assert best is not None, "rates exist"
    assert best[2].tolist() == [[0, 0, 4]]
    with pytest.raises(UncertifiedError, match=r"'frozen' gives up .*, more than the bound 1/4"):
        problem.solve()
