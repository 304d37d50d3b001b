"""From cells to trials to populations."""

import itertools

import pytest

from study_example import DIGEST, tiny_plan, tiny_source
from widthwise.study.compose import shape_key
from widthwise.study.expand import Arm, build_model, expand

MLP = {"kind": "mlp", "depth": 2, "window": 3, "context": 8}


def test_cells_are_all_combinations_once() -> None:
    plan = tiny_plan()
    rates = [2.0**k for k in range(-8, -4)]
    expected = itertools.product(["standard-global", "mup-full"], [8, 16], rates, [0, 1])
    cells = [(c.arm, c.width, c.learning_rate, c.seed) for c in plan.cells]
    assert sorted(cells) == sorted(expected)
    assert len(set(cells)) == len(cells) == 32
    assert [trial.id for trial in plan.trials] == list(range(1, 25))


def test_every_trial_is_in_one_population_with_its_own_shape() -> None:
    plan = tiny_plan(arms=[{"parameterization": ["standard", "mup"], "rates": "full"}], population_size=5)
    members = [trial for population in plan.populations for trial in population]
    assert sorted(members) == [trial.id for trial in plan.trials]
    trials = {trial.id: trial for trial in plan.trials}
    for population in plan.populations:
        assert len({shape_key(trials[id_].recipe) for id_ in population}) == 1


def test_shape_is_what_trials_of_one_program_share() -> None:
    plan = tiny_plan()
    widths = {c.trial: c.width for c in plan.cells}
    assert len({shape_key(t.recipe) for t in plan.trials if widths[t.id] == 16}) == 1
    assert len({shape_key(t.recipe) for t in plan.trials}) == 2


def test_optimizers_and_their_constants_do_not_share_a_population() -> None:
    arms = [
        {"parameterization": "mup", "rates": "full", "name": "a"},
        {"parameterization": "mup", "rates": "full", "name": "b", "optimizer": {"kind": "sgd"}},
        {
            "parameterization": "mup",
            "rates": "full",
            "name": "c",
            "optimizer": {"kind": "adam", "beta1": 0.8},
        },
        {
            "parameterization": "mup",
            "rates": "full",
            "name": "d",
            "optimizer": {"kind": "adam", "epsilon": 0.1},
        },
    ]
    plan = tiny_plan(arms=arms, widths=[8], population_size=100)
    arm = {c.trial: c.arm for c in plan.cells}
    # An epsilon is a member's own, so `a` and `d` share.
    assert [{arm[id_] for id_ in population} for population in plan.populations] == [{"a", "d"}, {"b"}, {"c"}]


