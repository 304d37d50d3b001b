"""The axes of a study: constants, policies for epsilon, horizons and widths of an arm, and windows of rates."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest

from study_example import tiny_plan, tiny_source, train, write_corpus
from test_study_spec import complaints
from widthwise.scaling import (
    TRANSFORMER_ROLES,
    Anchor,
    EpsilonPolicy,
    Gauge,
    RateConstants,
    assign_roles,
    make_reference_plan,
    resolve,
)
from widthwise.study.arms import Arm, expand_arms
from widthwise.study.horizon import Steps, TokensPerParameter, non_embedding, resolved_steps
from widthwise.study.rate_spec import RateGrid
from widthwise.study.recipe import any_block, canonical_json, identity, pack_numbers, unpack_numbers
from widthwise.study.recipe_parts import NumberFields, fields_of, identity_of, text_of
from widthwise.theory import ADAM, MID_RATES, PARAMETERIZATIONS, Parameterization, Role

ARM: dict[str, Any] = {"parameterization": "mup", "rates": "full"}
TUNED = {"embedding": 5.303, "hidden": 1.258, "readout": 11.723}
"""Everett et al. 2024, table 8: Adam and muP."""
ROLES = {
    "token_embedding": "embedding",
    "position_embedding": "embedding",
    "blocks.*.attention.norm": "embedding",
    "blocks.*.attention.qkv": "hidden",
    "blocks.*.attention.output": "hidden",
    "blocks.*.mlp.norm": "embedding",
    "blocks.*.mlp.up": "hidden",
    "blocks.*.mlp.down": "hidden",
    "final_norm": "embedding",
    "readout": "readout",
}
"""Which constant each tensor takes: positions and gains are the embedding's kin."""


def recipes(**changes: Any) -> dict[tuple[str, int, float, int], dict[str, Any]]:
    """(arm, width, rate, seed) -> the recipe that serves the cell."""
    plan = tiny_plan(**changes)
    found = {trial.id: dict(trial.recipe) for trial in plan.trials}
    return {(c.arm, c.width, c.learning_rate, c.seed): found[c.trial] for c in plan.cells}


def arms(**changes: Any) -> dict[str, Arm]:
    return {arm.name: arm for arm in expand_arms(tiny_source(**changes).spec)}


@pytest.mark.parametrize("anchor", ["relative", "absolute"])
@pytest.mark.parametrize("parameterization", ["standard", "ntk", "mup", "mean-field"])
def test_a_constant_multiplies_the_rates_of_its_role_and_nothing_else(
    parameterization: str, anchor: str
) -> None:
    """eta_l = eta * gamma_l * (n/b)^(-c_l), at every width, the base width's included."""
    arm = {"parameterization": parameterization, "rates": "full", "constants": ["default", TUNED]}
    found = recipes(arms=[arm], anchor=anchor)
    compared = 0
    for (name, *cell), recipe in found.items():
        if not name.endswith("-optimal"):
            continue
        plain = found[(name.removesuffix("-optimal"), *cell)]
        assert {**recipe, "tensors": None} == {**plain, "tensors": None}
        assert set(recipe["tensors"]) == set(ROLES)
        for tensor, (init, rate, epsilon) in recipe["tensors"].items():
            own_init, own_rate, own_epsilon = plain["tensors"][tensor]
            assert (init, epsilon) == (own_init, own_epsilon)
            # Both are rounded to 12 digits: two halves of 1e-11.
            assert rate / own_rate == pytest.approx(TUNED[ROLES[tensor]], rel=1e-11), tensor
            compared += 1
    assert compared == 2 * 4 * 2 * len(ROLES)  # widths, rates, seeds


def test_unit_constants_are_the_default_trial() -> None:
    """A factor common to all roles is a factor on the base rate: the same numbers, hence the same trial."""
    plain, doubled = [{**ARM}], [{**ARM, "constants": {"embedding": 2, "hidden": 2, "readout": 2}}]
    rates = {"learning_rates": [2**-8, 2**-7]}
    one = {recipe["tensors"]["readout"][1]: identity(recipe) for recipe in recipes(arms=plain, seeds=[0], widths=[8],
           **rates).values()}  # fmt: skip
    other = {recipe["tensors"]["readout"][1]: identity(recipe) for recipe in recipes(arms=doubled, seeds=[0],
             widths=[8], **rates).values()}  # fmt: skip
    common = one.keys() & other.keys()
    assert common
    assert all(one[rate] == other[rate] for rate in common)
    unit = [{**ARM, "constants": {"name": "unit", "hidden": 1}}]
    assert [identity(r) for r in recipes(arms=unit).values()] == [
        identity(r) for r in recipes(arms=plain).values()
    ]


