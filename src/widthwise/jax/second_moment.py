"""Two ways to keep the running mean square of the gradient, as in widthwise.optim: as it is, or as its square root.

    v <- beta2 v + (1 - beta2) g^2                       SQUARED
    u <- hypot(sqrt(beta2) u, sqrt(1 - beta2) g)         ROOT, u = sqrt(v)

g^2 leaves the range of float32 where |g| is below about 1e-19 or above 1.8e19; u stays wherever g itself is. XLA
flushes numbers below 2^-126 to zero on a CPU, so both end there.
"""

from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp

from widthwise.jax.numbers import Number


def lerp(start: jax.Array, end: jax.Array, weight: Number) -> jax.Array:
    """start + weight (end - start), computed from the nearer side, so that a weight of 1 gives `end` itself.

    Example:
        >>> float(lerp(jnp.float32(1e10), jnp.float32(1.0), 1.0))
        1.0
    """
    change = end - start
    near_start, near_end = start + weight * change, end - change * (1 - weight)
    if isinstance(weight, int | float):
        return near_start if weight < 0.5 else near_end
    return jnp.where(jnp.less(weight, 0.5), near_start, near_end)


class SecondMoment(Protocol):
    """One form of the running mean square: how it takes in a gradient, and its root."""

    def updated(self, moment: jax.Array, gradient: jax.Array, weight: Number) -> jax.Array:
        """The moment with a gradient of weight 1 - beta2 taken in."""
        ...

    def root(self, moment: jax.Array) -> jax.Array:
        """The root mean square."""
        ...


@dataclass(frozen=True)
class SquaredMoment:
    """v, the mean of squares.

    Example:
        >>> float(SQUARED.updated(jnp.float32(0), jnp.float32(2), 0.25))
        1.0
    """

    def updated(self, moment: jax.Array, gradient: jax.Array, weight: Number) -> jax.Array:
        """In Adam's order, so that an infinite v stays infinite instead of turning NaN."""
        return moment * (1 - weight) + weight * (gradient * gradient)

    def root(self, moment: jax.Array) -> jax.Array:
        """sqrt(v)."""
        return jnp.sqrt(moment)


@dataclass(frozen=True)
class RootMoment:
    """u, the root of the mean of squares. With s = max(u, |g|),

        u <- s sqrt((u / s)^2 + (1 - beta2) ((g / s)^2 - (u / s)^2))

    A factor 2^k in u and g changes s alone, exactly, while they are normal numbers.

    Example:
        >>> bool(ROOT.updated(jnp.float32(0), jnp.float32(2e-30), 0.25) == jnp.float32(1e-30))
        True
    """

    def updated(self, moment: jax.Array, gradient: jax.Array, weight: Number) -> jax.Array:
        """See the class; a zero s, which has zero u and g, is replaced by the smallest normal number."""
        scale = jnp.maximum(jnp.maximum(moment, jnp.abs(gradient)), jnp.finfo(moment.dtype).tiny)
        return scale * jnp.sqrt(lerp((moment / scale) ** 2, (gradient / scale) ** 2, weight))

    def root(self, moment: jax.Array) -> jax.Array:
        """u itself."""
        return moment


SQUARED = SquaredMoment()
ROOT = RootMoment()
