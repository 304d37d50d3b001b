"""Decoupled weight decay, as the fraction of a weight that one step removes: coupled to the rate, or independent of it.

The value of widthwise.optim, which the optax twins cannot import without loading torch.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from widthwise.jax.numbers import Number, check_number


@dataclass(frozen=True)
class WeightDecay:
    """theta loses the fraction `per_rate * rate + per_step` of itself in every step.

    Raises:
        ValueError: a coefficient is negative or not finite.

    Example:
        >>> WeightDecay.coupled(0.1), WeightDecay.independent(1e-4)
        (WeightDecay(per_rate=0.1, per_step=0.0), WeightDecay(per_rate=0.0, per_step=0.0001))
        >>> WeightDecay.coupled(-1.0)
        Traceback (most recent call last):
        ...
        ValueError: weight decay per_rate = -1.0: give a finite number that is not negative

    Source: Loshchilov and Hutter 2019 (arXiv 1711.05101), algorithm 2.
    """

    per_rate: Number = 0.0
    per_step: Number = 0.0

    def __post_init__(self) -> None:
        check_number("weight decay per_rate", self.per_rate)
        check_number("weight decay per_step", self.per_step)

    @classmethod
    def coupled(cls, weight_decay: Number) -> "WeightDecay":
        """`theta <- theta - rate * weight_decay * theta`, optax.adamw's."""
        return cls(per_rate=weight_decay)

    @classmethod
    def independent(cls, weight_decay: Number) -> "WeightDecay":
        """`theta <- theta - weight_decay * theta`, whatever the rate."""
        return cls(per_step=weight_decay)


NO_DECAY = WeightDecay()


def read_weight_decay(value: WeightDecay | Number) -> WeightDecay:
    """A bare number as the coupled decay that optax means by it.

    Example:
        >>> read_weight_decay(0.1)
        WeightDecay(per_rate=0.1, per_step=0.0)
    """
    return value if isinstance(value, WeightDecay) else WeightDecay.coupled(value)


def is_zero(value: Number) -> bool:
    """Whether a coefficient is the number 0, known before anything runs."""
    return isinstance(value, int | float) and value == 0


def decayed(update: jax.Array, parameter: jax.Array, weight: Number) -> jax.Array:
    """update + weight * parameter, computed in float32 at least and returned in the update's dtype.

    Example:
        >>> float(decayed(jnp.float32(1), jnp.bfloat16(3), 0.25))
        1.75
    """
    if is_zero(weight):
        return update
    wide = jnp.promote_types(update.dtype, jnp.float32)
    return (update.astype(wide) + weight * parameter.astype(wide)).astype(update.dtype)


def add_decay(weight: Number, mask: Any = None) -> optax.GradientTransformation:
    """optax.add_decayed_weights, but that a parameter of low precision is multiplied in float32.

    Args:
        weight: what is added, as a fraction of the parameter; after the learning rate, a negative one.
        mask: True for the leaves that decay; a tree, a prefix of one, or a function of the parameters.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        check_params(params)
        return jax.tree.map(lambda u, p: decayed(u, p, weight), updates, params), state

    inner = optax.GradientTransformation(lambda params: optax.EmptyState(), update)
    return inner if mask is None else optax.masked(inner, mask)


def check_params(params: Any) -> None:
    """That `update` was given the parameters, which weight decay reads.

    Raises:
        ValueError: it was not.
    """
    if params is None:
        raise ValueError("weight decay needs the parameters: call update(gradients, state, params)")
