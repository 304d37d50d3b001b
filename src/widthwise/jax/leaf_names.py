"""Names of a pytree's leaves: the path's keys with dots between, as `params.Dense_0.kernel`.

Dots, because rules and plans match dotted names part by part.
"""

from collections.abc import Sequence
from typing import Any

import jax
import optax

SEPARATOR = "."


def is_absent(node: object) -> bool:
    """What stands where leaves were taken out: None, or optax's MaskedNode."""
    return node is None or isinstance(node, optax.MaskedNode)


def name_of(path: Sequence[Any]) -> str:
    """A leaf's name from its path; empty for a tree that is one leaf.

    Example:
        >>> [name_of(path) for path, _ in jax.tree_util.tree_leaves_with_path({"a": [1, {"b": 2}]})]
        ['a.0', 'a.1.b']
    """
    return SEPARATOR.join(map(_part, path))


def _part(key: Any) -> str:
    """One key of a path, without the brackets and quotes that str() gives it."""
    match key:
        case jax.tree_util.DictKey() | jax.tree_util.FlattenedIndexKey():
            return str(key.key)
        case jax.tree_util.SequenceKey():
            return str(key.idx)
        case jax.tree_util.GetAttrKey():
            return key.name
        case _:
            return str(key)


def leaf_names(tree: Any) -> dict[str, Any]:
    """The leaves by their names, in the tree's order.

    Raises:
        ValueError: two leaves of one name, as in {"a.b": x, "a": {"b": y}}.

    Example:
        >>> leaf_names({"dense": {"bias": 1.0, "kernel": 2.0}})
        {'dense.bias': 1.0, 'dense.kernel': 2.0}
    """
    found: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = name_of(path)
        if name in found:
            raise ValueError(f"two leaves are called {name!r}: a key has a dot in it; rename one")
        found[name] = leaf
    return found
