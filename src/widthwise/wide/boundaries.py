"""Block inputs between the passes of a step, by level and piece, on the device or in pinned host memory."""

import torch
from torch import Tensor

from widthwise.wide.storage import Place


class Boundaries:
    """Slots for tensors [1, N, D]: one for each level (block input) and piece of a batch.

    Copies to and from the host follow the device's own order of work: nothing here waits.
    """

    def __init__(self, place: Place, device: torch.device) -> None:
        self._host = place is Place.HOST and device.type == "cuda"
        self._device = device
        self._slots: dict[tuple[int, int], Tensor] = {}

    def put(self, level: int, piece: int, value: Tensor) -> None:
        """Keep a tensor, in the place of the one that was there."""
        value = value.detach()
        if not self._host:
            self._slots[level, piece] = value
            return
        slot = self._slots.get((level, piece))
        if slot is None or slot.shape != value.shape or slot.dtype != value.dtype:
            slot = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
            self._slots[level, piece] = slot
        slot.copy_(value, non_blocking=True)

    def get(self, level: int, piece: int) -> Tensor:
        """The tensor of a slot, on the device."""
        return self._slots[level, piece].to(self._device, non_blocking=True)

    def drop(self, level: int, piece: int) -> None:
        """Give a slot's memory back; the host's stays for the next step."""
        if not self._host:
            del self._slots[level, piece]
