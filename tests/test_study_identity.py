"""Which cells are the same trial: the identity holds what changes a run, and nothing else."""

from pathlib import Path
from typing import Any

import pytest

from study_example import DIGEST, tiny_plan, tiny_source, train, write_corpus
from widthwise.study.expand import RULES, expand
from widthwise.theory import OPTIMIZER_RULES

ATAN2 = {"kind": "adam-atan2"}
PER_LAYER = {"kind": "adam", "epsilon": 1e-6, "epsilon_policy": "per-layer"}
CONSTANT = {"kind": "adam", "epsilon": 1e-6}

FROZEN = {
    8: "abaf8434525033b980fae19eb0f493dfdc5302c4b4cbcf510332cb009df3f0d5",
    16: "769e8ade0e7b7539c8ccdad02b0748c4ab2e9c9c51a5fdcddb080ea70fb8ae30",
}
"""Identities of the tiny study's muP trials at rate 2^-8, seed 0: a store made today must be continued tomorrow."""

Cell = tuple[str, int, float, int]


def identities(**changes: Any) -> dict[Cell, str]:
    """(arm, width, rate, seed) -> the identity of the trial that serves it."""
    plan = tiny_plan(**changes)
    trials = {trial.id: trial.identity for trial in plan.trials}
    return {(c.arm, c.width, c.learning_rate, c.seed): trials[c.trial] for c in plan.cells}


def shared(first: str, second: str, **changes: Any) -> dict[int, bool]:
    """Width -> whether two arms, given as `parameterization-rates`, are the same trials there."""
    arms = [
        dict(zip(("parameterization", "rates"), arm.rsplit("-", 1), strict=True)) for arm in (first, second)
    ]
    found = identities(arms=arms, **changes)
    same: dict[int, bool] = {}
    for (arm, width, rate, seed), identity in found.items():
        if arm == first:
            equal = identity == found[second, width, rate, seed]
            assert same.setdefault(width, equal) is equal
    return same


def one(**changes: Any) -> str:
    """The identity of one cell: muP, full, width 16, rate 2^-8, seed 0."""
    return identities(**changes)["mup-full", 16, 2**-8, 0]


def test_frozen_identities() -> None:
    found = identities()
    assert {width: found["mup-full", width, 2**-8, 0] for width in FROZEN} == FROZEN


@pytest.mark.parametrize("optimizer", [ATAN2, PER_LAYER], ids=["atan2", "per-layer"])
@pytest.mark.parametrize("pair", [("ntk-global", "standard-none"), ("mean-field-full", "mup-full")])
def test_prescriptions_that_are_the_same_run(optimizer: dict[str, Any], pair: tuple[str, str]) -> None:
    assert shared(*pair, optimizer=optimizer, widths=[8, 16, 24]) == {8: True, 16: True, 24: True}


@pytest.mark.parametrize("pair", [("ntk-global", "standard-none"), ("mean-field-full", "mup-full")])
def test_a_constant_epsilon_keeps_them_apart(pair: tuple[str, str]) -> None:
    assert shared(*pair, optimizer=CONSTANT, widths=[8, 16, 24]) == {8: True, 16: False, 24: False}


def test_sgd_joins_mean_field_and_mup() -> None:
    same = shared("mean-field-full", "mup-full", optimizer={"kind": "sgd"}, widths=[8, 16, 24])
    assert same == {8: True, 16: True, 24: True}


def test_an_absolute_anchor_keeps_parameterizations_apart() -> None:
    same = shared("standard-full", "mup-full", optimizer=ATAN2, anchor="absolute")
    assert same == {8: False, 16: False}


def test_prescriptions_that_differ() -> None:
    assert shared("standard-global", "standard-full") == {8: True, 16: False}
    assert shared("standard-full", "mup-full") == {8: True, 16: False}


@pytest.mark.parametrize("optimizer", [ATAN2, PER_LAYER, CONSTANT, {"kind": "sgd"}])
@pytest.mark.parametrize("parameterization", ["standard", "ntk", "mup", "mean-field"])
def test_an_explicit_gauge_is_the_same_run_at_powers_of_four(
    optimizer: dict[str, Any], parameterization: str
) -> None:
    arms = [{"parameterization": parameterization, "rates": ["global", "full"]}]
    folded, explicit = (
        identities(optimizer=optimizer, arms=arms, widths=[8, 32, 128], gauge=gauge)
        for gauge in ("folded", "explicit")
    )
    assert folded == explicit


@pytest.mark.parametrize("parameterization", ["standard", "ntk", "mup", "mean-field"])
@pytest.mark.parametrize("width", [16, 24])
def test_an_explicit_gauge_is_another_run_elsewhere(parameterization: str, width: int) -> None:
    """The ratios 2 and 3 have multipliers that round; the standard parameterization has none."""
    arms = [{"parameterization": parameterization, "rates": "full"}]
    folded, explicit = (
        identities(arms=arms, widths=[8, width], gauge=gauge) for gauge in ("folded", "explicit")
    )
    for cell, identity in folded.items():
        assert (identity == explicit[cell]) is (cell[1] == 8 or parameterization == "standard"), cell


