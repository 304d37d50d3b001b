"""Roles and initial constants of the reference models' tensors, by name pattern: the one place where they are stated.

The constant s is the standard deviation that the standard parameterization gives at n = 1: W ~ N(0, s^2 n^(-2b)). It is
1 where the fan-in is n; a fan-in of 4n needs 1/2; the ReLU chain needs sqrt(2) to keep its activations' size.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from widthwise.theory import Role


@dataclass(frozen=True)
class TensorRole:
    """What scaling knows of a tensor: its role, and the constant s of its initial value."""

    role: Role
    constant: float


TRANSFORMER_ROLES: Mapping[str, TensorRole] = {
    "token_embedding": TensorRole(Role.EMBEDDING, 1.0),
    "position_embedding": TensorRole(Role.EMBEDDING, 1.0),
    "blocks.*.attention.norm": TensorRole(Role.VECTOR, 1.0),
    "blocks.*.attention.qkv": TensorRole(Role.HIDDEN, 1.0),
    "blocks.*.attention.output": TensorRole(Role.HIDDEN, 1.0),
    "blocks.*.mlp.norm": TensorRole(Role.VECTOR, 1.0),
    "blocks.*.mlp.up": TensorRole(Role.HIDDEN, 1.0),
    "blocks.*.mlp.down": TensorRole(Role.HIDDEN, 0.5),
    "final_norm": TensorRole(Role.VECTOR, 1.0),
    "readout": TensorRole(Role.READOUT, 1.0),
}


def mlp_roles(window: int) -> Mapping[str, TensorRole]:
    """The MLP's roles; its first layer sums `window` rows, so each has variance 2 / window (ReLU follows)."""
    return {
        "first_layer": TensorRole(Role.EMBEDDING, math.sqrt(2 / window)),
        "hidden.*": TensorRole(Role.HIDDEN, math.sqrt(2)),
        "readout": TensorRole(Role.READOUT, 1.0),
    }


def assign_roles(names: Iterable[str], rules: Mapping[str, TensorRole]) -> dict[str, TensorRole]:
    """Give every tensor the role of the one pattern that matches its name.

    Raises:
        ValueError: a tensor that no pattern or more than one matches, or a pattern that matches nothing.

    Example:
        >>> assign_roles(["readout", "hidden.0", "first_layer"], mlp_roles(4))["hidden.0"].role.value
        'hidden'
    """
    unused = set(rules)
    roles: dict[str, TensorRole] = {}
    for name in names:
        matches = [pattern for pattern in rules if fnmatchcase(name, pattern)]
        if len(matches) != 1:
            found = f"{len(matches)} role patterns {matches}" if matches else "no role pattern"
            raise ValueError(f"tensor {name!r} is matched by {found}; it needs exactly one of {list(rules)}")
        unused.discard(matches[0])
        roles[name] = rules[matches[0]]
    if unused:
        raise ValueError(f"role patterns {sorted(unused)} match no tensor of {sorted(roles)}; remove them")
    return roles