def test_gains_and_fixed_tensors_take_the_embeddings_constant() -> None:
    constants = RateConstants(embedding=3, hidden=5, readout=7)
    found = {role: constants.at(role) for role in Role}
    assert found == {Role.EMBEDDING: 3, Role.HIDDEN: 5, Role.READOUT: 7, Role.VECTOR: 3, Role.FIXED: 3}


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("inf"), float("nan")])
def test_a_constant_is_positive_and_finite(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"the hidden constant is .*; it must be positive and finite"):
        RateConstants(hidden=wrong)


def test_an_arm_stands_for_all_combinations_of_its_axes() -> None:
    arm = {
        "parameterization": ["standard", "mup"],
        "rates": ["full", "mid"],
        "constants": ["default", TUNED],
        "epsilon": [1e-30, {"per_layer": 1e-12}, {"atan2": {"b": 2}}],
        "horizon": [7, "compute-optimal", {"tokens_per_parameter": 5}],
    }
    found = arms(arms=[arm])
    epsilons = ["eps-1e-30", "per-layer-eps-1e-12", "atan2-1-2"]
    horizons = ["7-steps", "compute-optimal", "5-tokens-per-parameter"]
    expected = itertools.product(["standard", "mup"], ["full", "mid"], ["", "-optimal"], epsilons, horizons)
    assert list(found) == [f"{p}-{r}{c}-{e}-{h}" for p, r, c, e, h in expected]
    one = found["mup-mid-optimal-atan2-1-2-compute-optimal"]
    assert one.optimizer.model_dump() == {
        "kind": "adam-atan2",
        "beta1": 0.9,
        "beta2": 0.98,
        "a": 1.0,
        "b": 2.0,
    }
    assert (one.horizon, one.epsilon) == (TokensPerParameter(), 0.0)
    two = found["mup-mid-per-layer-eps-1e-12-7-steps"]
    assert (two.epsilon, two.epsilon_policy.value, two.horizon) == (1e-12, "per-layer", Steps(steps=7))
    three = found["mup-mid-eps-1e-30-7-steps"]
    assert (three.epsilon, three.epsilon_policy.value) == (1e-30, "constant")


def test_a_policy_is_what_the_optimizer_itself_can_say() -> None:
    """An arm's list of policies and an optimizer written out give the same trials."""
    for policy, optimizer in (
        (1e-6, {"kind": "adam", "epsilon": 1e-6}),
        ({"per_layer": 1e-6}, {"kind": "adam", "epsilon": 1e-6, "epsilon_policy": "per-layer"}),
        ({"atan2": {"a": 1.27}}, {"kind": "adam-atan2", "a": 1.27}),
    ):
        listed = tiny_plan(arms=[{**ARM, "epsilon": policy}], optimizer={"kind": "adam"})
        written = tiny_plan(arms=[ARM], optimizer=optimizer)
        assert [t.identity for t in listed.trials] == [t.identity for t in written.trials]


def test_a_policy_keeps_the_rest_of_the_optimizer() -> None:
    optimizer = {"kind": "adam-ps", "beta1": 0.8, "beta2": 0.9, "floor": 1e-3}
    (arm,) = arms(arms=[{**ARM, "epsilon": {"per_layer": 1e-6}}], optimizer=optimizer).values()
    assert arm.optimizer.model_dump(mode="json") == {
        **optimizer,
        "epsilon": 1e-6,
        "epsilon_policy": "per-layer",
    }
    (arm,) = arms(
        arms=[{**ARM, "epsilon": {"atan2": {}}}], optimizer={"kind": "adam", "beta1": 0.8, "beta2": 0.9}
    ).values()
    assert (arm.optimizer.kind, arm.optimizer.beta1, arm.optimizer.beta2) == ("adam-atan2", 0.8, 0.9)  # pyright: ignore


def test_epsilons_of_one_program_train_side_by_side() -> None:
    arm = {**ARM, "epsilon": [1e-6, 1e-9, {"per_layer": 1e-9}]}
    assert len(tiny_plan(arms=[arm], widths=[8], population_size=100).populations) == 1