def test_population_size_and_the_order_of_seeds_arms_and_widths_do_not_enter() -> None:
    found = identities(seeds=[0, 1, 2])
    assert identities(seeds=[0, 1, 2], population_size=1) == found
    assert identities(seeds=[0, 1, 2], population_size=100) == found
    assert identities(seeds=[2, 0, 1]) == found
    assert identities(seeds=[0, 1, 2], widths=[16, 8]) == found
    arms = [{"parameterization": "mup", "rates": "full"}, {"parameterization": "standard", "rates": "global"}]
    assert identities(seeds=[0, 1, 2], arms=arms) == found


def test_names_do_not_enter() -> None:
    named = [{"parameterization": "mup", "rates": "full", "name": "mup-full"}]
    assert one(name="other", arms=named) == one()


def test_the_recipe_holds_these_and_nothing_else() -> None:
    for trial in tiny_plan().trials:
        assert sorted(trial.recipe) == [
            "batch", "corpus", "divergence", "model", "optimizer", "precision", "schedule", "seeds", "tensors",
            "validation_windows",
        ]  # fmt: skip


def test_device_and_corpus_path_do_not_enter(tmp_path: Path) -> None:
    source = tiny_source(write_corpus(tmp_path), widths=[8])
    study = train(source, tmp_path / "s.sqlite")
    plan = expand(source.spec, corpus=study.corpus, population_size=4)
    assert [t.identity for t in study.trials.values()] == [t.identity for t in plan.trials]


def transformer(**changes: int) -> dict[str, Any]:
    return {"kind": "transformer", "depth": 1, "head_dim": 4, "context": 8, **changes}


def adam(**changes: Any) -> dict[str, Any]:
    return {"kind": "adam", "epsilon": 1e-12, **changes}


def training(**changes: Any) -> dict[str, Any]:
    return {"steps": 20, "batch": 2, **changes}


CHANGES: dict[str, dict[str, Any]] = {
    "model": {"model": {"kind": "mlp", "depth": 1, "window": 4, "context": 8}},
    "depth": {"model": transformer(depth=2)},
    "head_dim": {"model": transformer(head_dim=8)},
    "context": {"model": transformer(context=4)},
    "base width": {"base_width": 32},
    "anchor": {"anchor": "absolute"},
    "optimizer": {"optimizer": ATAN2},
    "momentum": {"optimizer": {"kind": "sgd", "momentum": 0.5}},
    "beta1": {"optimizer": adam(beta1=0.8)},
    "beta2": {"optimizer": adam(beta2=0.99)},
    "epsilon": {"optimizer": adam(epsilon=1e-11)},
    "epsilon policy": {"optimizer": adam(epsilon_policy="per-layer")},
    "atan2's a": {"optimizer": {**ATAN2, "a": 1.25}},
    "atan2's b": {"optimizer": {**ATAN2, "b": 1.25}},
    "steps": {"training": training(steps=21)},
    "batch": {"training": training(batch=3)},
    "warmup": {"training": training(warmup=0.2)},
    "floor": {"training": training(floor=0.1)},
    "precision": {"training": training(precision="bfloat16")},
    "corpus": {"digest": "1" * 64},
    "validation windows": {"validation_windows": 5},
    "divergence margin": {"training": training(divergence={"margin": 2.0})},
    "divergence steps": {"training": training(divergence={"steps": 49})},
}


def test_every_change_of_a_run_changes_the_identity() -> None:
    base = {"training": training()}
    found = {"": one(**base)} | {name: one(**{**base, **change}) for name, change in CHANGES.items()}
    assert len(set(found.values())) == len(found), found


@pytest.mark.parametrize(
    "cell", [(16, 2**-8, 1), (8, 2**-8, 0), (16, 2**-7, 0)], ids=["seed", "width", "rate"]
)
def test_every_cell_of_an_arm_is_its_own_trial(cell: tuple[int, float, int]) -> None:
    found = identities()
    assert found["mup-full", *cell] != found["mup-full", 16, 2**-8, 0]
    own = [identity for (arm, *_), identity in found.items() if arm == "mup-full"]
    assert len(set(own)) == len(own)


def test_rates_that_round_to_the_same_twelve_digits_are_one_trial() -> None:
    plan = tiny_plan(
        arms=[{"parameterization": "mup", "rates": "full"}], learning_rates=[0.1, 0.1 + 1e-16 * 4]
    )
    assert len({cell.learning_rate for cell in plan.cells}) == 2
    assert len(plan.trials) == len(plan.cells) // 2


def test_digest_is_the_corpus() -> None:
    assert {trial.recipe["corpus"] for trial in tiny_plan().trials} == {DIGEST}


def test_trained_optimizers_follow_a_rule_of_the_theory() -> None:
    assert set(RULES.values()) <= set(OPTIMIZER_RULES.values())
