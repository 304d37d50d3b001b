"""Roles: what a tensor's contraction runs over decides how it scales with the width n.

| role | the contraction runs over | examples |
|---|---|---|
| embedding | a dimension that does not grow | token and position tables, the first layer |
| hidden | a dimension that grows, into one that grows | attention and MLP matrices |
| readout | a dimension that grows, into one that does not | the logits' matrix |
| vector | nothing: it acts elementwise on a dimension that grows | gains of a layer norm, biases |
| fixed | nothing, and no dimension grows | gains of a per-head norm, the logits' bias |
"""

from enum import StrEnum


class Role(StrEnum):
    """The role of a tensor in the width limit."""

    EMBEDDING = "embedding"
    HIDDEN = "hidden"
    READOUT = "readout"
    VECTOR = "vector"
    FIXED = "fixed"


MATRIX_ROLES = (Role.EMBEDDING, Role.HIDDEN, Role.READOUT)
"""The three roles of the paper's network, in its order: first layer, hidden layers, readout."""
