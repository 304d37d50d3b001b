"""A reference Transformer as a module that FSDP2 shards: one unit a block, one for the two ends.

A tensor [P, ...] is split along its last dimension, behind the members', that the number of processes divides.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard

from widthwise.models import LayerFunctions, Transformer, Weights
from widthwise.models.layers import recomputed


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


class Part(nn.Module):
    """Some tensors of a model, by name, and what is computed with them."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.names = list(shapes)
        for name, shape in shapes.items():
            self.register_parameter(_key(name), nn.Parameter(torch.empty(shape, device="meta")))

    def named(self) -> dict[str, nn.Parameter]:
        """The parameters by the model's names."""
        return {name: self.get_parameter(_key(name)) for name in self.names}


class BlockPart(Part):
    """One block: attention and MLP."""

    def __init__(self, model: Transformer, block: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__(shapes)
        self._model, self._name = model, f"blocks.{block}"

    def forward(
        self, how: "How", x_PxNxD: Tensor, y_PxNxD: Tensor | None, sequences: int
    ) -> tuple[Tensor, Tensor]:
        """The residual stream behind the block, x + y."""

        def run(x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
            return self._model.block(how.weights(dict(self.named())), self._name, x, y, sequences)

        return (recomputed(run) if how.recompute else run)(x_PxNxD, y_PxNxD)


class How:
    """What a forward pass needs beside parameters: multipliers, precision, layers, and whether to recompute blocks."""

    def __init__(
        self,
        multipliers: Mapping[str, Tensor] | None,
        dtype: torch.dtype,
        functions: LayerFunctions,
        *,
        recompute: bool,
    ) -> None:
        self._multipliers, self._dtype, self._functions = multipliers, dtype, functions
        self.recompute = recompute

    def weights(self, parameters: dict[str, Tensor]) -> Weights:
        """Parameters as the model reads them."""
        return Weights(parameters, self._multipliers, self._dtype, self._functions)


class ShardedTransformer(Part):
    """The whole model: the ends are its own tensors, the blocks its children."""

    def __init__(self, model: Transformer, members: int) -> None:
        shapes = {name: (members, *tensor.shape) for name, tensor in model.tensors().items()}
        super().__init__({name: shape for name, shape in shapes.items() if not name.startswith("blocks.")})
        self.model = model
        self.blocks = nn.ModuleList(
            BlockPart(model, i, {n: s for n, s in shapes.items() if n.startswith(f"blocks.{i}.")})
            for i in range(model.depth)
        )

    def forward(self, how: How, tokens_PxBxT1: Tensor) -> Tensor:
        """The mean next-token cross-entropy of each member over this process's sequences, [P]."""
        w = how.weights(dict(self.named()))
        x_PxNxD = w.embed(tokens_PxBxT1[..., :-1], "token_embedding", "position_embedding")
        y_PxNxD = None
        for block in self.blocks:
            x_PxNxD, y_PxNxD = block(how, x_PxNxD, y_PxNxD, tokens_PxBxT1.shape[1])
        h_PxNxD = w.add_norm(x_PxNxD, y_PxNxD, "final_norm")[1]
        return w.readout_loss(h_PxNxD, "readout", tokens_PxBxT1[..., 1:].flatten(1))

    def everything(self) -> dict[str, nn.Parameter]:
        """All parameters by name, in the model's order."""
        found = self.named()
        for block in self.blocks:
            assert isinstance(block, BlockPart)
            found |= block.named()
        return {name: found[name] for name in self.model.tensors()}

    def shard_(self, mesh: DeviceMesh) -> None:
        """Split every tensor over the mesh.

        Raises:
            ValueError: a tensor does not divide.
        """
        dimensions = {
            parameter: shard_dimension(name, tuple(parameter.shape), mesh.size())
            for name, parameter in self.everything().items()
        }
        for unit in (*self.blocks, self):
            fully_shard(unit, mesh=mesh, shard_placement_fn=lambda p: Shard(dimensions[p]))


def _key(name: str) -> str:
    return name.replace(".", "_")
