"""A stage of a population's training: some of its members, side by side, until they are fewer or done.

Shape legend: P members of the stage, L steps.
"""

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from widthwise.records import AlignmentPoint
from widthwise.train.alignment_recorder import AlignmentRecorder
from widthwise.train.batches import validation_windows
from widthwise.train.compaction import pays
from widthwise.train.corpus import Corpus
from widthwise.train.execution import execution_for
from widthwise.train.host_batches import AnyBatches
from widthwise.train.member import Divergence, Member, Outcome, Recipe
from widthwise.train.micro_batch import ActivationPlan
from widthwise.train.population import Population
from widthwise.train.proof_copy import copy_device
from widthwise.train.step import TrainingStep
from widthwise.train.step_graph import (
    CAPTURED_FROM,
    COMPILED_FROM,
    PROVEN_STEPS,
    Engine,
    engine_for,
    stepper,
)
from widthwise.train.trainable import Populate, Trainable


@dataclass(frozen=True)
class Job:
    """What all stages of one training have in common; `engine` None for what suits, `populate` makes the members."""

    recipe: Recipe
    members: Sequence[Member]
    corpus: Corpus
    device: torch.device
    engine: Engine | None
    activations: ActivationPlan
    populate: Populate = Population


@dataclass(frozen=True)
class Start:
    """From where a stage begins: after `done` steps, with `tensors` of its members, or None to draw them."""

    done: int
    members: tuple[int, ...]
    tensors: Mapping[str, Tensor] | None


class Stage:
    """Members in training, and what their steps cost.

    The batches are those of all the job's data seeds, so that a stage draws none anew; only their choice is a stage's.
    """

    def __init__(self, job: Job, start: Start, batches: AnyBatches) -> None:
        began = time.monotonic()
        self._job, self.members, self._batches = job, start.members, batches
        mine = [job.members[position] for position in start.members]
        seeds = data_seeds(job.members)
        streams_P = torch.tensor([seeds.index(member.data_seed) for member in mine], device=job.device)
        self._population = job.populate(job.recipe, mine, job.device, activations=job.activations)
        plan, self._done = job.recipe.alignment, start.done
        self._alignment = (
            None if plan is None else AlignmentRecorder(plan, job.recipe, mine, self._population, job.corpus)
        )
        self._engine = _engine(job, self._population, start)
        if self._engine.compiled:
            torch.compiler.reset()  # else the ninth shape in a process is one too many for the compiler
        losses = self._engine.losses(self._population)
        self._step = TrainingStep(job.recipe, self._population, batches, streams_P, losses=losses)
        if start.tensors is not None:
            self._step.restore_(start.tensors, done=start.done)
            if self._alignment is not None:
                self._alignment.restore_(start.tensors)
        self._advance = stepper(
            self._step, self._engine, single=self._measured_soon(), copy=self._copy_device()
        )
        self._began, self._seconds_to_first = began, 0.0
        self._steps = self._first_steps = 0

    def advance(self) -> int:
        """Train further; returns by how many steps."""
        if self._alignment is not None:
            self._alignment.before(self._done + 1)
        self._batches.prepare(self._done + 1, PROVEN_STEPS)
        steps = self._advance()
        self._steps += steps
        self._done += steps
        if self._alignment is not None:
            self._alignment.after(self._done)
        if not self._first_steps:  # these compiled and recorded, and are counted as preparation
            self._first_steps = steps
            self._seconds_to_first = time.monotonic() - self._began
        return steps

    def alive(self) -> tuple[int, ...]:
        """The members that have not diverged, in order (waits for the device)."""
        alive = self._step.health.alive(self._population.optimizer)
        return tuple(position for position, lives in zip(self.members, alive, strict=True) if lives)

    def compaction_pays(self, members: int) -> bool:
        """Whether to go on with so many members alone; asked when the device has been waited for.

        Always where nothing is compiled or recorded: then a run decides the same each time.
        """
        if not (self._engine.compiled or self._engine.captured):
            return True
        measured = self._steps - self._first_steps
        if not measured:
            return False
        seconds = time.monotonic() - self._began - self._seconds_to_first
        return pays(
            steps_left=self._job.recipe.schedule.steps - self._step.done,
            seconds_a_step=seconds / measured,
            share_saved=1 - members / len(self.members),
            preparation_seconds=self._seconds_to_first,
        )

    def snapshot(self) -> dict[str, Tensor]:
        """See `TrainingStep.snapshot`; with what was measured."""
        measured = {} if self._alignment is None else self._alignment.snapshot()
        return {**self._step.snapshot(), **measured}

    @cached_property
    def state_bytes(self) -> int:
        """What a checkpoint of the stage takes, but for the losses of the steps that follow."""
        return sum(tensor.nbytes for tensor in self.snapshot().values())

    def rest(self, members: Sequence[int]) -> Start:
        """Where a stage of some of the members goes on, their tensors copied to the host."""
        rows = [self.members.index(position) for position in members]
        tensors = {name: tensor[rows].cpu() for name, tensor in self.snapshot().items()}
        return Start(self._step.done, tuple(members), tensors)

    def outcomes(self, *, ended: bool) -> dict[int, Outcome]:
        """How the members stand, by position: the diverged alone, or, where training has ended, all."""
        findings = self._step.health.findings(self._population.optimizer)
        losses_PxL = self._step.losses_LxP.T.double().cpu().contiguous()
        validation = self._validation() if ended and None in findings else [float("nan")] * len(self.members)
        last = [self._done if finding is None else finding[0] - 1 for finding in findings]
        measured = [()] * len(last) if self._alignment is None else self._alignment.points(last)
        return {
            position: _outcome(finding, loss, losses_L, points, self._job.recipe)
            for position, finding, loss, losses_L, points in zip(
                self.members, findings, validation, losses_PxL, measured, strict=True
            )
            if ended or finding is not None
        }

    def _copy_device(self) -> torch.device | None:
        """Where a proof's copy is kept; None where there is no proof."""
        if not self._engine.captured:
            return None
        job, copied = self._job, sum(tensor.nbytes for tensor in self._step.tensors())
        execution = execution_for(job.recipe, job.device, activations=job.activations, engine=self._engine)
        return copy_device(job.recipe, execution, job.device, members=len(self.members), copied=copied)

    def _measured_soon(self) -> bool:
        """Whether one of the steps that a proof would run in a row is one to measure around."""
        following = range(self._done + 1, self._done + PROVEN_STEPS + 1)
        return self._alignment is not None and any(map(self._alignment.expects, following))

    def _validation(self) -> list[float]:
        recipe = self._job.recipe
        windows = validation_windows(
            self._job.corpus,
            windows=recipe.validation_windows,
            context=recipe.model.context,
            device=self._job.device,
        )
        return self._population.validation_losses(windows).tolist()


