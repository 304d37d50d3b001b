"""One training step of a population, all of it on the device: batch, forward, backward, update, watch.

Nothing in it depends on a number of the host: the count of steps, the schedule and the losses are tensors. So a step is
the same whether it is run operation by operation or recorded once and replayed (`step_graph`).

Shape legend: P members, S data seeds, B sequences, T positions, L steps.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from widthwise.train.health import Health
from widthwise.train.host_batches import AnyBatches
from widthwise.train.member import Recipe
from widthwise.train.micro_batch import Losses
from widthwise.train.trainable import Trainable


class TrainingStep:
    """The next step of a population's training.

    Args:
        population: trained in place.
        batches: of every step of the horizon; a step is prepared (`HostBatches.prepare`) before it is run.
        stream_P: which of the batches' data seeds each member sees.
        losses: (parameters, tokens) -> [P]; the population's own, or a compiled form of it.

    The batch runs in as many pieces as the population's `activations` say.

    Raises:
        ValueError: the batch does not divide into so many.
    """

    def __init__(
        self,
        recipe: Recipe,
        population: Trainable,
        batches: AnyBatches,
        stream_P: Tensor,
        *,
        losses: Losses | None = None,
    ) -> None:
        device = stream_P.device
        steps = recipe.schedule.steps
        self.population = population
        self.health = Health(recipe, len(stream_P), device)
        self.losses_LxP = torch.full((steps, len(stream_P)), float("nan"), device=device)
        self._batches, self._stream_P = batches, stream_P
        population.activations.sequences(recipe.batch)
        self._passes = population.passes(losses)
        factors = [recipe.schedule.factor(step) for step in range(1, steps + 1)]
        self._factors_L = torch.tensor(factors, dtype=torch.float32, device=device)
        self._step = torch.zeros(1, dtype=torch.long, device=device)

    def run(self) -> None:
        """Train one step further."""
        self._step += 1
        tokens_PxBxT1 = self._batches.at(self._step)[self._stream_P]
        losses_P, gradients = self._passes.run(self.population.leaves(), tokens_PxBxT1)
        factor = self._factors_L.index_select(0, self._step - 1)
        self.population.optimizer.step_(gradients, factor=factor)
        self.health.observe(self._step, losses_P)
        self.losses_LxP.index_copy_(0, self._step - 1, losses_P[None])

    @property
    def done(self) -> int:
        """How many steps were trained (waits for the device)."""
        return int(self._step.item())

    def snapshot(self) -> dict[str, Tensor]:
        """All that training goes on from after `done` steps, by name, each [P, ...]; the tensors themselves."""
        return {
            **self.population.optimizer.snapshot(),
            **self.health.snapshot(),
            "losses": self.losses_LxP[: self.done].T,
        }

    def restore_(self, values: Mapping[str, Tensor], *, done: int) -> None:
        """Go on from what `snapshot` gave after `done` steps: of these members, on any device."""
        self.population.restore_(values)
        self.health.restore_(values)
        self.losses_LxP.fill_(float("nan"))
        self.losses_LxP[:done].copy_(values["losses"].T)
        self._step.fill_(done)

    def tensors(self) -> list[Tensor]:
        """Everything that a step changes and the next one reads, in a fixed order."""
        return [
            *self.population.tensors(),
            *self.health.tensors(),
            self.losses_LxP,
            self._step,
        ]
