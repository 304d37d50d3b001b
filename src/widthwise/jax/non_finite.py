"""What Adam-atan2's state says of gradients or moments that became infinite or NaN."""

from typing import Any

import jax

from widthwise.jax.adam_atan2 import ScaleByAdamAtan2State
from widthwise.jax.leaf_names import leaf_names


def non_finite(state: Any) -> dict[str, int]:
    """The leaves whose moments are infinite or NaN, by name, with the first step at which they were; {} if none is.

    The arctangent turns an overflow into a finite step, so this is the place to look: every few hundred steps, say.
    Each step notes it on the device; only this function waits for the device.

    Args:
        state: of an optimizer with `scale_by_adam_atan2` anywhere in it.

    Raises:
        ValueError: a state without one.

    Example:
        >>> import jax.numpy as jnp
        >>> from widthwise.jax import adam_atan2
        >>> optimizer = adam_atan2(0.1)
        >>> params = {"w": jnp.ones(2)}
        >>> _, state = optimizer.update({"w": jnp.array([1.0, 1e21])}, optimizer.init(params), params)
        >>> non_finite(state)   # 1e21 squared is infinite
        {'w': 1}
    """
    found = [part for part in jax.tree.leaves(state, is_leaf=_is_ours) if _is_ours(part)]
    if not found:
        raise ValueError("no part of this state is of scale_by_adam_atan2; give the optimizer's whole state")
    flags = jax.device_get([leaf_names(part.non_finite_step) for part in found])
    return {name: int(step) for part in flags for name, step in part.items() if step}


def _is_ours(node: object) -> bool:
    return isinstance(node, ScaleByAdamAtan2State)
