"""How much an optimizer keeps of a tensor, from its shape alone."""

from functools import lru_cache
from typing import NamedTuple

import torch

from widthwise.optim import MemberUpdate


class StateSize(NamedTuple):
    """Of one member: how many numbers, in how many bytes."""

    numbers: int
    bytes: int


@lru_cache(maxsize=4096)
def state_size(update: MemberUpdate, shape: tuple[int, ...]) -> StateSize:
    """The size of one tensor's state; a model has the same few shapes in every block.

    Example:
        >>> from widthwise.optim import AdamUpdate
        >>> state_size(AdamUpdate(0.9, 0.98), (64, 256))
        StateSize(numbers=32768, bytes=131072)
    """
    state = update.initial_state(torch.empty(1, *shape, device="meta")).values()
    return StateSize(sum(s.numel() for s in state), sum(s.numel() * s.element_size() for s in state))
