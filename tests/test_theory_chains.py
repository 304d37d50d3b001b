"""The solver against the exact method for chains: 2,000 random problems, and the exact method against itself."""

import random
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest

from exact_rates import Chain, best, forward, is_stable
from theory_problems import Problem, random_problem
from widthwise.theory import (
    ADAFACTOR,
    ADAM,
    FULL,
    PARETO_OVER_FULL,
    SMALLEST_TOTAL,
    STANDARD,
    Alignment,
    InfeasibleError,
    Logits,
    Network,
    Role,
    Solution,
    chain,
    solve,
)

BATCHES, BATCH = 20, 100


def problem(seed: int) -> Problem:
    return random_problem(random.Random(f"a chain, number {seed}"))


def as_chain(asked: Problem) -> Chain:
    """The exact method's view; for the Pareto preference, with the rates for full alignment as a ceiling."""
    if asked.prefer is not PARETO_OVER_FULL:
        return asked.chain()
    return asked.chain(ceiling=replace(asked, alignment=FULL, prefer=SMALLEST_TOTAL, slack=None).solve())


def rates(asked: Problem, solution: Solution) -> list[Fraction | None]:
    """c of every layer in units of the problem's lattice."""
    found = (solution[layer.name].c for layer in asked.network.layers)
    return [None if c is None else c * asked.unit for c in found]


def check(asked: Problem) -> str:
    """Everything that the exact method knows about a problem, asserted of the solver; how the problem ended."""
    lattice = as_chain(asked)
    expected = best(lattice)
    if expected is None:
        with pytest.raises(InfeasibleError):
            asked.solve()
        return "infeasible"
    solution = asked.solve()
    c = rates(asked, solution)
    assert tuple(sum(c[k] or 0 for k in group) for group in lattice.groups) == expected.sums
    assert is_stable(lattice, c)
    r, gradient = forward(lattice, c)
    assert sum(x or 0 for x in r[: lattice.readout]) == expected.slack, "the tie-break"
    assert expected.gradient is None or gradient == expected.gradient, "the second tie-break"
    assert solution.gradient * asked.unit == gradient
    found = [solution[layer.name].r for layer in asked.network.layers]
    assert [None if x is None else x * asked.unit for x in found[:-1]] == r[:-1]
    if lattice.limits_readout and not lattice.controlled:
        assert found[-1] is not None
        assert found[-1] * asked.unit == r[-1]
    assert solution.total * asked.unit == sum(x or 0 for x in c)
    for layer, rate in enumerate(c):  # no rate can grow with the others as they are
        if rate is not None:
            assert not is_stable(lattice, [*c[:layer], rate - 1, *c[layer + 1 :]])
    assert solution.certificate.check() is solution.certificate
    return solution.certificate.source


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_chains(batch: int) -> None:
    ended = Counter(check(problem(seed)) for seed in range(batch * BATCH, (batch + 1) * BATCH))
    # A batch in which one of these never happens would test less than it says.
    assert set(ended) == {"infeasible", "the closed form", "HiGHS"}


def test_the_sample_holds_what_it_should() -> None:
    sample = [problem(seed) for seed in range(BATCHES * BATCH)]
    assert len(sample) == 2000
    assert {asked.optimizer.name for asked in sample} >= {"sgd", "adam", "adafactor", "muon"}
    assert {len(asked.network.layers) for asked in sample} == {2, 3, 4, 5, 6, 7}
    assert min(Counter(type(asked.prefer).__name__ for asked in sample).values()) > 50
    assert sum(asked.logits is Logits.CONTROLLED for asked in sample) > 200
    assert sum(asked.slack is not None for asked in sample) > 200
    assert sum(any(layer.frozen for layer in asked.network.layers) for asked in sample) > 200


def refined(lattice: Chain, times: int) -> Chain:
    """The same problem on a finer lattice."""
    longer = {
        field: tuple(times * x for x in getattr(lattice, field))
        for field in ("a", "b", "alpha", "omega", "u")
    }
    ceiling = tuple(None if c is None else times * c for c in lattice.ceiling)
    slack = None if lattice.slack is None else times * lattice.slack
    return replace(lattice, unit=times * lattice.unit, slack=slack, ceiling=ceiling, **longer)


