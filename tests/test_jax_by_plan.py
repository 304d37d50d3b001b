"""Training under a plan in JAX: the torch twin's losses, the base width's bits, decay, epsilon, masks, other trees."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jax_cases import TORCH_NAMES, init_mlp, same_bits, stepped, train_mlp, tree_of
from plan_training import mlp, plan_of, planned, train
from widthwise.jax import (
    ROOT,
    adam_atan2_by_plan,
    adam_by_plan,
    add_decay_by_plan,
    describe_tree,
    initialize,
    rows_of_tree,
    scale_by_plan,
    scale_gradients_by_plan,
)
from widthwise.optim import ROOT as TORCH_ROOT
from widthwise.optim import AdamAtan2
from widthwise.scaling import COUPLED, INDEPENDENT, ScalingPlan, Timescale, WeightDecay, plan_from
from widthwise.theory import ADAM, FULL, MUON, MUP, SGD, STANDARD, OptimizerRule

DESCRIPTION = describe_tree(init_mlp, widths=(16, 32, 64))
KERNELS = {layer: {"kernel": True, "bias": False} for layer in ("Dense_0", "Dense_1", "Dense_2")}


@cache
def plan_at(width: int, optimizer: OptimizerRule = ADAM) -> ScalingPlan:
    """muP's plan from the base width 16: its epsilons and initial values differ from 1 too."""
    return plan_from(
        DESCRIPTION, width=width, base_width=16, parameterization=MUP, optimizer=optimizer, alignment=FULL
    )


def leaves_of(width: int, value: float = 1.0) -> Any:
    """A tree of the MLP's shapes with one value in every entry."""
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, value), init_mlp(width, jax.random.key(0)))


def by_layer(tree: Any) -> list[float]:
    """The first entry of each leaf: bias and kernel of each layer."""
    return [float(np.ravel(leaf)[0]) for leaf in jax.tree.leaves(tree)]


def test_rates_epsilons_and_initial_values_by_hand() -> None:
    """Ratio of widths 4, muP, full alignment: bias and kernel of the embedding, the hidden layer and the readout.

    Dense_1's bias falls as n^(-1/2) by itself, and a vector is not to; Dense_2's, of three numbers, is kept as drawn.
    """
    ones, plan = leaves_of(64), plan_at(64)
    rates, _ = scale_by_plan(plan).update(ones, scale_by_plan(plan).init(ones))
    assert by_layer(rates) == [1.0, 1.0, 1.0, 0.25, 1.0, 0.25]
    gradients, _ = scale_gradients_by_plan(plan).update(ones, optax.EmptyState())
    assert by_layer(gradients) == [4.0, 4.0, 4.0, 4.0, 1.0, 1.0]
    assert by_layer(initialize(plan, ones)) == [1.0, 1.0, 2.0, 1.0, 1.0, 0.5]


def test_the_torch_twin_has_the_same_losses() -> None:
    """20 steps at 4 times the base width, from the same weights, with epsilons and decay by policy: to 1e-5.

    Both sides compute in float32; 20 steps of rate 0.02 carry its 6e-8 to some 1e-6 of a loss of size one.
    """
    theirs, plan = plan_of(mlp, parameterization=MUP), plan_at(64)
    assert plan.width == theirs.width == 64
    model = planned(theirs, mlp)
    start = tree_of(model)
    losses, _ = train_mlp(adam_by_plan(plan, 0.02, eps=1e-3, weight_decay=0.5), start, 20)
    groups = theirs.param_groups(model, learning_rate=0.02, weight_decay=0.5, epsilon=1e-3)
    expected = train(model, torch.optim.AdamW(groups), range(20))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    unplanned, _ = train_mlp(optax.adamw(0.02, eps=1e-3, weight_decay=0.5, mask=KERNELS), start, 20)
    assert max(abs(x / y - 1) for x, y in zip(unplanned, expected, strict=True)) > 0.05


def test_a_torch_models_plan_makes_the_same_updates_under_its_names() -> None:
    """The plan of the PyTorch twin, kernels transposed, against the tree's own: to the bit."""
    theirs, ones = plan_of(mlp, parameterization=MUP), leaves_of(64, 0.5)
    found = []
    for plan, names in ((plan_at(64), {}), (theirs, TORCH_NAMES)):
        start = initialize(plan, ones, names=names)
        optimizer = adam_by_plan(plan, 0.02, eps=1e-3, weight_decay=0.5, names=names)
        found.append((start, optimizer.update(ones, optimizer.init(start), start)[0]))
    assert same_bits(*found)


