"""The optax twin of Adam-atan2 as optax uses it: decay, schedules, injection, dtypes, state, bad input."""

from math import inf, nan, pi
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jax_cases import same_bits, stepped, values
from optim_cases import trained
from widthwise.jax import (
    NO_DECAY,
    ROOT,
    SQUARED,
    WeightDecay,
    adam_atan2,
    non_finite,
    scale_by_adam_atan2,
)
from widthwise.jax.second_moment import SecondMoment
from widthwise.optim import WeightDecay as TorchWeightDecay

FORMS = {"squared": SQUARED, "root": ROOT}


@pytest.fixture(params=sorted(FORMS))
def form(request: pytest.FixtureRequest) -> SecondMoment:
    return FORMS[request.param]


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_decay_is_coupled_or_independent(rate: float) -> None:
    """A zero gradient leaves only decay."""
    for decay, kept in (
        (WeightDecay.coupled(0.25), 1 - 0.25 * rate),
        (0.25, 1 - 0.25 * rate),
        (WeightDecay.independent(0.25), 0.75),
        (NO_DECAY, 1.0),
    ):
        theta, _ = stepped(adam_atan2(rate, weight_decay=decay), jnp.ones(3), [jnp.zeros(3)], jit=False)
        np.testing.assert_allclose(theta, np.full(3, kept), rtol=2**-23, atol=0)


def test_decay_is_the_value_that_torch_has() -> None:
    for name, value in (("coupled", 0.3), ("independent", 1e-4)):
        ours, theirs = getattr(WeightDecay, name)(value), getattr(TorchWeightDecay, name)(value)
        assert (ours.per_rate, ours.per_step) == (theirs.per_rate, theirs.per_step)


def test_a_schedule_is_read_at_every_step() -> None:
    """Rates 1/2, 0, 1/4 with both decays, against steps of constant rates that share one state."""
    start, gradients = jnp.asarray(values(6, seed=0)), [jnp.asarray(values(6, seed=t)) for t in (1, 2, 3)]
    decay = WeightDecay(per_rate=0.1, per_step=0.01)
    rates = jnp.array([0.5, 0.0, 0.25])
    scheduled, _ = stepped(adam_atan2(lambda count: rates[count], weight_decay=decay), start, gradients)
    injected = optax.inject_hyperparams(adam_atan2, static_args=("b1", "b2"))(1.0, weight_decay=decay)
    traces, state, theta = 0, injected.init(start), start

    @jax.jit
    def step(params: Any, state: Any, gradient: Any) -> Any:
        nonlocal traces
        traces += 1
        updates, state = injected.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    for rate, gradient in zip(rates, gradients, strict=True):
        state.hyperparams["learning_rate"] = rate
        theta, state = step(theta, state, gradient)
    assert traces == 1  # changing the rate compiles nothing
    np.testing.assert_allclose(scheduled, theta, rtol=0, atol=3 * 2**-22)
    exact, m, v = np.float64(start), 0.0, 0.0
    for t, (rate, g) in enumerate(zip((0.5, 0.0, 0.25), gradients, strict=True), start=1):
        m, v = 0.9 * m + 0.1 * np.float64(g), 0.999 * v + 0.001 * np.float64(g) ** 2
        angle = np.arctan2(m / (1 - 0.9**t), np.sqrt(v / (1 - 0.999**t)))
        exact = exact * (1 - 0.1 * rate - 0.01) - rate * angle
    np.testing.assert_allclose(scheduled, exact, rtol=0, atol=3 * 2**-21)


def test_every_hyperparameter_can_be_injected() -> None:
    """b1 and b2 as float32 arrays: 1 - float32(0.999) is off by 3e-5 of itself, so the moments are, and their ratio."""
    start, gradients = jnp.asarray(values(6, seed=0)), [jnp.asarray(values(6, seed=t)) for t in range(1, 9)]
    plain, _ = stepped(adam_atan2(0.1, a=1.5, b=2.0, weight_decay=0.1), start, gradients)
    injected = optax.inject_hyperparams(adam_atan2)(0.1, a=1.5, b=2.0, weight_decay=0.1)
    found, _ = stepped(injected, start, gradients)
    np.testing.assert_allclose(found, plain, rtol=0, atol=8 * 0.1 * 4e-5)