@pytest.mark.parametrize(
    ("model", "width", "count"),
    [
        ({"kind": "transformer", "depth": 8, "head_dim": 128, "context": 512}, 128,
         8 * 12 * 128**2 + 256 * 128 + 512 * 128 + 17 * 128),
        ({"kind": "mlp", "depth": 2, "window": 3, "context": 8}, 16, 2 * 16**2 + 256 * 16),
    ],
    ids=["transformer", "mlp"],
)  # fmt: skip
def test_non_embedding_parameters_are_all_but_the_token_table(
    model: dict[str, Any], width: int, count: int
) -> None:
    from widthwise.study.expand import build_model

    built = build_model(tiny_source(model=model, widths=[width]).spec, width)
    assert non_embedding({name: tensor.shape for name, tensor in built.tensors().items()}) == count


def test_compute_optimal_steps_grow_with_the_model() -> None:
    """Width 8: 12*64 + 2048 + 64 + 24 = 2904 without the table; 20 * 2904 tokens in batches of 2 x 8."""
    found = recipes(arms=[ARM], training={"horizon": "compute-optimal", "batch": 2, "warmup": 0.25})
    schedules = {cell[1]: recipe["schedule"] for cell, recipe in found.items()}
    n = {width: 12 * width**2 + 256 * width + 8 * width + 3 * width for width in (8, 16)}
    assert n[8] == 2904
    assert schedules == {
        width: {
            "steps": round(20 * n[width] / 16),
            "warmup": round(0.25 * round(20 * n[width] / 16)),
            "floor": 0.0,
        }
        for width in n
    }
    assert schedules[8]["steps"] == 3630


def test_a_horizon_written_as_steps_is_the_same_trial() -> None:
    base = tiny_plan(arms=[ARM], widths=[8], training={"steps": 3630, "batch": 2})
    for training in ({"horizon": 3630, "batch": 2}, {"horizon": "compute-optimal", "batch": 2}):
        plan = tiny_plan(arms=[ARM], widths=[8], training=training)
        assert [t.identity for t in plan.trials] == [t.identity for t in base.trials]
    own = tiny_plan(arms=[{**ARM, "horizon": 3630}], widths=[8], training={"steps": 5, "batch": 2})
    assert [t.identity for t in own.trials] == [t.identity for t in base.trials]


def test_a_horizon_has_at_least_one_step() -> None:
    tiny_ratio = TokensPerParameter(tokens_per_parameter=1e-9)
    assert resolved_steps(tiny_ratio, parameters=1000, tokens_a_step=10) == 1
    assert resolved_steps(TokensPerParameter(), parameters=7, tokens_a_step=16) == 9  # 8.75, the nearest
    with pytest.raises(ValueError, match=r"warmup 0\.9 of steps 3 leaves no step"):
        tiny_plan(arms=[{**ARM, "horizon": 3}], training={"steps": 100, "batch": 2, "warmup": 0.9})


def test_an_arm_may_be_trained_at_some_widths_only() -> None:
    plan = tiny_plan(arms=[ARM, {"parameterization": "standard", "rates": "full", "widths": [16]}])
    assert {(c.arm, c.width) for c in plan.cells} == {
        ("mup-full", 8),
        ("mup-full", 16),
        ("standard-full", 16),
    }


def test_a_window_narrows_the_grid_at_its_width() -> None:
    grid = {"lowest": "2^-9", "highest": "2^-4", "windows": {16: ["2^-7.5", "2^-5"]}}
    plan = tiny_plan(arms=[ARM], learning_rates=grid)
    found = {width: sorted({c.learning_rate for c in plan.cells if c.width == width}) for width in (8, 16)}
    assert found == {8: [2.0**k for k in range(-9, -3)], 16: [2.0**-7, 2.0**-6, 2.0**-5]}


