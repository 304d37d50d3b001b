"""The plan's row of every leaf: where a table keyed by names meets a pytree. Nothing is attached to an array."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from widthwise.jax.leaf_names import SEPARATOR, is_absent, leaf_names, name_of
from widthwise.scaling import PlanRow, ScalingPlan
from widthwise.scaling.parameter_names import SHOWN, check_shapes

SAME_NAMES: Mapping[str, str] = MappingProxyType({})
"""Every leaf has its own name in the plan."""


def rows_of_tree(plan: ScalingPlan, tree: Any, *, names: Mapping[str, str] = SAME_NAMES) -> Any:
    """A tree like `tree` with the plan's row in the place of every leaf.

    Args:
        plan: of this model, by `plan_for_tree`; or of its twin in PyTorch, with `names`.
        tree: of parameters, gradients or updates, or of their shapes. What optax has masked, or None, stays.
        names: leaf -> the plan's name for it, where that is another one. The dimensions of such a leaf may stand in
            another order than the plan's, as in a kernel, which is a transposed weight.

    Raises:
        ValueError: leaves without a row, rows without a leaf, names of no leaf, or shapes of another width.

    Example:
        >>> from widthwise.jax import plan_for_tree
        >>> from widthwise.theory import ADAM, STANDARD
        >>> def init(width, key):
        ...     return {"kernel": jax.random.normal(key, (width, width)) / width**0.5}
        >>> plan = plan_for_tree(init, width=64, base_width=16, parameterization=STANDARD, optimizer=ADAM)
        >>> rows_of_tree(plan, init(64, jax.random.key(0)))["kernel"].rate
        0.25
        >>> rows_of_tree(plan, {"kernel": jnp.ones((64, 64)), "bias": jnp.ones(64)})
        Traceback (most recent call last):
        ...
        ValueError: this plan is for another tree: the tree alone has bias
    """
    leaves = leaf_names(tree)
    _check_names(leaves, names)
    places, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_absent)
    absent = [name_of(path) for path, leaf in places if is_absent(leaf)]
    _check_rows(plan, leaves, names, absent)
    rows = {name: plan.rows[names.get(name, name)] for name in leaves}
    check_shapes(
        cast("Any", {name: leaf for name, leaf in leaves.items() if name not in names}), rows, plan.width
    )
    _check_sizes({name: np.shape(leaves[name]) for name in names}, rows, plan.width)
    found = [leaf if is_absent(leaf) else rows[name_of(path)] for path, leaf in places]
    return jax.tree_util.tree_unflatten(structure, found)


def multiplied(leaf: jax.Array, factor: float) -> jax.Array:
    """leaf * factor, a low precision's in float32 and rounded once; by 1, the leaf itself.

    Example:
        >>> multiplied(jnp.bfloat16(3), 1.0).dtype.name, float(multiplied(jnp.float32(3), 0.5))
        ('bfloat16', 1.5)
    """
    if factor == 1.0:
        return leaf
    wide = jnp.promote_types(leaf.dtype, jnp.float32)
    return (leaf.astype(wide) * factor).astype(leaf.dtype)


def _check_names(leaves: Mapping[str, Any], names: Mapping[str, str]) -> None:
    unknown = [name for name in names if name not in leaves]
    if unknown:
        raise ValueError(f"names has {_listed(unknown)}, which is no leaf; leaves are {', '.join(leaves)}")


def _check_rows(
    plan: ScalingPlan, leaves: Mapping[str, Any], names: Mapping[str, str], absent: list[str]
) -> None:
    wanted: dict[str, str] = {}
    for name in leaves:
        row = names.get(name, name)
        if row in wanted:
            raise ValueError(f"{wanted[row]} and {name} would both have the plan's {row}; correct names")
        wanted[row] = name
    own = {row: name for name, row in names.items()}
    missing = [row for row in plan.rows if row not in wanted and not _below(own.get(row, row), absent)]
    unknown = [name for row, name in wanted.items() if row not in plan.rows]
    if missing or unknown:
        facts = (("the plan alone has", missing), ("the tree alone has", unknown))
        raise ValueError(
            "this plan is for another tree: "
            + "; ".join(f"{what} {_listed(some)}" for what, some in facts if some)
        )


def _below(name: str, absent: list[str]) -> bool:
    """Whether a leaf would be at, or below, a place where something was taken out."""
    return any(not place or name == place or name.startswith(place + SEPARATOR) for place in absent)


def _check_sizes(shapes: Mapping[str, tuple[int, ...]], rows: Mapping[str, PlanRow], width: int) -> None:
    """`check_shapes` for leaves whose dimensions may stand in another order."""
    for name, shape in shapes.items():
        planned = rows[name].shape
        known = [size for size in planned if size is not None]
        rest = list(shape)
        for size in known:
            if size in rest:
                rest.remove(size)
        if len(shape) != len(planned) or len(rest) != len(planned) - len(known):
            expected = ", ".join("?" if size is None else str(size) for size in planned)
            raise ValueError(
                f"{name} has shape {list(shape)}; at the plan's width {width} its dimensions are {expected}, in any "
                "order: correct names, or give parameters of that width"
            )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
