"""How steps are run: operation by operation, compiled, or recorded once as a CUDA graph and replayed.

A recorded step is proven before it is used. From one state, the first steps are run twice as they are and once by
replays; the replays may differ from a run by no more than a few times what the two runs differ by (CUDA's atomic
additions in the backward pass of embeddings and attention make two runs of one program differ). Otherwise steps go on
unrecorded, with a warning. The replays are then the training's first steps, so that nothing is done twice for nothing
but the two runs.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.models import PLAIN
from widthwise.train.member import Recipe
from widthwise.train.step import Losses, TrainingStep
from widthwise.train.trainable import Trainable

PROVEN_STEPS = 4
"""Steps of each run of the proof; the first two or three also compile and warm up what the device needs."""

TOLERATED = 4.0
"""How many times the difference of two runs a replay may differ by: the difference of a pair is itself random."""

ROUNDING = 2.0**-18
"""Added to that, relatively, for runs that happen to agree."""

CAPTURED_FROM, COMPILED_FROM = 20, 200
"""The horizons, in steps, from which recording and compiling pay: a compilation takes about half a minute."""


@dataclass(frozen=True)
class Engine:
    """How a population's steps are run; every choice gives the same results up to rounding.

    Args:
        captured: replay one CUDA graph of the whole step; needs a CUDA device and the optimizer's kernels.
        compiled: compile the forward and backward pass, where they are made of PyTorch's own operations.
    """

    captured: bool = False
    compiled: bool = False

    def losses(self, population: Trainable) -> Losses:
        """The population's losses, compiled if that is chosen."""
        if not self.compiled or population.functions is not PLAIN:
            return population.losses
        return torch.compile(population.losses, fullgraph=True, dynamic=False)


def engine_for(recipe: Recipe, population: Trainable) -> Engine:
    """What suits a population's device, optimizer and horizon: plain on a CPU and for a few steps."""
    steps = recipe.schedule.steps
    cuda = all(p.is_cuda for p in population.parameters.values())
    captured = cuda and population.optimizer.fused and steps >= CAPTURED_FROM
    compiled = cuda and population.functions is PLAIN and steps >= COMPILED_FROM
    return Engine(captured=captured, compiled=compiled)


def stepper(
    step: TrainingStep, engine: Engine, *, single: bool = False, copy: torch.device | None = None
) -> Callable[[], int]:
    """A function that trains on and returns by how many steps, one but for the first call of a recorded step.

    Args:
        single: one step at the first call too; what a proof trained is then done again.
        copy: where a proof keeps the state that it began with; None for where the state is.

    Raises:
        ValueError: a recorded step is asked for where the optimizer's kernels do not run.
    """

    def plain() -> int:
        step.run()
        return 1

    if not engine.captured:
        return plain
    if not step.population.optimizer.fused:
        raise ValueError(
            "a captured step needs the optimizer's kernels, which need CUDA, Triton and an update that they have: "
            "leave captured at False"
        )
    return CapturedStep(step, single=single, copy=copy)


class CapturedStep:
    """A training step as one CUDA graph, proven on its first call, which trains `PROVEN_STEPS`, or one if `single`."""

    def __init__(self, step: TrainingStep, *, single: bool = False, copy: torch.device | None = None) -> None:
        self._step, self._single, self._copy = step, single, copy
        self._replay: Callable[[], None] | None = None

    def __call__(self) -> int:
        if self._replay is not None:
            self._replay()
            return 1
        start = [tensor.to(self._copy or tensor.device, copy=True) for tensor in self._step.tensors()]
        self._replay = self._proven(start)
        if not self._single:
            return PROVEN_STEPS
        _restore(self._step.tensors(), start)
        self._replay()
        return 1

    def _proven(self, start: list[Tensor]) -> Callable[[], None]:
        step, first = self._step, self._step.done
        ends: list[Tensor] = []
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                for _ in range(PROVEN_STEPS):
                    step.run()
                ends.append(_fingerprint(step, first))
                _restore(step.tensors(), start)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step.run()
        step.population.optimizer.finish_capture()
        for _ in range(PROVEN_STEPS):
            graph.replay()
        between_runs = relative_difference(ends[0], ends[1])
        of_replays = relative_difference(_fingerprint(step, first), ends[1])
        if of_replays <= TOLERATED * between_runs + ROUNDING:
            return graph.replay
        warnings.warn(
            f"the recorded step differs from the step by {of_replays:.1e}, two runs of the step by "
            f"{between_runs:.1e}: training goes on without the record",
            stacklevel=2,
        )
        _restore(step.tensors(), start)
        for _ in range(PROVEN_STEPS):
            step.run()
        return step.run


def _restore(tensors: list[Tensor], values: list[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)


def _fingerprint(step: TrainingStep, first: int) -> Tensor:
    """The losses of the steps after `first`, and the mean size of each member's tensors, [rows, P] in float64."""
    losses = step.losses_LxP[first : first + PROVEN_STEPS].double()
    sizes = [p.flatten(1).abs().mean(1, dtype=torch.float64) for p in step.population.parameters.values()]
    return torch.cat([losses, torch.stack(sizes)])


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """The largest relative difference; what is not finite has to be so in both.

    Example:
        >>> nan = float("nan")
        >>> relative_difference(torch.tensor([2.0, nan]), torch.tensor([1.0, nan]))
        1.0
        >>> relative_difference(torch.tensor([2.0, 1.0]), torch.tensor([1.0, nan]))
        inf
    """
    if not torch.equal(found.isfinite(), expected.isfinite()):
        return float("inf")
    fine = expected.isfinite()
    if not fine.any():
        return 0.0
    size = expected[fine].abs().clamp_min(torch.finfo(torch.float32).tiny)
    return ((found[fine] - expected[fine]).abs() / size).max().item()