@pytest.mark.parametrize("times", [2, 3])
def test_a_finer_lattice_finds_nothing_better(times: int) -> None:
    for seed in range(100):
        lattice = as_chain(problem(seed))
        coarse, fine = best(lattice), best(refined(lattice, times))
        assert (coarse is None) == (fine is None)
        if coarse is not None and fine is not None:
            assert fine.sums == tuple(times * x for x in coarse.sums)
            assert fine.slack == times * coarse.slack


def test_the_exact_method_by_hand() -> None:
    """Standard, Adam, full alignment: 0, 1, 1; with omega = 3/4 at the readout, features must give up 1/4."""
    plain = Chain(
        unit=4,
        optimizer="adam",
        a=(0, 0, 0),
        b=(0, 2, 2),
        alpha=(0, 4, 4),
        omega=(0, 2, 2),
        u=(0, 4, 4),
        frozen=(False, False, False),
    )
    found = best(plain)
    assert found is not None
    assert (found.sums, found.slack) == ((8,), 0)
    assert is_stable(plain, [Fraction(0), Fraction(4), Fraction(4)])
    assert not is_stable(plain, [Fraction(0), Fraction(3), Fraction(4)])
    amplified = replace(plain, omega=(0, 2, 3))
    found = best(amplified)
    assert found is not None
    assert (found.sums, found.slack) == ((10,), 2), (
        "embedding and hidden give up 1/4 each, and 1/4 is paid twice"
    )
    assert best(replace(amplified, slack=1)) is not None
    assert best(replace(amplified, slack=0)) is None


# Bounds on slack


def least_bound(asked: Problem) -> Fraction:
    """The least bound on slack that the exact method can keep."""
    lattice = replace(as_chain(asked), slack=None)
    found = next(k for k in range(20 * asked.unit) if best(replace(lattice, slack=k)) is not None)
    return Fraction(found, asked.unit)


def test_the_bound_on_slack_is_sharp_and_its_miss_is_told() -> None:
    """Where later layers amplify, earlier ones must give up slack; the error says how much a bound lacks."""
    checked = 0
    for seed in range(150):
        asked = replace(problem(seed), prefer=SMALLEST_TOTAL)
        if asked.optimizer.parameter_power or any(layer.frozen for layer in asked.network.layers):
            continue
        least = least_bound(asked)
        if not least:
            continue
        solution = replace(asked, slack=least).solve()
        r = [layer.r for layer in solution.layers.values() if layer.role is not Role.READOUT]
        assert max(x for x in r if x is not None) == least
        too_little = least - Fraction(1, asked.unit)
        with pytest.raises(InfeasibleError, match=f"the bound on slack: .* loosened by 1/{asked.unit}$"):
            replace(asked, slack=too_little).solve()
        checked += 1
    assert checked > 25


def test_frozen_features_have_no_slack_to_bound() -> None:
    """A frozen embedding under a frozen hidden layer: no change at all, r infinite."""
    frozen = {"embedding": True, "hidden.1": True}
    network = Network(tuple(replace(x, frozen=frozen.get(x.name, False)) for x in chain(2).layers))
    assert solve(STANDARD, ADAM, FULL, network=network)["hidden.1"].r is None
    with pytest.raises(
        InfeasibleError, match=r"'embedding' is frozen and reads nothing that changes.*no slack of 3 "
    ):
        solve(STANDARD, ADAM, FULL, network=network, slack=Fraction(3))


def test_slack_that_small_alignment_forces_is_called_infeasible() -> None:
    """Adafactor's c >= 0 and alignment below 1/2: the hidden layer cannot change more than n^(-1/4)."""
    quarter = Fraction(1, 4)
    with pytest.raises(InfeasibleError, match="loosened by 1/4"):
        solve(STANDARD, ADAFACTOR, Alignment("weak", quarter, quarter, quarter), slack=Fraction(0))


def test_a_miss_shared_by_many_layers_is_told() -> None:
    strong = Alignment("strong", alpha=Fraction(1), omega=Fraction(1, 2), u=Fraction(13, 12))
    with pytest.raises(InfeasibleError, match=r"falls below its value for full alignment: .* loosened by"):
        solve(STANDARD, ADAM, strong, network=chain(3), prefer=PARETO_OVER_FULL)


def test_a_miss_of_a_single_layer_is_told() -> None:
    strong = Alignment("strong", alpha=Fraction(13, 12), omega=Fraction(1, 2), u=Fraction(1))
    with pytest.raises(
        InfeasibleError, match=r"falls below its value for full alignment: .* loosened by 1/12$"
    ):
        solve(STANDARD, ADAM, strong, prefer=PARETO_OVER_FULL)
