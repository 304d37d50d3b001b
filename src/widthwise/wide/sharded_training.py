"""Steps of a sharded population in a loop of one's own; `train_sharded` is the loop that studies train by.

Shape legend: P members, B sequences, T positions.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from widthwise.train import WHOLE, ActivationPlan, Member, Recipe
from widthwise.wide.sharded_module import local
from widthwise.wide.sharded_population import ShardedPopulation
from widthwise.wide.sharded_step import root_mean_squares


class ShardedTraining:
    """P members over all processes of the group, and their steps.

    Args:
        recipe: its batch is the whole step's, over all processes.
        members: of one data seed, or with tokens of their own: see `step`.
        device: this process's.
        activations: pieces of the whole batch, and whether blocks are recomputed.

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
        self.recipe, self.members, self.device, self.steps = recipe, tuple(members), device, 0
        self.population = ShardedPopulation(recipe, members, device, activations=activations)

    @staticmethod
    def part(tensor: Tensor) -> Tensor:
        """This process's part."""
        return local(tensor)

    def parameters(self) -> dict[str, Tensor]:
        """Every tensor, split over the processes."""
        return self.population.split_parameters()

    def step(self, tokens_PxBxT1: Tensor) -> Tensor:
        """Train one step on a whole batch, the same on every process; its mean losses [P] before the step."""
        losses_P, gradients = self.population.run({}, tokens_PxBxT1)
        self.steps += 1
        self.population.optimizer.step_(gradients, factor=self.recipe.schedule.factor(self.steps))
        return losses_P

    def sizes(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The root mean square of each member's tensor, [P] float64: squares are summed over all parts first."""
        return root_mean_squares({name: local(t) for name, t in tensors.items()}, self.population.shards)