def test_the_torch_twin_of_adam_atan2_has_the_same_losses() -> None:
    """As above, with the root form, a and b, and decay that does not change with the width."""
    theirs = plan_of(mlp, parameterization=MUP)
    model = planned(theirs, mlp)
    start = tree_of(model)
    optimizer = adam_atan2_by_plan(plan_at(64), 0.02, a=1.5, b=2.0, second_moment=ROOT, weight_decay=0.5)
    losses, _ = train_mlp(optimizer, start, 20)
    groups = theirs.param_groups(model, learning_rate=0.02, weight_decay=0.5)
    twin = AdamAtan2(groups, a=1.5, b=2.0, second_moment=TORCH_ROOT, foreach=False)
    np.testing.assert_allclose(losses, train(model, twin, range(20)), rtol=1e-5)


def test_the_base_width_is_no_plan_bit_for_bit() -> None:
    """Initial values, and 10 steps against optax.adamw with its mask, compiled."""
    plan, drawn = plan_at(16), init_mlp(16, jax.random.key(1))
    start = initialize(plan, drawn)
    assert same_bits(start, drawn)
    _, ours = train_mlp(adam_by_plan(plan, 0.02, weight_decay=0.1), start, 10)
    _, plain = train_mlp(optax.adamw(0.02, weight_decay=0.1, mask=KERNELS), start, 10)
    assert same_bits(ours, plain)
    assert not same_bits(ours, start)


POLICIES: dict[str, tuple[WeightDecay, float, float, float]] = {
    # policy, decay given, then the product of rate and decay a step: at the full rate, at a quarter of it
    "independent": (INDEPENDENT, 0.1, 0.4 * 0.1, 0.4 * 0.1),
    "coupled": (COUPLED, 0.1, 0.4 * 0.1, 0.4 * 0.1 / 4),
    "timescale": (Timescale(20), 0.0, 1 / 20, 1 / 20),
}


@pytest.mark.parametrize("name", sorted(POLICIES))
@pytest.mark.parametrize("vectors", [False, True])
def test_decay_follows_its_policy(name: str, vectors: bool) -> None:
    """A zero gradient leaves decay alone; gains and biases keep theirs unless asked. The same numbers as in groups."""
    policy, decay, full, quarter = POLICIES[name]
    zeros, ones = leaves_of(64, 0.0), leaves_of(64)
    optimizer = adam_by_plan(plan_at(64), 0.4, weight_decay=decay, policy=policy, decay_vectors=vectors)
    updates, _ = optimizer.update(zeros, optimizer.init(ones), ones)
    vector = full if vectors else 0.0
    expected = [vector, full, vector, quarter, 0.0 if not vectors else vector, quarter]
    np.testing.assert_allclose(by_layer(updates), [-x for x in expected], rtol=1e-6, atol=0)


def test_a_timescale_needs_a_base_rate() -> None:
    schedule = optax.constant_schedule(0.4)
    with pytest.raises(ValueError, match="a timescale of 20 steps needs the base rate as a number"):
        adam_by_plan(plan_at(64), schedule, policy=Timescale(20))
    chained = optax.chain(
        add_decay_by_plan(plan_at(64), 0.0, policy=Timescale(20), learning_rate=0.4),
        optax.scale_by_learning_rate(schedule),
    )
    ones = leaves_of(64)
    updates, _ = chained.update(leaves_of(64, 0.0), chained.init(ones), ones)
    np.testing.assert_allclose(by_layer(updates)[1::2], [-1 / 20] * 3, rtol=1e-6)


def test_epsilon_follows_its_gradient() -> None:
    """A first step of Adam's is g / (|g| + eps f), f = 1/4, 1/4, 1 in muP at ratio 4: with eps = |g|, 4/5, 4/5, 1/2.

    optax's bias correction subtracts 0.999 from 1 in float32, which its ratio is off by 2e-5 for.
    """
    optimizer = adam_by_plan(plan_at(64), 1.0, eps=1.0)
    ones = leaves_of(64)
    updates, _ = optimizer.update(ones, optimizer.init(ones), ones)
    np.testing.assert_allclose(by_layer(updates)[1::2], [-4 / 5, -4 / 5 / 4, -1 / 2 / 4], rtol=2e-5)


