"""A population whose tensors are split over processes: FSDP2, each process a part of every batch and of every tensor.

    loss       the mean over the processes of their sequences' means, which are equally many
    gradient   the same mean, added up and split by FSDP2's reduce-scatter
    update     of each process's parts (`sharded_step`)

So two processes do what one does, up to the order of sums. The reference is `train.Population`, whose place it takes in
a training (`train.trainable`).

Shape legend: P members, N validation windows, B sequences, T positions.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from widthwise.train import WHOLE, ActivationPlan, Member, Recipe
from widthwise.train.micro_batch import Losses, divisors
from widthwise.train.population import DTYPES, initial_tensor, layer_functions
from widthwise.wide.sharded_module import How, ShardedModel, local
from widthwise.wide.sharded_step import sharded_step
from widthwise.wide.shards import Shards, sequences_of


class ShardedPopulation:
    """P members over all processes of the group; each calls the same methods in the same order.

    Args:
        recipe: its batch is the whole step's, over all processes.
        device: this process's.
        activations: of the whole batch: a process runs its sequences in pieces that are no longer.

    Raises:
        ValueError: the processes divide neither the batch nor some tensor.
    """

    def __init__(
        self,
        recipe: Recipe,
        members: Sequence[Member],
        device: torch.device,
        *,
        activations: ActivationPlan = WHOLE,
    ) -> None:
        self.recipe, self.activations, self._members = recipe, activations, tuple(members)
        self.shards = self.placement = Shards.of(recipe.model, device)
        self.piece = piece_of(recipe.batch, self.shards.processes, activations)
        self._module = ShardedModel(recipe.model, len(members))
        self._module.shard_(self.shards)
        self._module.to_empty(device=device)
        for name, parameter in self._module.everything().items():
            start = initial_tensor(recipe.model.tensors()[name], name, members, torch.device("cpu"))
            local(parameter).copy_(self.shards.part(name, start))
        self.parameters = {name: local(p) for name, p in self._module.everything().items()}
        self._checked = False
        decayed = any(n.decay for m in members for n in m.numbers.values())
        self.optimizer = sharded_step(
            recipe.update,
            self.parameters,
            self.shards,
            rates=self._per_member("rate", device),
            epsilons=self._per_member("epsilon", device),
            decays=self._per_member("decay", device) if decayed else None,
        )
        folded = all(n.multiplier == 1 for m in members for n in m.numbers.values())
        self.multipliers: Mapping[str, Tensor] | None = (
            None if folded else self._per_member("multiplier", device)
        )
        self.functions = layer_functions(recipe, device)
        self._how = How(
            self.multipliers, DTYPES[recipe.precision], self.functions, recompute=activations.recompute
        )

    def _per_member(self, field: str, device: torch.device) -> dict[str, Tensor]:
        return {
            name: torch.tensor(
                [getattr(m.numbers[name], field) for m in self._members], dtype=torch.float32, device=device
            )
            for name in self.recipe.model.tensors()
        }

    def split_parameters(self) -> dict[str, Tensor]:
        """Every tensor as PyTorch's own kind of one that is split."""
        return dict(self._module.everything())

    def leaves(self) -> dict[str, Tensor]:
        """Nothing: gradients come from the module."""
        return {}

    def passes(self, losses: Losses | None = None) -> "ShardedPopulation":
        """Its own; nothing here is compiled."""
        assert losses is None or losses == self.losses
        return self

    def run(self, leaves: dict[str, Tensor], tokens_PxBxT1: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean losses [P] of a whole batch, the same on every process, and gradients of this process's parts."""
        mine = tokens_PxBxT1.chunk(self.shards.processes, 1)[self.shards.rank]
        pieces = mine.split(self.piece, dim=1)
        total_P = torch.zeros(mine.shape[0], device=mine.device)
        for piece in pieces:
            losses_P = self._module(self._how, piece) / len(pieces)
            losses_P.sum().backward()
            total_P += losses_P.detach()
        gradients: dict[str, Tensor] = {}
        for name, parameter in self._module.everything().items():
            assert parameter.grad is not None
            # FSDP2 reads the memory that the optimizer writes
            assert self._checked or local(parameter).data_ptr() == self.parameters[name].data_ptr()
            gradients[name], parameter.grad = local(parameter.grad), None
        self._checked = True
        return self.shards.mean(total_P), gradients

    def losses(self, parameters: Mapping[str, Tensor], tokens_PxBxT1: Tensor) -> Tensor:
        """The mean next-token cross-entropy of each member, [P], of whole parameters."""
        return self.recipe.model.losses(self._how.weights(parameters), tokens_PxBxT1)

    def tensors(self) -> list[Tensor]:
        """Everything that a step changes, in a fixed order."""
        return self.optimizer.tensors()

    def restore_(self, values: Mapping[str, Tensor]) -> None:
        """Take on what the optimizer's `snapshot` gave, of this process."""
        self.optimizer.restore_(values)

    @torch.no_grad()
    def validation_losses(self, windows_NxT1: Tensor) -> Tensor:
        """The mean loss of each member over held-out windows, [P].

        Every process takes as many of them as every other; the few that are left over, all of them take.
        """
        processes, count = self.shards.processes, len(windows_NxT1)
        shared = count // processes * processes
        mine = windows_NxT1[:shared].chunk(processes)[self.shards.rank] if shared else windows_NxT1[:0]
        total_P = self.shards.summed(self._total(mine)) + self._total(windows_NxT1[shared:])
        assert isinstance(self._module, FSDPModule)
        self._module.reshard()  # without a backward pass the ends stay whole, and what parts become is not seen
        return total_P / count

    def _total(self, windows_NxT1: Tensor) -> Tensor:
        members = len(self._members)
        total_P = torch.zeros(members, dtype=torch.float64, device=windows_NxT1.device)
        for piece in windows_NxT1.split(self.piece) if len(windows_NxT1) else ():
            losses_P = self._module(self._how, piece.expand(members, *piece.shape))
            total_P += losses_P.double() * len(piece)
        return total_P


def piece_of(batch: int, processes: int, activations: ActivationPlan) -> int:
    """The sequences of one piece of a process's part of a batch: as few pieces as keep to the plan's length.

    Raises:
        ValueError: the batch does not divide over the processes, or into the plan's pieces.

    Example:
        >>> piece_of(256, 8, ActivationPlan(micro_batches=16)), piece_of(256, 8, ActivationPlan(micro_batches=4))
        (16, 32)
    """
    mine, longest = sequences_of(batch, processes), activations.sequences(batch)
    return max(size for size in divisors(mine) if size <= longest)
