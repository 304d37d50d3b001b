"""The optax twin of Adam-atan2: hand values, float64, torch's AdamAtan2, optax.adamw, powers of two."""

from math import atan, pi
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_cases import same_bits, stepped, to_torch, values
from optim_cases import in_float64, trained
from widthwise.jax import (
    ROOT,
    SQUARED,
    ScaleByAdamAtan2State,
    WeightDecay,
    adam_atan2,
)
from widthwise.jax.adam_atan2 import bias_ratio
from widthwise.jax.second_moment import SecondMoment
from widthwise.optim import ROOT as TORCH_ROOT
from widthwise.optim import SQUARED as TORCH_SQUARED

TWINS = {"squared": (SQUARED, TORCH_SQUARED), "root": (ROOT, TORCH_ROOT)}
FORMS = {name: form for name, (form, _) in TWINS.items()}


@pytest.fixture(params=sorted(FORMS))
def form(request: pytest.FixtureRequest) -> SecondMoment:
    return FORMS[request.param]


@pytest.mark.parametrize(
    ("a", "b", "angle"),
    [(1.0, 1.0, pi / 4), (2.0, 1.0, pi / 2), (1.0, 3**-0.5, pi / 3), (4.0, 4.0, 4 * atan(1 / 4))],
)
def test_first_step_by_hand(form: SecondMoment, a: float, b: float, angle: float) -> None:
    """m_hat = g and sqrt(v_hat) = |g|: lr * a * atan2(1, b), to a few units of 2^-24 of 1."""
    g = jnp.array([1e-12, 1.0, -1.5, 1e12])
    theta, _ = stepped(adam_atan2(0.5, a=a, b=b, second_moment=form), jnp.ones(4), [g], jit=False)
    np.testing.assert_allclose(theta, 1 - 0.5 * angle * np.sign(g), rtol=0, atol=4e-7)


def test_second_step_by_hand() -> None:
    """betas 1/2 and 3/4, gradients 1 then -1: m = 1/2, -1/4; v = 1/4, 7/16; corrections 1/2, 3/4 and 1/4, 7/16."""
    theta, state = stepped(adam_atan2(1.0, 0.5, 0.75), jnp.zeros(1), [jnp.ones(1), -jnp.ones(1)], jit=False)
    inner: ScaleByAdamAtan2State = state[0]
    assert (int(inner.count), float(inner.mu[0]), float(inner.second_moment[0])) == (2, -0.25, 0.4375)
    assert float(theta[0]) == pytest.approx(-pi / 4 + atan(1 / 3), abs=4e-7)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999])
@pytest.mark.parametrize("step", [1, 2, 1000, 10**7])
def test_bias_correction_keeps_its_digits(beta: float, step: int) -> None:
    """float32 expm1 and sqrt are right to 2^-22 or so; by subtraction, step 1 would be off by 3e-5."""
    exact = (1 - 0.9**step) / (1 - beta**step) ** 0.5
    found = jax.jit(lambda t: bias_ratio(t, 0.9, beta))(jnp.float32(step))
    assert float(found) == pytest.approx(exact, rel=5e-7)


