"""A plan's initial values: the user's own draw, multiplied."""

from collections.abc import Mapping
from typing import Any

import jax

from widthwise.jax.plan_rows import SAME_NAMES, multiplied, rows_of_tree
from widthwise.scaling import ScalingPlan


def initialize(plan: ScalingPlan, params: Any, *, names: Mapping[str, str] = SAME_NAMES) -> Any:
    """A new tree with the plan's initial values: each leaf times the plan's factor, which is 1 at the base width.

    Call it once, on parameters that their own initializer has just drawn; it may be traced. Unlike the PyTorch plan's
    `initialize_` it does not look at values, so a second call multiplies again.

    Args:
        plan: of this model.
        params: as drawn at the plan's width.
        names: leaf -> the plan's name for it, where that is another one. See `rows_of_tree`.

    Raises:
        ValueError: another model or width.

    Example:
        >>> from widthwise.jax import plan_for_tree
        >>> from widthwise.theory import ADAM, STANDARD
        >>> def init(width, key):
        ...     return {"kernel": 0.02 * jax.random.normal(key, (width, width))}
        >>> plan = plan_for_tree(init, width=256, base_width=64, parameterization=STANDARD, optimizer=ADAM)
        >>> params = init(256, jax.random.key(0))
        >>> float((initialize(plan, params)["kernel"] / params["kernel"]).mean())   # (256 / 64)^(-1/2)
        0.5
    """
    rows = rows_of_tree(plan, params, names=names)
    return jax.tree.map(lambda leaf, row: multiplied(leaf, row.init), params, rows)
