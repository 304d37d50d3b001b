"""What describing needs of a pytree at some widths: shapes, without any numbers, and draws at small widths.

jax.eval_shape  ->  skeletons at any width, at no cost
real draws      ->  sums of a pair of draws at small widths
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from widthwise.jax.layout import Layout
from widthwise.jax.leaf_names import SEPARATOR, leaf_names
from widthwise.scaling.draws import Pair
from widthwise.scaling.skeleton import Parameter, Skeleton

Init = Callable[[int, jax.Array], Any]
"""(width, key) -> a pytree of freshly drawn parameters."""


def read_tree_skeletons(
    init: Init, widths: Sequence[int], *, layout: Layout, tied: Mapping[str, str]
) -> tuple[Skeleton, ...]:
    """The skeletons at several widths.

    Args:
        init: draws the parameters of a width; only traced here.
        widths: ascending.
        layout: stands as the owner of every leaf.
        tied: second names of leaves that are used twice -> the leaf's own name.

    Raises:
        ValueError: a tree without leaves, or with one that is not of real floating-point numbers; two leaves of one
            name; a tie to a leaf that is not there, or under a name that is taken.

    Example:
        >>> from widthwise.jax.layout import FLAX
        >>> def init(width, key):
        ...     return {"kernel": jax.random.normal(key, (4, width))}
        >>> read_tree_skeletons(init, (8, 1 << 20), layout=FLAX, tied={})[1].parameters["kernel"].shape
        (4, 1048576)
    """
    return tuple(_read(init, width, layout, tied) for width in widths)


def _read(init: Init, width: int, layout: Layout, tied: Mapping[str, str]) -> Skeleton:
    shapes = leaf_names(jax.eval_shape(lambda key: init(width, key), jax.random.key(0)))
    if not shapes:
        raise ValueError(f"init({width}, key) returned a tree without leaves; there is nothing to scale")
    for name, leaf in shapes.items():
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                f"{name or 'the only leaf'} is {leaf.dtype}, not real floating-point numbers: return the parameters "
                "alone, without counters, keys or statistics"
            )
    for alias, name in tied.items():
        if name not in shapes or alias in shapes:
            fact = f"{name!r} is no leaf" if name not in shapes else f"{alias!r} is a leaf of its own"
            raise ValueError(
                f"tied={{{alias!r}: {name!r}}}, but {fact}; give a new name for the readout and the leaf that it "
                f"uses, one of {', '.join(shapes)}"
            )
    uses = {name: name for name in shapes} | dict(tied)
    parameters = {
        use: Parameter(tuple(shapes[name].shape), layout, use.rpartition(SEPARATOR)[2], trainable=True)
        for use, name in uses.items()
    }
    ties = tuple((name, *(alias for alias, leaf in tied.items() if leaf == name)) for name in shapes)
    return Skeleton(width, parameters, ties, {})


def draw_tree_pair(init: Init, width: int, pair: int) -> Mapping[str, Pair]:
    """One pair of draws at one width, under the keys 2 pair and 2 pair + 1; leaves without entries are left out.

    Raises:
        ValueError: an entry that is not finite.

    Example:
        >>> def init(width, key):
        ...     return {"kernel": jax.random.normal(key, (2, width)), "scale": jnp.ones(width)}
        >>> sums = draw_tree_pair(init, 8, 0)
        >>> sums["kernel"].differing, sums["kernel"].shape, sums["scale"].value
        (16, (8, 2), 1.0)
    """
    one, other = (_drawn(init, width, seed) for seed in (2 * pair, 2 * pair + 1))
    unset = {name for draw in (one, other) for name, leaf in draw.items() if not np.isfinite(leaf).all()}
    if unset:
        raise ValueError(
            f"init({width}, key) drew entries that are not finite in {', '.join(sorted(unset))}: correct its "
            "initializers"
        )
    return {name: _reduce(leaf, other[name]) for name, leaf in one.items() if leaf.size}


def _drawn(init: Init, width: int, seed: int) -> dict[str, np.ndarray]:
    """The leaves in float64, on the host: eager operations would be compiled for every shape."""
    leaves = jax.device_get(leaf_names(init(width, jax.random.key(seed))))
    return {name: np.asarray(leaf).astype(np.float64) for name, leaf in leaves.items()}


def _reduce(one: np.ndarray, other: np.ndarray) -> Pair:
    """The sums. The shape is reversed: fans are counted in PyTorch's order, [out, in, *window]."""
    x, y = one.ravel(), other.ravel()
    difference = x - y
    changed = difference != 0
    differing = int(changed.sum())
    over = changed if differing else slice(None)
    constant = not differing and bool((x == x[0]).all())
    return Pair(
        shape=tuple(reversed(one.shape)),
        differing=differing,
        differences=float((difference**2).sum()),
        fourths=float((difference**4).sum()),
        squares=float(((x[over] ** 2 + y[over] ** 2) / 2).sum()),
        value=float(x[0]) if constant else None,
        zeros=int((x[changed] == 0).sum() + (y[changed] == 0).sum()),
    )