def test_equals_float64(form: SecondMoment) -> None:
    """100 steps with both decays; theta stays below 4, so that a step rounds it by 2^-23 and the angle by some 2^-20.

    (float32 keeps the moments to 2^-24 / (1 - beta2) = 2^-24 * 20 of themselves.)
    """
    start, gradients = values(5, 7, seed=0) / 4, [values(5, 7, seed=t) * (1 + t % 5) for t in range(1, 101)]
    options: dict[str, Any] = {"betas": (0.8, 0.95), "a": 1.3, "b": 0.7}
    optimizer = adam_atan2(
        0.01, 0.8, 0.95, 1.3, 0.7, second_moment=form, weight_decay=WeightDecay(per_rate=0.1, per_step=1e-3)
    )
    theta, state = stepped(optimizer, jnp.asarray(start), [jnp.asarray(g) for g in gradients])
    exact, m, v = in_float64(start, gradients, lr=0.01, per_rate=0.1, per_step=1e-3, **options)
    np.testing.assert_allclose(theta, exact, rtol=0, atol=100 * (2**-23 + 0.01 * 2**-20))
    assert np.abs(exact).max() < 4
    assert np.abs(exact - start).max() > 0.2
    np.testing.assert_allclose(state[0].mu, m, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(form.root(state[0].second_moment), np.sqrt(v), rtol=2e-6)


def test_float64_parameters_have_float64_moments(form: SecondMoment) -> None:
    """20 steps to 1e-14 of numbers of size one; a float32 anywhere would leave 1e-8."""
    start, gradients = values(6, seed=0), [values(6, seed=t) for t in range(1, 21)]
    with jax.enable_x64(True):
        wide = [jnp.asarray(g, jnp.float64) for g in gradients]
        theta, state = stepped(adam_atan2(0.1, second_moment=form), jnp.asarray(start, jnp.float64), wide)
        assert state[0].mu.dtype == state[0].second_moment.dtype == jnp.float64
        exact, _, _ = in_float64(start, gradients, lr=0.1)
        np.testing.assert_allclose(np.asarray(theta), exact, rtol=0, atol=20 * 1e-14)


@pytest.mark.parametrize("name", sorted(TWINS))
def test_equals_torch(name: str) -> None:
    """100 steps of a tree with a matrix, a scalar, an empty leaf and bfloat16.

    Both round theta, below 4, by 2^-23 a step, and differ in the angle by some 2^-20. bfloat16 has 8 bits: where the
    two fall on different sides of a tie they are one unit (2^-7 from 2 to 4) apart, and go on in parallel.
    """
    form, torch_form = TWINS[name]
    start = {
        "matrix": jnp.asarray(values(6, 5, seed=0) / 4),
        "scalar": jnp.float32(0.5),
        "empty": jnp.zeros((0, 3)),
        "low": jnp.asarray(values(40, seed=1) / 4, jnp.bfloat16),
    }
    steps = [
        {key: jnp.asarray(values(*x.shape, seed=10 * t + i), x.dtype) for i, (key, x) in enumerate(start.items())}
        for t in range(1, 101)
    ]  # fmt: skip
    optimizer = adam_atan2(0.01, a=1.2, b=1.5, second_moment=form, weight_decay=WeightDecay.coupled(0.1))
    theta, state = stepped(optimizer, start, steps)
    expected, twin = trained(
        [to_torch(x) for x in start.values()],
        [[to_torch(g[key]) for key in start] for g in steps],
        lr=0.01, a=1.2, b=1.5, second_moment=torch_form, weight_decay=0.1, foreach=False,
    )  # fmt: skip
    for (key, x), y in zip(((k, theta[k]) for k in start), expected, strict=True):
        assert x.dtype == start[key].dtype
        atol = 2**-7 if key == "low" else 100 * 2 * (2**-23 + 0.01 * 2**-20)
        np.testing.assert_allclose(np.asarray(x, np.float32), y.float(), rtol=0, atol=atol)
    assert float(jnp.abs(theta["matrix"] - start["matrix"]).max()) > 0.1
    assert np.mean(np.asarray(theta["low"], np.float32) == expected[3].float().numpy()) > 0.9
    for key, parameter in zip(start, twin.param_groups[0]["params"], strict=True):
        saved = twin.state[parameter]
        assert state[0].mu[key].dtype == jnp.float32
        np.testing.assert_allclose(state[0].mu[key], saved["exp_avg"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state[0].second_moment[key], saved[torch_form.key], rtol=1e-5)


def test_agrees_with_adamw_where_it_must() -> None:
    """With a = b = 4096, b atan(x / b) is x to (x / b)^2 / 3, below 1e-6 for x up to 7; decay and mask as AdamW's."""
    start = {"w": jnp.asarray(values(4, 9, seed=0)), "b": jnp.asarray(values(9, seed=1))}
    gradients = [
        {"w": jnp.asarray(values(4, 9, seed=t)), "b": jnp.asarray(values(9, seed=50 + t))}
        for t in range(2, 14)
    ]
    mask = {"w": True, "b": False}
    independent = adam_atan2(0.01, weight_decay=WeightDecay.independent(0.5), mask=mask)
    only_decay, _ = stepped(independent, start, [jax.tree.map(jnp.zeros_like, start)], jit=False)
    assert same_bits(only_decay, {"w": start["w"] * 0.5, "b": start["b"]})
    ours = adam_atan2(0.01, a=4096.0, b=4096.0, weight_decay=0.3, mask=mask)
    adamw = optax.adamw(0.01, eps=0.0, weight_decay=0.3, mask=mask)
    theta, expected = (stepped(optimizer, start, gradients, jit=False)[0] for optimizer in (ours, adamw))
    for key in start:
        np.testing.assert_allclose(theta[key], expected[key], rtol=0, atol=12 * (2**-22 + 0.01 * 4e-6))


STEPS = 20
SIGNS_AND_SIZES = np.stack([values(3, 11, seed=t) for t in range(STEPS)])


@jax.jit
def after_scaled(scale: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Weights after gradients times a scale, in both forms, with decay: one compiled program for every scale."""

    def run(form: SecondMoment) -> jax.Array:
        optimizer = adam_atan2(0.05, second_moment=form, weight_decay=0.1)
        theta = jnp.ones((3, 11))

        def step(carry: Any, g: jax.Array) -> tuple[Any, None]:
            updates, state = optimizer.update(scale * g, carry[1], carry[0])
            return (optax.apply_updates(carry[0], updates), state), None

        return jax.lax.scan(step, (theta, optimizer.init(theta)), SIGNS_AND_SIZES)[0][0]

    return run(ROOT), run(SQUARED)


@given(k=st.integers(-100, 100))
@settings(max_examples=60)
def test_root_form_keeps_every_bit_from_minus_100_to_100(k: int) -> None:
    assert same_bits(after_scaled(jnp.float32(2.0**k))[0], after_scaled(jnp.float32(1))[0])


@given(k=st.integers(-40, 50))
@settings(max_examples=40)
def test_squared_form_keeps_every_bit_from_minus_40_to_50(k: int) -> None:
    assert same_bits(after_scaled(jnp.float32(2.0**k))[1], after_scaled(jnp.float32(1))[1])


def test_the_squared_form_ends_where_squares_do() -> None:
    """At 2^-80 every square is 0 in float32; the arctangent of m over the smallest number is pi / 2."""
    root, squared = after_scaled(jnp.float32(2.0**-80))
    assert same_bits(root, after_scaled(jnp.float32(1))[0])
    assert not np.allclose(squared, after_scaled(jnp.float32(1))[1], atol=0.1)