def data_seeds(members: Sequence[Member]) -> list[int]:
    """The distinct data seeds, ascending: the streams of batches."""
    return sorted({member.data_seed for member in members})


def free_memory(device: torch.device) -> None:
    """Give back what no name refers to any more, before as much is asked for again."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _engine(job: Job, population: Trainable, start: Start) -> Engine:
    """As chosen, but plain where too few steps are left for a record or a compilation to pay."""
    chosen = engine_for(job.recipe, population) if job.engine is None else job.engine
    if not start.done:
        return chosen
    left = job.recipe.schedule.steps - start.done
    return Engine(
        captured=chosen.captured and left >= CAPTURED_FROM, compiled=chosen.compiled and left >= COMPILED_FROM
    )


def _outcome(
    finding: tuple[int, str] | None,
    validation: float,
    losses_L: Tensor,
    measured: tuple[AlignmentPoint, ...],
    recipe: Recipe,
) -> Outcome:
    steps = recipe.schedule.steps
    if finding is not None:
        divergence = Divergence(*finding)
    elif not abs(validation) < float("inf"):
        divergence = Divergence(steps, "non-finite validation loss")
    else:
        divergence = None
    last = steps if divergence is None else divergence.step
    curve = tuple(point for point in _curve(losses_L, recipe.curve_points) if point[0] <= last)
    return Outcome(validation if divergence is None else None, divergence, curve, measured)


def _curve(losses_L: Tensor, points: int) -> list[tuple[int, float]]:
    """(last step, mean loss) of each of `points` equal stretches of the training curve, where that is finite.

    One member at a time: how a mean over several is summed depends on how many they are.
    """
    steps = len(losses_L)
    ends = sorted({round(steps * (i + 1) / points) for i in range(points)} - {0})
    means = [(end, losses_L[start:end].mean().item()) for start, end in zip([0, *ends], ends, strict=False)]
    return [point for point in means if abs(point[1]) < float("inf")]
