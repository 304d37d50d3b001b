"""What a training loop asks of the population that it trains, wherever that keeps its tensors.

`Population` keeps them in this process; `wide.ShardedPopulation` keeps a part of each in every process of a group.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from widthwise.models import LayerFunctions
from widthwise.optim import State
from widthwise.train.member import Member, Recipe
from widthwise.train.micro_batch import ActivationPlan, Losses
from widthwise.train.placement import Placement


class MemberOptimizer(Protocol):
    """The optimizer of P members; see `optim.PopulationStep`."""

    @property
    def state(self) -> dict[str, State]:
        """Its state by tensor, this process's parts."""
        ...

    @property
    def fused(self) -> bool:
        """Whether it steps in place, as a recorded step needs."""
        ...

    def step_(self, gradients: Mapping[str, Tensor], *, factor: float | Tensor) -> None:
        """Move every parameter."""
        ...

    def non_finite_steps(self) -> tuple[Tensor, Tensor]:
        """When each member's state stopped being finite, [P] each: its first moment, and the rest."""
        ...

    def snapshot(self) -> dict[str, Tensor]:
        """What training goes on from, by name, each [P, ...]."""
        ...

    def restore_(self, values: Mapping[str, Tensor]) -> None:
        """Take on what `snapshot` gave."""
        ...

    def tensors(self) -> list[Tensor]:
        """Everything that a step changes."""
        ...

    def finish_capture(self) -> None:
        """Called when a step was recorded."""
        ...


class Passes(Protocol):
    """A step's forward and backward passes; see `MicroBatches`."""

    def run(self, leaves: dict[str, Tensor], tokens_PxBxT1: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean losses of the whole batch [P], without history, and its gradients by name."""
        ...


class Trainable(Protocol):
    """P members between steps."""

    @property
    def recipe(self) -> Recipe:
        """What they share."""
        ...

    @property
    def activations(self) -> ActivationPlan:
        """How a step's batch runs."""
        ...

    @property
    def functions(self) -> LayerFunctions:
        """The implementation of the layers."""
        ...

    @property
    def optimizer(self) -> MemberOptimizer:
        """Its parameters' and its own state."""
        ...

    @property
    def multipliers(self) -> Mapping[str, Tensor] | None:
        """Forward multipliers by name, [P]; None where all are 1."""
        ...

    @property
    def parameters(self) -> dict[str, Tensor]:
        """This process's part of every tensor, [P, ...]."""
        ...

    @property
    def placement(self) -> Placement:
        """Where the other parts are."""
        ...

    def leaves(self) -> dict[str, Tensor]:
        """What gradients are taken of, where this process alone takes them."""
        ...

    def passes(self, losses: Losses | None) -> Passes:
        """The passes of a step.

        Args:
            losses: a compiled form of its own.
        """
        ...

    def tensors(self) -> list[Tensor]:
        """Everything that a step changes, in a fixed order."""
        ...

    def restore_(self, values: Mapping[str, Tensor]) -> None:
        """Take on what the optimizer's `snapshot` gave."""
        ...

    def losses(self, parameters: Mapping[str, Tensor], tokens_PxBxT1: Tensor) -> Tensor:
        """The mean next-token cross-entropy of each member, [P], of whole parameters."""
        ...

    def validation_losses(self, windows_NxT1: Tensor) -> Tensor:
        """The mean loss of each member over held-out windows, [P]."""
        ...


class Populate(Protocol):
    """Makes a population at step 0."""

    def __call__(
        self, recipe: Recipe, members: Sequence[Member], device: torch.device, *, activations: ActivationPlan
    ) -> Trainable: ...