def test_any_optimizer_and_schedule_can_stand_in_the_chain() -> None:
    """SGD's plan, whose rates grow; the schedule's rates 1/2 and 1/4."""
    plan = plan_at(64, SGD)
    rates = jnp.array([0.5, 0.25])
    optimizer = optax.chain(scale_by_plan(plan), optax.scale_by_learning_rate(lambda count: rates[count]))
    ones = leaves_of(64)
    factors = [row.rate for row in jax.tree.leaves(rows_of_tree(plan, ones))]
    assert max(factors) > 1
    params, _ = stepped(optimizer, leaves_of(64, 0.0), [ones, ones], jit=False)
    np.testing.assert_allclose(by_layer(params), [-0.75 * factor for factor in factors], rtol=1e-6)


def test_a_changed_rate_compiles_nothing() -> None:
    injected = optax.inject_hyperparams(lambda learning_rate: adam_by_plan(plan_at(64), learning_rate))(0.1)
    ones, traces = leaves_of(64), 0

    @jax.jit
    def step(state: Any) -> Any:
        nonlocal traces
        traces += 1
        return injected.update(ones, state, ones)

    state = injected.init(ones)
    for rate in (0.5, 0.25):
        state.hyperparams["learning_rate"] = jnp.float32(rate)
        updates, state = step(state)
        np.testing.assert_allclose(by_layer(updates)[1::2], [-rate, -rate / 4, -rate / 4], rtol=2e-5)
    assert traces == 1


def test_frozen_and_masked_parts_of_a_tree_are_left_alone() -> None:
    """optax hands a transformation a tree in which what is not its own is taken out: no row is missing then."""
    labels = {"Dense_0": "frozen", "Dense_1": {"kernel": "trained", "bias": "frozen"}, "Dense_2": "trained"}
    optimizer = optax.partition(
        {"frozen": optax.set_to_zero(), "trained": adam_by_plan(plan_at(64), 1.0, weight_decay=0.1)}, labels
    )
    ones = leaves_of(64)
    updates, _ = optimizer.update(ones, optimizer.init(ones), ones)
    found = by_layer(updates)
    assert found[:3] == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(found[3:], [-0.25 - 0.1, -1.0, -0.25 - 0.1], rtol=2e-5)
    without = {**ones, "Dense_0": None}
    assert rows_of_tree(plan_at(64), without)["Dense_0"] is None
    assert jax.tree.structure(initialize(plan_at(64), without)) == jax.tree.structure(without)


def test_optax_can_map_over_the_state() -> None:
    """optax.tree.map_params calls `init` with a placeholder that is no tree of parameters."""
    ones = leaves_of(64)
    optimizer = adam_atan2_by_plan(plan_at(64), 0.1, weight_decay=0.1)
    doubled = optax.tree.map_params(optimizer, lambda leaf: leaf + 2, optimizer.init(ones))
    assert by_layer(doubled[0].mu) == [2.0] * 6
    assert int(doubled[0].count) == 0


def test_low_precision_is_multiplied_in_float32() -> None:
    """1/3 in bfloat16 is off by 2^-9 of itself: 1.015625 times it rounds to another neighbour."""
    plan = plan_from(
        DESCRIPTION, width=48, base_width=16, parameterization=STANDARD, optimizer=ADAM, alignment=FULL
    )
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), leaves_of(48, 1.015625))
    updates, _ = scale_by_plan(plan).update(low, optax.EmptyState())
    assert updates["Dense_1"]["kernel"].dtype == jnp.bfloat16
    exact = jnp.asarray(np.float32(1.015625 * (16 / 48)), jnp.bfloat16)
    assert float(updates["Dense_1"]["kernel"][0, 0]) == float(exact)
    assert float(jnp.bfloat16(1.015625) * jnp.bfloat16(1 / 3)) != float(exact)


