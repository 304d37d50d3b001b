"""The sizes of all tensors at once: reductions are queued on every device, then each device is waited for once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from widthwise.measure.adam_moments import Moments
from widthwise.measure.moment_sizes import device_sizes
from widthwise.measure.size_summary import Sizes, host_sizes, without_state

if TYPE_CHECKING:
    pass


def sizes_of(moments: Sequence[Moments]) -> list[Sizes]:
    """The sizes of every tensor: reductions are queued on all devices first, then each device is waited for once."""
    queued: dict[torch.device, list[tuple[int, Tensor]]] = {}
    for place, entry in enumerate(moments):
        if entry.second is not None and entry.parameter.numel():
            with torch.no_grad():
                parts = _of_all_processes(entry.second, device_sizes(entry))
            queued.setdefault(parts.device, []).append((place, parts))
    read: dict[int, Tensor] = {}
    for entries in queued.values():
        here = torch.cat([parts.reshape(-1) for _, parts in entries]).cpu()
        pieces = here.split([parts.numel() for _, parts in entries])
        read |= {
            place: piece.view(parts.shape) for (place, parts), piece in zip(entries, pieces, strict=True)
        }
    return [
        host_sizes(read[place], coordinates=_coordinates(entry), double=_is_double(entry))
        if place in read
        else without_state(entry.parameter.numel())
        for place, entry in enumerate(moments)
    ]


def _coordinates(moments: Moments) -> int:
    assert moments.second is not None
    return moments.second.numel() * (2 if moments.second.is_complex() else 1)


def _is_double(moments: Moments) -> bool:
    return moments.second is not None and moments.second.dtype in (torch.float64, torch.complex128)


def _of_all_processes(tensor: Tensor, numbers: Tensor) -> Tensor:
    """[parts, numbers]: one row, or one for each process with a part of its own."""
    if not torch.distributed.is_available():
        return numbers[None]
    from torch.distributed.tensor import DTensor, Replicate, Shard

    if not isinstance(tensor, DTensor):
        return numbers[None]
    parts = [Replicate() if placement.is_replicate() else Shard(0) for placement in tensor.placements]
    whole: DTensor = DTensor.from_local(numbers[None], tensor.device_mesh, parts)
    return whole.full_tensor()
