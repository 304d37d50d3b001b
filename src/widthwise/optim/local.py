"""The part of a sharded tensor that is on this process.

Adam-atan2 works element by element, so that each process can update its own shard.
"""

from torch import Tensor
from torch.nn import Parameter

from widthwise.optim.address_table import Columns

ORDINARY = (Tensor, Parameter)


def local_columns(columns: Columns) -> Columns:
    """The local part of every tensor of a group; moments are sharded as their parameters are."""
    if all(type(parameter) in ORDINARY for parameter in columns.parameters):
        return columns
    local = (local_tensors(tensors) for tensors in columns[:6])
    return Columns(*local, columns.indices)  # pyright: ignore[reportCallIssue]


def local_tensors(tensors: list[Tensor]) -> list[Tensor]:
    """Ordinary tensors as they are, a DTensor's local shard in its place; shards share memory with the DTensor.

    Raises:
        ValueError: a DTensor holds partial sums.
    """
    return [local_tensor(tensor) for tensor in tensors]


def local_tensor(tensor: Tensor) -> Tensor:
    """See `local_tensors`."""
    if type(tensor) in ORDINARY:  # an import costs more than all else, for thousands of tensors
        return tensor
    from torch.distributed.tensor import DTensor

    if not isinstance(tensor, DTensor):
        return tensor
    if any(placement.is_partial() for placement in tensor.placements):
        raise ValueError(
            f"a tensor with placements {tensor.placements}: reduce it before the optimizer's step"
        )
    return tensor.to_local()
