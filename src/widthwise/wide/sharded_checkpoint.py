"""Checkpoints of sharded training, in files of `shard_files`: of steps in a loop of one's own, and of a whole training.

Both are of one run: the model, the optimizer, the batch and every member's numbers are in them, and how many processes
wrote them is of no account.
"""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from widthwise.optim import AdafactorUpdate
from widthwise.train import Checkpoint, Checkpoints, Member, Recipe
from widthwise.train.checkpoint import checkpoint_of, header_of
from widthwise.train.checkpoint_timer import CheckpointTimer
from widthwise.wide.same_run import describe_run, require_same_run
from widthwise.wide.shard_files import Layout, read_parts, write_parts
from widthwise.wide.sharded_training import ShardedTraining
from widthwise.wide.shards import shard_dimensions


def layout_of(recipe: Recipe) -> Layout:
    """Where this process's parts of a population's snapshot lie: parameters, and state unless it is Adafactor's."""
    processes = dist.get_world_size()
    dimensions: dict[str, int] = {}
    for name, dimension in shard_dimensions(recipe.model, processes).items():
        dimensions[f"parameter/{name}"] = dimension
        if not isinstance(recipe.update, AdafactorUpdate):
            # a state's tensors are named by the optimizer; each is of the parameter's shape
            for key in recipe.update.initial_state(torch.empty(1, 1)):
                dimensions[f"state/{name}/{key}"] = dimension
    return Layout(dimensions, dist.get_rank(), processes)


def save_sharded(training: ShardedTraining, folder: Path) -> None:
    """Write what training goes on from; every process calls this. The checkpoint before it stays until this is whole.

    Raises:
        OSError: a file cannot be written; the checkpoint before is then as it was.
    """
    header = {"run": describe_run(training.recipe, training.members)}
    parts = training.population.optimizer.snapshot()
    write_parts(folder, training.steps, header, parts, layout_of(training.recipe))


def load_sharded_(training: ShardedTraining, folder: Path) -> None:
    """Go on from a checkpoint, of however many processes; every process calls this.

    Raises:
        ValueError: there is none, it is damaged, or it is of another run; the training is then as it was.
    """
    run = describe_run(training.recipe, training.members)
    try:
        header, parts = read_parts(
            folder, layout_of(training.recipe), lambda header: require_same_run(header["run"], run, folder)
        )
    except FileNotFoundError as error:
        raise ValueError(str(error)) from None
    training.population.restore_(parts)
    training.steps = header["step"]


class ShardedKeeper:
    """Keeps the state of a training by all processes of the group: see `train.checkpoint.CheckpointKeeper`.

    Rank 0 says when it is time, and warns; the others do as it does.

    Args:
        checkpoints: the folder, and how often.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        recipe: Recipe,
        members: Sequence[Member],
        device: torch.device,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = checkpoints.path
        self._run, self._layout, self._device = describe_run(recipe, members), layout_of(recipe), device
        self._clock, self._failed = clock, False
        self._timer = CheckpointTimer(checkpoints.every_seconds, clock=clock)

    def load(self, identity: str) -> Checkpoint | None:
        """What a run can go on from, or None with a warning if what is there is not it, or is not all there."""

        def check(header: Mapping[str, Any]) -> None:
            require_same_run(header["run"], self._run, self._folder)
            if header["identity"] != identity:
                raise ValueError("it belongs to another recipe or another corpus")

        try:
            header, tensors = read_parts(self._folder, self._layout, check)
        except FileNotFoundError:
            header, tensors, why = None, {}, None
        except ValueError as error:
            header, tensors, why = None, {}, str(error)
        else:
            why = None
        if not self._all(header is not None):
            if self._layout.rank == 0 and why is not None:
                warnings.warn(
                    f"checkpoint {str(self._folder)!r} is not used: {why}; training begins at step 0",
                    stacklevel=3,
                )
            self._timer.begin(0)
            return None
        assert header is not None
        self._timer.begin(header["step"])
        return checkpoint_of(header, tensors)

    def due(self, *, done: int, steps: int, size: int) -> bool:
        """Whether it is time, by rank 0's clock and the bytes of its parts."""
        return self._all(self._layout.rank != 0 or self._timer.due(done=done, steps=steps, size=size))

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; one that cannot be written costs a warning, once."""
        began = self._clock()
        header = {"run": self._run, **header_of(checkpoint)}
        try:
            write_parts(self._folder, checkpoint.step, header, checkpoint.tensors, self._layout)
        except OSError as error:
            if not self._failed and self._layout.rank == 0:
                warnings.warn(
                    f"checkpoint {str(self._folder)!r} cannot be written: {error}; training goes on without",
                    stacklevel=3,
                )
            self._failed = True
        self._timer.written(done=checkpoint.step, size=checkpoint.size, began=began)

    def _all(self, here: bool) -> bool:
        """Whether something holds on every process."""
        found = torch.tensor(float(here), device=self._device)
        dist.all_reduce(found, dist.ReduceOp.MIN)
        return bool(found.item())
