"""Adam-atan2 for optax: the same step as widthwise.optim.AdamAtan2, in optax's grammar.

    m <- m + (1 - beta1) (g - m)
    v <- beta2 v + (1 - beta2) g^2             or its root, see second_moment
    update = a * atan2(m_hat, b sqrt(v_hat))

Both bias corrections and b are one number, D = b (1 - beta1^t) / sqrt(1 - beta2^t), and the angle is
arctan((m / sqrt(v)) / D). The quotient comes first: with powers of two in the gradient's scale it does not change in a
single bit, and it is never out of range. sqrt(v) is replaced by the smallest normal number where it is smaller, so that
0 / 0 is 0.
"""

from math import inf, log
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from widthwise.jax.leaf_names import leaf_names
from widthwise.jax.numbers import Number, check_beta, check_number, check_positive
from widthwise.jax.second_moment import SQUARED, SecondMoment, lerp
from widthwise.jax.weight_decay import NO_DECAY, WeightDecay, add_decay, is_zero, read_weight_decay


class ScaleByAdamAtan2State(NamedTuple):
    """The state of `scale_by_adam_atan2`.

    Args:
        count: steps taken, int32.
        mu: the first moments, float32 (float64 for float64 parameters).
        second_moment: v or its root, like mu; not called `nu`, so that no reader takes a root for a square.
        non_finite_step: for each leaf, the first step after which its moments were infinite or NaN; 0 for none. int32.
    """

    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]  # optax's name for it
    mu: Any
    second_moment: Any
    non_finite_step: Any


