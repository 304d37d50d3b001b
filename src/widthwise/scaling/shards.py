"""Tensors that are spread over processes (`DTensor`, as FSDP2 and tensor parallelism make them), and sums over them."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

DTENSOR = "torch.distributed.tensor"


def local_part(tensor: "Tensor") -> "Tensor":
    """This process's part of a tensor; all of it, if it is not sharded."""
    if DTENSOR not in sys.modules:  # a second to import, and nothing is sharded before that is
        return tensor
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def summed_over_shards(tensor: "Tensor", sums: tuple[float, ...]) -> tuple[float, ...]:
    """Sums over this process's part of a tensor, added up to sums over all of it: the same on every process.

    Args:
        tensor: sharded or not; where it is, every process of its mesh must call this.
        sums: over `local_part(tensor)`.
    """
    import torch

    if not torch.distributed.is_available():
        return sums
    from torch.distributed.tensor import DTensor, Partial, Replicate

    if not isinstance(tensor, DTensor):
        return sums
    here = torch.tensor(sums, dtype=torch.float64, device=tensor.to_local().device)
    parts = [Replicate() if placement.is_replicate() else Partial() for placement in tensor.placements]
    whole = DTensor.from_local(here, tensor.device_mesh, parts).full_tensor()
    return tuple(float(value) for value in whole)
