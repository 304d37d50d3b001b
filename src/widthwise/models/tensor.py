"""What a reference model says about its tensors, and what all of them check."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelTensor:
    """The shape of one member's tensor, and how it starts.

    Args:
        shape: without the leading member axis.
        drawn: True for independent normal draws, False for a constant (the gains of a layer norm).
        multiplied: whether all that is done with it is matrix products, which may be of low precision.
    """

    shape: tuple[int, ...]
    drawn: bool
    multiplied: bool = False


def count_parameters(tensors: Mapping[str, ModelTensor]) -> int:
    """The number of parameters of one member.

    Example:
        >>> count_parameters({"readout": ModelTensor((64, 256), drawn=True)})
        16384
    """
    return sum(math.prod(tensor.shape) for tensor in tensors.values())


def require_positive(sizes: Mapping[str, int]) -> None:
    """Check that every size of a model is at least 1.

    Raises:
        ValueError: one is not.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}; it must be at least 1")
