"""A reference model as a module that FSDP2 shards: a unit for each block and one for the ends, or one for all."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor import Shard as SplitAlong

from widthwise.models import LayerFunctions, ReferenceModel, Transformer, Weights
from widthwise.models.layers import recomputed
from widthwise.wide.shards import Shards


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

    def weights(self, parameters: Mapping[str, Tensor]) -> Weights:
        """Parameters as the model reads them."""
        return Weights(parameters, self._multipliers, self._dtype, self._functions)


class ShardedModel(Part):
    """The whole model: a Transformer's blocks are its children, all else is its own."""

    def __init__(self, model: ReferenceModel, members: int) -> None:
        shapes = {name: (members, *tensor.shape) for name, tensor in model.tensors().items()}
        depth = model.depth if isinstance(model, Transformer) else 0
        super().__init__({n: s for n, s in shapes.items() if not (depth and n.startswith("blocks."))})
        self.model = model
        self.blocks = nn.ModuleList(
            BlockPart(model, i, {n: s for n, s in shapes.items() if n.startswith(f"blocks.{i}.")})
            for i in range(depth)
            if isinstance(model, Transformer)
        )

    def forward(self, how: How, tokens_PxBxT1: Tensor) -> Tensor:
        """The mean next-token cross-entropy of each member over this process's sequences, [P]."""
        w = how.weights(dict(self.named()))
        if not self.blocks:
            return self.model.losses(w, tokens_PxBxT1)
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

    def shard_(self, shards: Shards) -> None:
        """Split every tensor."""
        dimensions = {p: shards.dimensions[name] for name, p in self.everything().items()}
        for unit in (*self.blocks, self):
            fully_shard(unit, mesh=shards.mesh, shard_placement_fn=lambda p: SplitAlong(dimensions[p]))


def local(tensor: Tensor) -> Tensor:
    """This process's part of a split tensor, without history; the same memory."""
    assert isinstance(tensor, DTensor)
    return tensor.to_local().detach()


def _key(name: str) -> str:
    return name.replace(".", "_")
