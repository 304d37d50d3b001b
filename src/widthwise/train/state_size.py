"""How much an optimizer keeps of a tensor or of a model, from shapes alone."""

import math
from functools import lru_cache
from typing import NamedTuple

from widthwise.models import ReferenceModel
from widthwise.optim import MemberUpdate

FLOAT = 4
"""State is float32, as parameters are."""


class StateSize(NamedTuple):
    """Of one member: how many numbers, in how many bytes."""

    numbers: int
    bytes: int


def state_size(update: MemberUpdate, shape: tuple[int, ...]) -> StateSize:
    """The size of one tensor's state.

    Example:
        >>> from widthwise.optim import AdamUpdate
        >>> state_size(AdamUpdate(0.9, 0.98), (64, 256))
        StateSize(numbers=32768, bytes=131072)
    """
    numbers = sum(map(math.prod, update.state_shapes(shape).values()))
    return StateSize(numbers, FLOAT * numbers)


@lru_cache(maxsize=1024)
def model_state(update: MemberUpdate, model: ReferenceModel) -> StateSize:
    """The size of a model's state: summed up once, as a population's size is sought among many ways to run it."""
    numbers = sum(state_size(update, tensor.shape).numbers for tensor in model.tensors().values())
    return StateSize(numbers, FLOAT * numbers)