def test_a_window_keeps_the_grids_own_rates_to_the_bit() -> None:
    grid = RateGrid(lowest=0.3, highest=3.0, per_octave=3, windows={8: (0.3, 3.0), 16: (0.3, 0.3)})
    assert grid.rates_at(8) == grid.rates_at(4) == grid.rates()
    assert grid.rates_at(16) == (0.3,)


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        (
            {"arms": [{**ARM, "epsilon": [1e-6, {"atan2": {}}]}], "optimizer": {"kind": "sgd"}},
            [
                "arms.0.epsilon: eps-1e-06 does not go with optimizer sgd: it has none; leave it out or choose adam",
                "arms.0.epsilon: atan2-1-1 does not go with optimizer sgd: it has none; leave it out or choose adam",
            ],
        ),
        (
            {"arms": [{**ARM, "epsilon": {"atan2": {}}}], "optimizer": {"kind": "adam-ps"}},
            ["arms.0.epsilon: atan2-1-1 does not go with optimizer adam-ps: the arctangent is Adam's, not Adam's "
             "with parameter scaling; leave it out or choose adam"],
        ),
        (
            {"arms": [ARM, {**ARM, "name": "b", "widths": [8, 32]}]},
            ["arms.1.widths: [32] are not among the study's [8, 16]; add them there"],
        ),
        (
            {"learning_rates": {"lowest": 1, "highest": 2, "windows": {32: [1, 2]}}},
            ["learning_rates.windows: [32] are not among the study's widths [8, 16]; add them"],
        ),
        (
            {"learning_rates": {"lowest": 1, "highest": 2, "windows": {16: [1.2, 1.8]}}},
            ["learning_rates: the window of width 16, 1.2 to 1.8, holds no rate of the grid from 1.0 to 2.0, "
             "1 to a factor of 2; move it or extend the grid"],
        ),
        (
            {"learning_rates": {"lowest": 1, "highest": 2, "windows": {16: [2, 1]}}},
            ["learning_rates: the window of width 16 ends at 1.0, below 2.0; exchange them"],
        ),
        (
            {"arms": [{**ARM, "epsilon": {"constant": 1e-6, "per_layer": 1e-6}}]},
            ["arms.0.epsilon.0: both constant and per_layer are given; write one of a number, {per_layer: base} or "
             "{atan2: {a: 1, b: 1}}"],
        ),
        (
            {"arms": [{**ARM, "epsilon": [{}]}]},
            ["arms.0.epsilon.0: no policy is given; write one of a number, {per_layer: base} or "
             "{atan2: {a: 1, b: 1}}"],
        ),
        (
            {"arms": [{**ARM, "constants": [TUNED, TUNED]}]},
            ["arms.0.constants: constants ['optimal', 'optimal'] have a name twice; give each a `name` of its own"],
        ),
        (
            {"arms": [{**ARM, "weight_decay": [0, 0.1]}], "optimizer": {"kind": "adafactor"}},
            ["arms.0.weight_decay: [0.1] does not go with optimizer adafactor, which has none here; leave it out"],
        ),
        (
            {"arms": [{**ARM, "weight_decay": 1}]},
            ["arms.0.weight_decay.0: Input should be less than 1 (given: 1)"],
        ),
        (
            {"arms": [{**ARM, "constants": {"hidden": -1}}]},
            ["arms.0.constants.0.hidden: Input should be greater than 0 (given: -1)"],
        ),
        (
            {"training": {"steps": 4, "horizon": "compute-optimal", "batch": 2}},
            ["training: both of `steps` and `horizon` is given; write one of them"],
        ),
        (
            {"training": {"horizon": "chinchilla", "batch": 2}},
            ["training.horizon: 'chinchilla' is no horizon; write a number of steps, compute-optimal or "
             "{tokens_per_parameter: 20}"],
        ),
        (
            {"widths": [8, 10], "arms": [{**ARM, "widths": [12]}, {**ARM, "epsilon": 1, "optimizer": {"kind": "sgd"}}]},
            [
                "the whole: widths [10] are not multiples of model.head_dim 4; change them or choose a head_dim that "
                "divides all of [8, 10]",
                "arms.0.widths: [12] are not among the study's [8, 10]; add them there",
                "arms.1.epsilon: eps-1 does not go with optimizer sgd: it has none; leave it out or choose adam",
            ],
        ),
    ],
)  # fmt: skip
def test_contradictions_are_all_named(changes: dict[str, Any], lines: list[str]) -> None:
    assert complaints(**changes) == lines


def test_the_text_made_of_fields_is_the_canonical_one() -> None:
    for recipe in recipes(gauge="explicit", widths=[8, 16]).values():
        text = text_of(fields_of(recipe))
        assert text == canonical_json(recipe)
        assert identity_of(text) == identity(recipe)