def test_members_are_ordered_by_rate() -> None:
    plan = tiny_plan(seeds=[1, 0], population_size=100)
    rate = {cell.trial: cell.learning_rate for cell in plan.cells}
    for population in plan.populations:
        rates = [rate[id_] for id_ in population]
        assert rates == sorted(rates)
        assert len(set(rates)) == 4
    # Equal rates stand in the order of their ids, so that the composition is the same on every machine.
    for population in plan.populations:
        assert list(population) == sorted(population, key=lambda id_: (rate[id_], id_))


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        (1, [1] * 24),
        (3, [2, 3, 3, 2, 3, 3, 2, 3, 3]),
        (5, [4, 4, 4, 4, 4, 4]),
        (7, [4, 4, 5, 5, 6]),
        (8, [8, 8, 8]),
        (16, [8, 16]),
        (100, [8, 16]),
    ],
)
def test_populations_are_cut_evenly(size: int, sizes: list[int]) -> None:
    found = [len(population) for population in tiny_plan(population_size=size).populations]
    assert sum(found) == 24
    assert max(found) <= size
    for width_sizes in (found[: -(-8 // size)], found[-(-8 // size) :]):
        assert max(width_sizes) - min(width_sizes) <= 1
    assert sorted(found) == sorted(sizes)


@pytest.mark.parametrize("size", [0, -1])
def test_a_population_has_members(size: int) -> None:
    with pytest.raises(ValueError, match=f"population size {size} must be at least 1"):
        tiny_plan(population_size=size)


def test_expansion_is_the_same_every_time() -> None:
    spec = tiny_source(seeds=[3, 1, 2]).spec
    assert expand(spec, corpus=DIGEST, population_size=3) == expand(spec, corpus=DIGEST, population_size=3)


def test_models_have_the_sizes_of_the_specification() -> None:
    transformer = build_model(tiny_source().spec, 16)
    assert {name: tensor.shape for name, tensor in transformer.tensors().items()}["blocks.0.mlp.up"] == (
        16,
        64,
    )
    assert (transformer.context, transformer.depth, transformer.vocabulary) == (8, 1, 256)
    mlp = build_model(tiny_source(model=MLP).spec, 12)
    assert {name: tensor.shape for name, tensor in mlp.tensors().items()} == {
        "first_layer": (3 * 256, 12),
        "hidden.0": (12, 12),
        "hidden.1": (12, 12),
        "readout": (12, 256),
    }


def test_recipes_hold_what_the_specification_says() -> None:
    source = tiny_source(
        model=MLP,
        widths=[8, 32],
        arms=[{"parameterization": "mup", "rates": "full"}],
        optimizer={"kind": "sgd", "momentum": 0.8},
        learning_rates=[0.1],
        seeds=[7],
        training={
            "steps": 30,
            "batch": 3,
            "warmup": 0.2,
            "floor": 0.25,
            "precision": "bfloat16",
            "divergence": {"margin": 0.1 + 0.2},
        },
        validation_windows=9,
    )
    recipe = expand(source.spec, corpus=DIGEST, population_size=1).trials[1].recipe
    assert recipe == {
        "model": {**MLP, "width": 32},
        "optimizer": {"kind": "sgd", "momentum": 0.8},
        "schedule": {"steps": 30, "warmup": 6, "floor": 0.25},
        "batch": 3,
        "precision": "bfloat16",
        "divergence": {"margin": 0.3, "steps": 50},
        "corpus": DIGEST,
        "validation_windows": 9,
        "seeds": {"init": 7, "data": 7},
        # A ratio of 4 to the base width 8. muP with SGD, folded: rates n^1, 1, n^-1; init n^0, n^-1/2, n^-1.
        "tensors": {
            "first_layer": [pytest.approx((2 / 3) ** 0.5, rel=1e-11), 0.4, 0.0],
            "hidden.*": [0.25, 0.1, 0.0],
            "readout": [pytest.approx(8**-0.5 / 4, rel=1e-11), 0.025, 0.0],
        },
    }


def test_chosen_runs_alone_and_what_is_known_is_no_new_trial() -> None:
    """What is added to a study: the ids go on, and a run that another cell has had serves this one."""
    spec = tiny_source().spec
    whole = expand(spec, corpus=DIGEST, population_size=4)
    first = whole.trials[:3]
    known = {trial.identity: trial.id for trial in first}

    def runs(arm: Arm, width: int) -> dict[float, tuple[int, ...]]:
        return {2.0**-8: (0, 1), 2.0**-7: (0,), 2.0**-3: (1,)} if (arm.name, width) == ("mup-full", 8) else {}

    plan = expand(spec, corpus=DIGEST, population_size=4, runs=runs, known=known)
    assert [(c.arm, c.width, c.learning_rate, c.seed, c.trial) for c in plan.cells] == [
        ("mup-full", 8, 2.0**-8, 0, 1),
        ("mup-full", 8, 2.0**-8, 1, 2),
        ("mup-full", 8, 2.0**-7, 0, 3),
        ("mup-full", 8, 2.0**-3, 1, 4),
    ]
    assert [trial.id for trial in plan.trials] == [4]
    assert plan.populations == ((4,),)