def test_betas_that_bfloat16_rounds_to_one_are_refused() -> None:
    low = jnp.ones(3, jnp.bfloat16)
    with pytest.raises(ValueError, match=r"b1 is an array of bfloat16, which rounds 0\.999 to 1"):
        optax.inject_hyperparams(adam_atan2)(0.1).init(low)
    for remedy in ({"static_args": ("b1", "b2")}, {"hyperparam_dtype": jnp.float32}):
        theta, _ = stepped(optax.inject_hyperparams(adam_atan2, **remedy)(0.25), low, [low])
        assert float(theta[0]) == pytest.approx(1 - 0.25 * pi / 4, rel=2**-8)


def test_low_precision_is_rounded_once() -> None:
    """Updates of bfloat16 weights are float32, so that weight minus step is rounded once, by optax.apply_updates.

    1.01 is 1.0078 in bfloat16, and 0.01 is off by 2^-10 of itself.
    """
    optimizer = adam_atan2(2.0**-7, a=4 / pi, weight_decay=0.01)
    low = jnp.ones(2, jnp.bfloat16)
    updates, state = optimizer.update(low, optimizer.init(low), low)
    assert updates.dtype == state[0].mu.dtype == state[0].second_moment.dtype == jnp.float32
    np.testing.assert_allclose(updates, [-(2.0**-7) * 1.01] * 2, rtol=1e-6)
    assert optax.apply_updates(low, updates).dtype == jnp.bfloat16


def test_without_memory_the_first_moment_is_the_gradient() -> None:
    """b1 = 0 after a gradient 1e10 times larger, which m + (g - m) would lose."""
    for b1 in (0.0, jnp.float32(0.0)):
        _, state = stepped(
            scale_by_adam_atan2(b1, 0.5), jnp.zeros(1), [jnp.full(1, 1e10), jnp.ones(1)], jit=False
        )
        assert float(state.mu[0]) == 1.0


def test_a_zero_gradient_gives_a_zero_step(form: SecondMoment) -> None:
    start = jnp.asarray(values(6, seed=0))
    theta, state = stepped(adam_atan2(1.0, second_moment=form), start, [jnp.zeros(6)] * 3, jit=False)
    assert same_bits(theta, start)
    assert non_finite(state) == {}


@pytest.mark.parametrize(("bad", "at"), [(-inf, 1), (nan, 2)])
def test_a_bad_gradient_is_on_record(form: SecondMoment, bad: float, at: int) -> None:
    """The leaf and its first step, through jit, chain and masks; the weight is NaN, as with optax.adam."""
    params = {"first": jnp.ones(3), "deep": [jnp.ones(2), jnp.ones(4)]}
    steps = [jax.tree.map(jnp.ones_like, params) for _ in range(3)]
    steps[at - 1]["deep"][1] = jnp.ones(4).at[2].set(bad)
    inner = adam_atan2(0.1, second_moment=form)
    optimizer = optax.chain(optax.masked(inner, {"first": False, "deep": True}), optax.identity())
    theta, state = stepped(optimizer, params, steps)
    assert non_finite(state) == {"deep.1": at}
    assert np.isnan(theta["deep"][1]).tolist() == [False, False, True, False]


def test_an_overflow_that_the_arctangent_hides_is_on_record() -> None:
    """1e21 squared is infinite: the squared form's weight stands still from then on, finite. The root form goes on."""
    gradients = [jnp.ones(3), jnp.array([1.0, 1e21, 1.0]), jnp.ones(3)]
    theta, state = stepped(adam_atan2(0.1, second_moment=SQUARED), jnp.ones(3), gradients, jit=False)
    assert non_finite(state) == {"": 2}
    assert np.isfinite(theta).all()
    theta, state = stepped(adam_atan2(0.1, second_moment=ROOT), jnp.ones(3), gradients, jit=False)
    assert non_finite(state) == {}
    with pytest.raises(ValueError, match="no part of this state is of scale_by_adam_atan2"):
        non_finite(optax.adam(0.1).init(jnp.ones(3)))


