"""How a population's tensors lie over the processes of a group: one part each, along one dimension of each tensor.

A tensor [P, ...] is split along its last dimension, behind the members', that the number of processes divides.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard

from widthwise.models import ReferenceModel


def shard_dimension(name: str, shape: tuple[int, ...], processes: int) -> int:
    """The dimension of [P, ...] that is split.

    Raises:
        ValueError: no dimension behind the members' is a multiple of the number of processes.

    Example:
        >>> shard_dimension("readout", (4, 128, 257), 8), shard_dimension("readout", (4, 128, 256), 8)
        (1, 2)
    """
    for dimension in reversed(range(1, len(shape))):
        if shape[dimension] % processes == 0:
            return dimension
    fitting = [n for n in range(1, processes) if any(size % n == 0 for size in shape[1:])]
    raise ValueError(
        f"{name} of shape {list(shape[1:])} has no dimension that {processes} processes divide; "
        f"use {fitting[-1]} processes or fewer that divide one"
    )


def shard_dimensions(model: ReferenceModel, processes: int) -> dict[str, int]:
    """The dimension of [P, ...] along which each tensor of a model is split.

    Raises:
        ValueError: one does not divide.
    """
    shapes = {name: (1, *tensor.shape) for name, tensor in model.tensors().items()}
    return {name: shard_dimension(name, shape, processes) for name, shape in shapes.items()}


def sequences_of(batch: int, processes: int) -> int:
    """The sequences of one process.

    Raises:
        ValueError: the processes do not divide the batch.

    Example:
        >>> sequences_of(256, 8)
        32
    """
    if batch % processes:
        raise ValueError(
            f"a batch of {batch} sequences does not divide over {processes} processes; "
            f"use a number that divides it: {[n for n in range(1, processes) if batch % n == 0]}"
        )
    return batch // processes


@dataclass(frozen=True)
class Shards:
    """A `train.placement.Placement` over all processes of the group.

    Args:
        mesh: of one axis.
        dimensions: see `shard_dimensions`.
    """

    mesh: DeviceMesh
    dimensions: Mapping[str, int]

    @classmethod
    def of(cls, model: ReferenceModel, device: torch.device) -> "Shards":
        """Over the group of this process.

        Raises:
            ValueError: the processes do not divide some tensor.
        """
        processes = dist.get_world_size()
        return cls(init_device_mesh(device.type, (processes,)), shard_dimensions(model, processes))

    @property
    def processes(self) -> int:
        """How many there are."""
        return self.mesh.size()

    @property
    def rank(self) -> int:
        """Which of them this is."""
        return self.mesh.get_local_rank()

    def part(self, name: str, whole: Tensor) -> Tensor:
        """This process's part of a tensor [P, ...], a view."""
        return whole.chunk(self.processes, self.dimensions[name])[self.rank]

    def place(self, name: str, part: Tensor) -> tuple[int, int, int]:
        """The dimension that is split, and where this process's part begins and ends."""
        dimension = self.dimensions[name]
        length = part.shape[dimension]
        return dimension, self.rank * length, (self.rank + 1) * length

    def as_dtensor(self, name: str, part: Tensor) -> DTensor:
        """A tensor as PyTorch's own kind of one that is split, from this process's part."""
        return DTensor.from_local(part, self.mesh, [Shard(self.dimensions[name])], run_check=False)

    def whole(self, name: str, part: Tensor) -> Tensor:
        """See `Placement`."""
        return self.as_dtensor(name, part).full_tensor()

    def summed(self, value: Tensor) -> Tensor:
        """See `Placement`."""
        total = value.detach().clone()
        dist.all_reduce(total, group=self.mesh.get_group())
        return total

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the processes."""
        return self.summed(value) / self.processes

    def earliest(self, value: Tensor) -> Tensor:
        """Element by element, the least number of any process that is not 0; 0 where all are."""
        least = torch.where(value == 0, torch.inf, value)
        dist.all_reduce(least, dist.ReduceOp.MIN, group=self.mesh.get_group())
        return torch.where(least == torch.inf, 0.0, least)

    def least(self, number: int) -> int:
        """See `Placement`."""
        found = torch.tensor(number, dtype=torch.int64, device=self.mesh.device_type)
        dist.all_reduce(found, dist.ReduceOp.MIN, group=self.mesh.get_group())
        return int(found)
