"""What each dimension of a tensor does, and the role that follows from it.

With W applied to z, a dimension is *contracted* when it is summed over, *produced* when it indexes the layer's output,
*elementwise* when it indexes output and input alike (gains, biases, the channels of a depthwise convolution), and
*stacked* when each of its slices is a tensor of its own (experts, the rows of a lookup table, of which a token takes
one and sums none).

| grows | role |
|---|---|
| a contracted dimension, and a produced or elementwise one | hidden |
| a contracted dimension, and no other that matters | readout |
| a produced dimension, contracted ones do not | embedding |
| elementwise dimensions alone | vector |
| nothing but, perhaps, the number of stacked slices | fixed |

A depthwise convolution [n, 1, k] contracts over k, which is fixed, like an embedding, and acts elementwise over its
channels, like a gain. It is a vector here: folded into the gauge a = 0, embedding and vector have the same a, b and c
under every optimizer, and a depthwise filter is decayed like the gains it resembles, not like a table.
"""

from collections.abc import Sequence
from enum import StrEnum

from widthwise.theory import Role


class Axis(StrEnum):
    """What a dimension does; unknown where shapes alone decided the role."""

    CONTRACTED = "contracted"
    PRODUCED = "produced"
    ELEMENTWISE = "elementwise"
    STACKED = "stacked"
    UNKNOWN = "unknown"


def role_of(axes: Sequence[Axis], grows: Sequence[bool]) -> Role:
    """The role of a tensor, by the table of this module's head.

    Args:
        axes: what each dimension does, none of them unknown.
        grows: whether each dimension grows with the width.

    Raises:
        ValueError: another number of axes than of dimensions.

    Example:
        >>> role_of((Axis.PRODUCED, Axis.CONTRACTED), (False, True)).value
        'readout'
        >>> role_of((Axis.ELEMENTWISE, Axis.CONTRACTED, Axis.CONTRACTED), (True, False, False)).value
        'vector'
    """
    if len(axes) != len(grows):
        raise ValueError(
            f"{len(axes)} axes {[axis.value for axis in axes]} for a tensor of {len(grows)} dimensions"
        )
    growing = {axis for axis, grow in zip(axes, grows, strict=True) if grow}
    if Axis.CONTRACTED in growing:
        return Role.HIDDEN if growing & {Axis.PRODUCED, Axis.ELEMENTWISE} else Role.READOUT
    if Axis.PRODUCED in growing:
        return Role.EMBEDDING
    return Role.VECTOR if Axis.ELEMENTWISE in growing else Role.FIXED
