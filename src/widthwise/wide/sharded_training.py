"""A population whose tensors are split over processes: FSDP2, each process a part of every batch and of every tensor.

    loss       the mean over the processes of their sequences' means, which are equally many
    gradient   the same mean, added up and split by FSDP2's reduce-scatter
    update     elementwise ones on each process's part; Adafactor, whose means run over whole tensors, on one whole
               tensor at a time, the same on every process

So two processes do what one does, up to the order of sums. Sizes are sums over parts, reduced before any root or
logarithm is taken. The reference is `train.Population`.

Shape legend: P members, B sequences, T positions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from widthwise.models import Transformer
from widthwise.optim import AdafactorUpdate, AdamAtan2Update, AdamUpdate, State
from widthwise.train import Member, Precision, Recipe
from widthwise.train.population import initial_tensor, layer_functions
from widthwise.wide.processes import mean_over_processes, sum_over_processes
from widthwise.wide.sharded_module import How, ShardedTransformer, shard_dimension


class ShardedTraining:
    """P members over all processes of the group, and their steps.

    Args:
        recipe: its batch is the whole step's, over all processes.
        members: of one data seed, or with tokens of their own: see `step`.
        device: this process's.
        recompute: keep nothing of a block but its input.

    Raises:
        ValueError: the model is not a Transformer, or the processes divide neither the batch nor some tensor.
    """

    def __init__(
        self,
        recipe: Recipe,
        members: Sequence[Member],
        device: torch.device,
        *,
        recompute: bool = False,
    ) -> None:
        model, world = recipe.model, dist.get_world_size()
        if not isinstance(model, Transformer):
            raise ValueError(f"sharded training is for the Transformer, not {type(model).__name__}")
        if recipe.batch % world:
            raise ValueError(
                f"a batch of {recipe.batch} sequences does not divide over {world} processes; "
                f"use a number that divides it: {[n for n in range(1, world) if recipe.batch % n == 0]}"
            )
        self.recipe, self.members, self.device, self.steps = recipe, tuple(members), device, 0
        self._module = ShardedTransformer(model, len(members))
        self.dimensions = {
            name: shard_dimension(name, tuple(parameter.shape), world)
            for name, parameter in self._module.everything().items()
        }
        self._module.shard_(init_device_mesh(device.type, (world,)))
        self._module.to_empty(device=device)
        self.states: dict[str, State] = {}
        for name, parameter in self._module.everything().items():
            start = initial_tensor(model.tensors()[name], name, members, torch.device("cpu"))
            self.part(parameter).copy_(start.chunk(world, self.dimensions[name])[dist.get_rank()])
            self.states[name] = recipe.update.initial_state(self._seen(name, self.part(parameter), start))
        numbers = {field: self._per_member(field) for field in ("rate", "epsilon", "multiplier")}
        self._rates, self._epsilons, multipliers = numbers["rate"], numbers["epsilon"], numbers["multiplier"]
        folded = all((multiplier == 1).all() for multiplier in multipliers.values())
        dtype = torch.float32 if recipe.precision is Precision.FLOAT32 else torch.bfloat16
        functions = layer_functions(recipe, device)
        self._how = How(None if folded else multipliers, dtype, functions, recompute=recompute)

    def _per_member(self, field: str) -> dict[str, Tensor]:
        return {
            name: torch.tensor([getattr(m.numbers[name], field) for m in self.members], device=self.device)
            for name in self.dimensions
        }

    def _seen(self, name: str, part: Tensor, whole: Tensor) -> Tensor:
        """What an update sees of a tensor: this process's part, or, for Adafactor, all of it."""
        return whole.to(self.device) if isinstance(self.recipe.update, AdafactorUpdate) else part

    @staticmethod
    def part(tensor: Tensor) -> Tensor:
        """This process's part."""
        assert isinstance(tensor, DTensor)
        return tensor.to_local().detach()

    def parameters(self) -> dict[str, Tensor]:
        """Every tensor, split over the processes."""
        return dict(self._module.everything())

    def step(self, tokens_PxBxT1: Tensor) -> Tensor:
        """Train one step on a whole batch, the same on every process; its mean losses [P] before the step."""
        losses_P = self._module(self._how, self._mine(tokens_PxBxT1))
        losses_P.sum().backward()
        self.steps += 1
        for name, parameter in self._module.everything().items():
            gradient, parameter.grad = parameter.grad, None
            assert gradient is not None
            self._move(name, parameter, gradient)
        return mean_over_processes(losses_P)

    def _mine(self, tokens_PxBxT1: Tensor) -> Tensor:
        return tokens_PxBxT1.chunk(dist.get_world_size(), 1)[dist.get_rank()]

    @torch.no_grad()
    def _move(self, name: str, parameter: Tensor, gradient: Tensor) -> None:
        """One tensor's step."""
        update, part = self.recipe.update, self.part(parameter)
        rate_P = self._rates[name] * self.recipe.schedule.factor(self.steps)
        whole = isinstance(update, AdafactorUpdate)
        assert isinstance(parameter, DTensor)
        assert isinstance(gradient, DTensor)
        theta, g = (t.full_tensor() if whole else t.to_local() for t in (parameter, gradient))
        if isinstance(update, AdamUpdate | AdamAtan2Update) and update.parameter_scaling is not None:
            rate_P = rate_P * self.sizes({name: parameter})[name].float().clamp_min(
                update.parameter_scaling.floor
            )
            update = replace(update, parameter_scaling=None)
        moved, self.states[name] = update.step(
            theta,
            g,
            self.states[name],
            step=torch.full((len(self.members),), float(self.steps), device=self.device),
            rate=rate_P,
            epsilon=self._epsilons[name],
        )
        if whole:
            moved = moved.chunk(dist.get_world_size(), self.dimensions[name])[dist.get_rank()]
        part.copy_(moved)

    def sizes(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The root mean square of each member's tensor, [P] float64: squares are summed over all parts first."""
        found: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            squares_P = self.part(tensor).double().square().flatten(1).sum(1)
            found[name] = (sum_over_processes(squares_P) / tensor[0].numel()).sqrt()
        return found
