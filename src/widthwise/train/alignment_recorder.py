"""The alignment of a population over its training: measured between steps, kept with what a checkpoint keeps.

Shape legend: P members, K measurements, S what changes are counted from, L layers.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from widthwise.records import AlignmentPoint, Since
from widthwise.train.alignment import log_gains
from widthwise.train.alignment_plan import AlignmentPlan
from widthwise.train.available import kept_bytes
from widthwise.train.batches import validation_windows
from widthwise.train.corpus import Corpus
from widthwise.train.member import Member, Recipe
from widthwise.train.placement import WholeTensors
from widthwise.train.reference import Reference, current_reference, initial_reference
from widthwise.train.trainable import Trainable

_NAME = "alignment"


class AlignmentRecorder:
    """Measures a population by a plan. It reads weights and writes none: training is the same to the bit.

    Args:
        plan: what, and after which steps.
        population: at step 0: its weights are what changes are counted from.
        corpus: its held-out text is the probe.

    Raises:
        ValueError: layers that the model does not have.
    """

    def __init__(
        self,
        plan: AlignmentPlan,
        recipe: Recipe,
        members: Sequence[Member],
        population: Trainable,
        corpus: Corpus,
    ) -> None:
        plan.require(recipe.model)
        self._plan, self._population = plan, population
        device = next(iter(population.parameters.values())).device
        on_device, on_host = map(population.placement.least, kept_bytes(device))
        self._start = initial_reference(
            recipe,
            members,
            population.parameters,
            device_bytes=on_device,
            host_bytes=on_host,
            placement=population.placement,
        )
        context = recipe.model.context
        windows_BxT1 = validation_windows(
            corpus, windows=plan.windows(context), context=context, device=device
        )
        self._probe_BxT = windows_BxT1[:, :-1]
        self._steps = plan.measured(recipe.schedule.steps)
        shape = (len(members), len(self._steps), len(plan.since), len(plan.layers), 4)
        self._gains_PxKxSxLx4 = torch.full(shape, math.nan, dtype=torch.float64, device=device)
        self._before: Reference | None = None

    def expects(self, step: int) -> bool:
        """Whether something has to be done just before or just after this step: none of them may be run in a row."""
        return step in self._steps

    def before(self, step: int) -> None:
        """Called before a step is run."""
        if step in self._steps and Since.UPDATE in self._plan.since:
            self._before = current_reference(
                self._population.parameters, placement=self._population.placement
            )

    def after(self, step: int) -> None:
        """Called after it."""
        if step not in self._steps:
            return
        for series, since in enumerate(self._plan.since):
            reference = self._start if since is Since.START else self._before
            assert reference is not None  # `before` was called
            self._gains_PxKxSxLx4[:, self._steps.index(step), series] = log_gains(
                self._population.recipe.model,
                WholeTensors(self._population.parameters, self._population.placement),
                reference,
                multipliers=self._population.multipliers,
                probe_BxT=self._probe_BxT,
                layers=self._plan.layers,
            )
        self._before = None

    def snapshot(self) -> dict[str, Tensor]:
        """What was measured so far, by name, [P, ...]."""
        return {_NAME: self._gains_PxKxSxLx4}

    def restore_(self, values: Mapping[str, Tensor]) -> None:
        """Take on what `snapshot` gave."""
        self._gains_PxKxSxLx4.copy_(values[_NAME])

    def points(self, until: Sequence[int]) -> list[tuple[AlignmentPoint, ...]]:
        """What was measured of each member up to a step of its own, in order (waits for the device)."""
        found = self._gains_PxKxSxLx4.cpu().tolist()
        return [
            tuple(
                AlignmentPoint(step, layer, since, *(None if math.isnan(gain) else gain for gain in gains))
                for step, of_step in zip(self._steps, of_member, strict=True)
                if step <= last
                for since, of_series in zip(self._plan.since, of_step, strict=True)
                for layer, gains in zip(self._plan.layers, of_series, strict=True)
            )
            for of_member, last in zip(found, until, strict=True)
        ]
