"""Tables that live on a device: how they get there, how many are kept, and what a CUDA graph's capture forbids."""

from typing import TypeVar

import torch
from torch import Tensor

KEPT = 8
"""How many tables of one kind are kept."""

Key = tuple[object, ...]
Kept = TypeVar("Kept")


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """A copy on the device that the host does not wait for."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def capturing(device: torch.device) -> bool:
    """Whether what is launched on the device now is recorded instead of run."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def sets_aside(device: torch.device) -> bool:
    """Whether tables are set aside for a capture that may come."""
    return device.type == "cuda"


def refuse_capture(device: torch.device, fact: str, *, remedy: str = "run one step before capturing") -> None:
    """Complain of what a capture cannot record.

    Raises:
        ValueError: a capture is under way.
    """
    if capturing(device):
        raise ValueError(f"{fact} inside a CUDA graph capture: {remedy}")


def keep(cache: dict[Key, Kept], key: Key, value: Kept) -> None:
    """Add to a cache and drop what has been there longest; sets of parameters with gradients may change every step."""
    cache.setdefault(key, value)
    while len(cache) > KEPT:
        cache.pop(next(iter(cache)))