def test_buffers_can_be_donated() -> None:
    """A train step that gives its parameters and state away gives the same numbers, and they are gone."""
    optimizer = adam_atan2(0.1, second_moment=ROOT, weight_decay=0.1)
    start, gradients = values(8, 8, seed=0), [jnp.asarray(values(8, 8, seed=t)) for t in (1, 2, 3)]

    def step(params: Any, state: Any, gradient: Any) -> Any:
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    donating = jax.jit(step, donate_argnums=(0, 1))
    params = jnp.asarray(start)
    state = optimizer.init(params)
    for gradient in gradients:
        before = params
        params, state = donating(params, state, gradient)
        assert before.is_deleted()
    expected, _ = stepped(optimizer, jnp.asarray(start), gradients)
    assert same_bits(params, expected)


def test_a_saved_state_goes_on_bit_for_bit() -> None:
    """Every leaf of parameters and state through NumPy after 5 of 10 steps of a schedule."""
    optimizer = adam_atan2(optax.cosine_decay_schedule(0.1, 10), second_moment=ROOT)
    gradients = [{"w": jnp.asarray(values(4, 3, seed=t))} for t in range(1, 11)]

    @jax.jit
    def step(carry: Any, gradient: Any) -> Any:
        updates, state = optimizer.update(gradient, carry[1], carry[0])
        return optax.apply_updates(carry[0], updates), state

    start = {"w": jnp.asarray(values(4, 3, seed=0))}
    through = interrupted = (start, optimizer.init(start))
    for number, gradient in enumerate(gradients):
        if number == 5:
            interrupted = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf).copy()), interrupted)
        through, interrupted = step(through, gradient), step(interrupted, gradient)
    assert same_bits(interrupted, through)
    assert int(through[1][0].count) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": -1.0}, "learning_rate = -1.0: give a finite number that is not negative"),
        ({"learning_rate": nan}, "learning_rate = nan"),
        ({"b1": 1.0}, "b1 = 1.0: give a number from 0 to below 1"),
        ({"b2": -0.1}, "b2 = -0.1"),
        ({"b2": nan}, "b2 = nan"),
        ({"a": 0.0}, "a = 0.0: give a finite positive number"),
        ({"b": inf}, "b = inf"),
        ({"weight_decay": -0.1}, "weight decay per_rate = -0.1"),
    ],
)
def test_a_bad_hyperparameter_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adam_atan2(**{"learning_rate": 0.1, **arguments})


@pytest.mark.parametrize("leaf", [jnp.zeros(2, jnp.int32), jnp.zeros(2, jnp.complex64)])
def test_a_bad_parameter_is_named(leaf: jax.Array) -> None:
    with pytest.raises(ValueError, match=rf"deep\.w is {leaf.dtype}, not real floating-point numbers"):
        adam_atan2(0.1).init({"deep": {"w": leaf}})


def test_decay_needs_the_parameters() -> None:
    optimizer = adam_atan2(0.1, weight_decay=0.1)
    with pytest.raises(ValueError, match="weight decay needs the parameters"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))
    plain = adam_atan2(0.1)
    plain.update(jnp.ones(2), plain.init(jnp.ones(2)))


def test_the_twins_defaults_are_torchs() -> None:
    """One step of each as constructed, with lr alone."""
    start, gradient = values(6, seed=0), values(6, seed=1)
    theta, _ = stepped(adam_atan2(0.1), jnp.asarray(start), [jnp.asarray(gradient)] * 3)
    (expected,), _ = trained([torch.tensor(start)], [[torch.tensor(gradient)]] * 3, lr=0.1)
    np.testing.assert_allclose(theta, expected, rtol=0, atol=3 * 2**-21)