@pytest.mark.parametrize(("anchor", "gauge"), list(itertools.product(Anchor, Gauge)))
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS.values(), ids=lambda p: p.name)
def test_numbers_written_once_are_those_resolved_for_each_rate(
    parameterization: Parameterization, anchor: Anchor, gauge: Gauge
) -> None:
    """The fast form against `pack_numbers` of `resolve`, bit for bit, at a ratio whose powers round."""
    names = ["token_embedding", "position_embedding", "final_norm", "readout"]
    parts = ("attention.norm", "attention.qkv", "attention.output", "mlp.norm", "mlp.up", "mlp.down")
    names += [f"blocks.{block}.{part}" for block in range(2) for part in parts]
    roles = assign_roles(names, TRANSFORMER_ROLES)
    merged = {any_block(name): role for name, role in roles.items()}
    constants = RateConstants(embedding=5.303, hidden=1.258, readout=11.723)
    chosen = {"width": 24, "base_width": 8, "parameterization": parameterization, "optimizer": ADAM}
    chosen |= {"prescription": MID_RATES, "anchor": anchor, "epsilon": EpsilonPolicy.PER_LAYER}
    folded, own = (
        (make_reference_plan(roles, gauge=g, **chosen), make_reference_plan(merged, gauge=g, **chosen))
        for g in (Gauge.FOLDED, gauge)
    )
    explicit = None if gauge is Gauge.FOLDED else own
    fast = NumberFields(folded[1], explicit and explicit[1], epsilon=1e-7)
    for rate in (0.1, 2.0**-9, 1e-30):
        numbers = [
            plan and resolve(plan[0], learning_rate=rate, epsilon=1e-7, constants=constants)
            for plan in (folded, explicit)
        ]
        assert numbers[0] is not None
        packed = pack_numbers(numbers[0], numbers[1])
        assert text_of({**fast.rest, "tensors": fast.tensors(rate, constants)}) == canonical_json(packed)


def test_a_rate_that_overflows_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"learning rate 1e\+308 overflows at a layer's factor; choose a smaller"
    ):
        tiny_plan(arms=[{**ARM, "constants": TUNED}], learning_rates=[1e308])


def test_weight_decay_is_an_axis_and_no_part_of_what_has_none() -> None:
    """Every tensor but the gains, at every width, whatever the prescription; a program has members of all decays."""
    arm = {"parameterization": "mup", "rates": ["full", "none"], "weight_decay": [0, 1e-4]}
    found = recipes(arms=[arm], anchor="absolute")
    plain = recipes(arms=[{**arm, "weight_decay": 0}], anchor="absolute")
    assert {cell: identity(recipe) for cell, recipe in plain.items()}.items() <= {
        cell: identity(recipe) for cell, recipe in found.items()
    }.items()
    gains = {"blocks.*.attention.norm", "blocks.*.mlp.norm", "final_norm"}
    for (name, *cell), recipe in found.items():
        if not name.endswith("-decay-0.0001"):
            assert "decays" not in recipe
            continue
        without = found[(name.removesuffix("-decay-0.0001"), *cell)]
        assert recipe["decays"] == {tensor: 0.0 if tensor in gains else 1e-4 for tensor in ROLES}
        assert {**recipe, "decays": None} == {**without, "decays": None}
    assert len(tiny_plan(arms=[arm], widths=[8], population_size=100).populations) == 1


@pytest.mark.parametrize("gauge", ["folded", "explicit"])
def test_the_trainer_is_told_the_decay(gauge: str) -> None:
    from widthwise.study.runner import train_recipe

    arm = {**ARM, "weight_decay": 0.125}
    (recipe, *_) = recipes(arms=[arm], gauge=gauge, widths=[8, 16, 24]).values()
    numbers = unpack_numbers(recipe, train_recipe(recipe).model.tensors(), rate_power=1)
    decays = {name: n.decay for name, n in numbers.items()}
    assert (
        decays.pop("final_norm")
        == decays.pop("blocks.0.mlp.norm")
        == decays.pop("blocks.0.attention.norm")
        == 0
    )
    assert set(decays.values()) == {0.125}


def test_a_population_trains_members_of_several_decays(tmp_path: Path) -> None:
    """A decay of 0.9 a step leaves nothing of the start: the loss is that of a model that knows nothing, ln 256."""
    arms = [{**ARM, "weight_decay": [0, 0.9]}]
    training = {"steps": 30, "batch": 2, "warmup": 0}
    rates = {"learning_rates": [1e-6], "seeds": [0], "widths": [8]}
    study = train(
        tiny_source(write_corpus(tmp_path), arms=arms, training=training, **rates), tmp_path / "s.sqlite"
    )
    losses = [trial.validation_loss for trial in study.trials.values()]
    assert losses[0] is not None
    assert losses[1] is not None
    assert len(study.populations) == 1
    assert losses[1] == pytest.approx(math.log(256), abs=1e-4)
    assert abs(losses[0] - math.log(256)) > 1e-3