def scale_by_adam_atan2(
    b1: Number = 0.9,
    b2: Number = 0.999,
    a: Number = 1.0,
    b: Number = 1.0,
    *,
    second_moment: SecondMoment = SQUARED,
) -> optax.GradientTransformation:
    """Adam's ratio of moments through an arctangent instead of an epsilon: updates do not depend on gradients' scale.

    Args:
        b1: how much of the first moment a step keeps, from 0 to below 1.
        b2: how much of the second moment a step keeps, from 0 to below 1.
        a: scales the update, which is at most a * pi / 2 in size.
        b: divides the ratio inside the arctangent; larger is closer to Adam, with a = b.
        second_moment: `SQUARED` keeps v, as Adam does; `ROOT` keeps sqrt(v), which neither under- nor overflows.

    Returns:
        A transformation whose updates have the moments' dtype, so that parameters of low precision are rounded once, by
        `optax.apply_updates`.

    Raises:
        ValueError: a hyperparameter out of its range; at `init`, a leaf that is not of real floating-point numbers.

    Example:
        >>> transform = scale_by_adam_atan2(a=4 / jnp.pi)
        >>> params = jnp.ones(2)
        >>> updates, state = transform.update(jnp.array([1e-12, -1e12]), transform.init(params))
        >>> print(updates.round(6))
        [ 1. -1.]

    Source: Everett et al. 2024, arXiv 2407.05872.
    """
    check_beta("b1", b1)
    check_beta("b2", b2)
    check_positive("a", a)
    check_positive("b", b)

    def init(params: Any) -> ScaleByAdamAtan2State:
        _check_leaves(params)
        return ScaleByAdamAtan2State(
            count=jnp.zeros((), jnp.int32),
            mu=jax.tree.map(_zeros, params),
            second_moment=jax.tree.map(_zeros, params),
            non_finite_step=jax.tree.map(lambda leaf: jnp.zeros((), jnp.int32), params),
        )

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        count = jnp.asarray(optax.safe_increment(state.count))
        mu = jax.tree.map(lambda g, m: lerp(m, g.astype(m.dtype), 1 - b1), updates, state.mu)
        moments = jax.tree.map(
            lambda g, v: second_moment.updated(v, g.astype(v.dtype), 1 - b2), updates, state.second_moment
        )

        def angle(m: jax.Array, v: jax.Array) -> jax.Array:
            root = jnp.maximum(second_moment.root(v), jnp.finfo(v.dtype).tiny)
            denominator = b * bias_ratio(count.astype(m.dtype), b1, b2)
            return (a * jnp.arctan(m / root / denominator)).astype(m.dtype)

        def first_bad_step(flag: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
            fine = jnp.isfinite(m).all() & jnp.isfinite(v).all()
            return jnp.where((flag == 0) & ~fine, count, flag)

        flags = jax.tree.map(first_bad_step, state.non_finite_step, mu, moments)
        return jax.tree.map(angle, mu, moments), ScaleByAdamAtan2State(count, mu, moments, flags)

    return optax.GradientTransformation(init, update)


def adam_atan2(
    learning_rate: optax.ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    a: Number = 1.0,
    b: Number = 1.0,
    *,
    second_moment: SecondMoment = SQUARED,
    weight_decay: WeightDecay | Number = NO_DECAY,
    mask: Any = None,
) -> optax.GradientTransformation:
    """Adam without epsilon.

        theta <- theta - learning_rate * a * atan2(m_hat, b sqrt(v_hat)) - decay * theta

    Args:
        learning_rate: a number, an array, or a schedule; 0 is legal.
        b1, b2, a, b, second_moment: of `scale_by_adam_atan2`.
        weight_decay: `WeightDecay.coupled(w)`, as in optax.adamw, or `WeightDecay.independent(w)`, which is not
            multiplied by the rate; a number is coupled.
        mask: True for the leaves that decay; a tree, a prefix of one, or a function of the parameters.

    Raises:
        ValueError: a hyperparameter out of its range; decay where `update` is called without the parameters.

    Example:
        >>> optimizer = adam_atan2(0.1, a=4 / jnp.pi)
        >>> params = jnp.ones(2)
        >>> updates, state = optimizer.update(jnp.array([1e-12, -1e12]), optimizer.init(params), params)
        >>> print(optax.apply_updates(params, updates).round(6))
        [0.9 1.1]

    Source: Everett et al. 2024, arXiv 2407.05872.
    """
    decay = read_weight_decay(weight_decay)
    if not callable(learning_rate):
        check_number("learning_rate", learning_rate)
    parts = [scale_by_adam_atan2(b1, b2, a, b, second_moment=second_moment)]
    if not is_zero(decay.per_rate):
        parts.append(add_decay(decay.per_rate, mask))
    parts.append(optax.scale_by_learning_rate(learning_rate))
    if not is_zero(decay.per_step):
        parts.append(add_decay(-decay.per_step, mask))
    return optax.chain(*parts)


def bias_ratio(step: jax.Array, b1: Number, b2: Number) -> jax.Array:
    """By how much the corrections shrink m / sqrt(v) (divide by it): (1 - b1^t) / sqrt(1 - b2^t), by expm1.

    Args:
        step: t, from 1, in the dtype that the result is wanted in.

    Example:
        >>> round(float(bias_ratio(jnp.float32(1), 0.5, 0.75)), 6)
        1.0
    """
    return -jnp.expm1(step * _log(b1)) / jnp.sqrt(-jnp.expm1(step * _log(b2)))


def _log(beta: Number) -> Number:
    """The logarithm, in double precision where the value is known; of 0, minus infinity: no memory, no correction."""
    if isinstance(beta, int | float):
        return log(beta) if beta > 0 else -inf
    return jnp.log(beta)


def _zeros(leaf: Number) -> jax.Array:
    wide = jnp.promote_types(jnp.result_type(leaf), jnp.float32)
    return jnp.zeros_like(leaf, dtype=wide)


def _check_leaves(params: Any) -> None:
    for name, leaf in leaf_names(params).items():
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(
                f"{name or 'the parameter'} is {jnp.result_type(leaf)}, not real floating-point numbers: keep it out "
                "of the optimizer (optax.masked, or a tree of the parameters alone)"
            )