def test_initial_values_under_jit_keep_their_draw() -> None:
    """One factor for every entry, exactly: the factors are powers of two here."""
    plan, drawn = plan_at(64), init_mlp(64, jax.random.key(3))
    found = jax.jit(lambda tree: initialize(plan, tree))(drawn)
    rows = rows_of_tree(plan, drawn)
    expected = jax.tree.map(lambda leaf, row: leaf * jnp.float32(row.init), drawn, rows)
    assert same_bits(found, expected)
    assert not same_bits(found, drawn)


def test_a_wide_readout_starts_as_muP_says() -> None:  # noqa: N802
    """n^(-1): 1/4 between widths 16 and 64, where the initializer alone would give 1/2."""
    sizes = {}
    for width in (16, 64):
        kernels = [
            initialize(plan_at(width), init_mlp(width, jax.random.key(seed)))["Dense_2"]["kernel"]
            for seed in range(8)
        ]
        sizes[width] = float(np.std(np.stack(kernels)))
    assert sizes[64] / sizes[16] == pytest.approx(
        1 / 4, rel=0.15
    )  # 5 standard errors of 384 and 1536 entries


ANOTHER: dict[str, tuple[Any, str]] = {
    "more leaves": (lambda t: {**t, "extra": jnp.ones(3)}, "the tree alone has extra"),
    "fewer leaves": (
        lambda t: {k: v for k, v in t.items() if k != "Dense_0"},
        r"the plan alone has Dense_0\.bias, Dense_0\.kernel(\n|$)",
    ),
    "another name": (
        lambda t: {**{k: v for k, v in t.items() if k != "Dense_0"}, "In": t["Dense_0"]},
        r"the plan alone has Dense_0\.bias, Dense_0\.kernel; the tree alone has In\.bias, In\.kernel",
    ),
    "another width": (
        lambda t: leaves_of(32),
        r"Dense_0\.bias has shape \[32\]; at the plan's width 64 it is \[64\]",
    ),
}


@pytest.mark.parametrize("case", sorted(ANOTHER))
def test_another_tree_is_refused_everywhere(case: str) -> None:
    change, message = ANOTHER[case]
    plan, tree = plan_at(64), change(leaves_of(64))
    with pytest.raises(ValueError, match=message):
        initialize(plan, tree)
    for transform in (scale_by_plan(plan), scale_gradients_by_plan(plan), add_decay_by_plan(plan, 0.1)):
        with pytest.raises(ValueError, match=message):
            transform.init(tree)
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(transform.update, tree, optax.EmptyState(), tree)


def test_names_must_be_one_to_one() -> None:
    plan, tree = plan_of(mlp, parameterization=MUP), leaves_of(64)
    with pytest.raises(
        ValueError, match=r"Dense_0\.bias and Dense_1\.bias would both have the plan's 2\.bias"
    ):
        rows_of_tree(plan, tree, names={**TORCH_NAMES, "Dense_0.bias": "2.bias"})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: adam_by_plan(plan_at(64, SGD), 0.1), "the plan's rates are for sgd, which scales otherwise"),
        (lambda: adam_atan2_by_plan(plan_at(64, MUON), 0.1), "the plan's rates are for muon"),
        (lambda: adam_by_plan(plan_at(64), -0.1), "learning_rate = -0.1: give a finite number"),
        (lambda: adam_by_plan(plan_at(64), 0.1, weight_decay=-1.0), "weight_decay = -1.0 must be finite"),
        (lambda: add_decay_by_plan(plan_at(64), 0.1, learning_rate=float("inf")), "learning_rate = inf must"),
        (lambda: adam_by_plan(plan_at(64), 0.1, weight_decay=0.1, policy=Timescale(9)), None),
    ],
)
def test_bad_input_is_named(make: Any, message: str | None) -> None:
    if message is None:  # the policy's own complaint, when a step is made
        ones = leaves_of(64)
        optimizer = make()
        with pytest.raises(ValueError, match=r"weight_decay=0\.1 beside a timescale of 9 steps"):
            optimizer.update(ones, optimizer.init(ones), ones)
        return
    with pytest.raises(ValueError, match=message):
        make()


def test_decay_by_plan_needs_the_parameters() -> None:
    ones = leaves_of(64)
    optimizer = adam_by_plan(plan_at(64), 0.1, weight_decay=0.1)
    with pytest.raises(ValueError, match="weight decay needs the parameters"):
        optimizer.update(ones, optimizer.init(ones))
