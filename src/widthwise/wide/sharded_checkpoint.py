"""Checkpoints of sharded training: one file a process, read by any number of processes.

    FOLDER/latest.json                  which of them is whole: written last, at once
    FOLDER/step-N-of-W/R.tensors        process R's parts of W, as `train.checkpoint_file` writes tensors

A file says of each part where it lies in its tensor. A reader takes from every file what overlaps its own parts, one
file at a time. PyTorch's own distributed checkpoints keep their table of contents as a pickle; nothing here is one.
"""

import json
import shutil
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from widthwise.files import document, load_document, replace_text
from widthwise.optim import AdafactorUpdate
from widthwise.train.checkpoint_file import read_tensors, write_tensors
from widthwise.wide.same_run import describe_run, require_same_run
from widthwise.wide.sharded_training import ShardedTraining

_KIND = "widthwise sharded checkpoint"
_VERSION = 1
_LATEST = "latest.json"


def save_sharded(training: ShardedTraining, folder: Path) -> None:
    """Write what training goes on from; every process calls this. The checkpoint before it stays until this is whole.

    Raises:
        OSError: a file cannot be written; the checkpoint before is then as it was.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    name = f"step-{training.steps}-of-{world}"
    (folder / name).mkdir(parents=True, exist_ok=True)
    tensors = _parts(training)
    places = {key: _place(training, key, value) for key, value in tensors.items()}
    header = {
        "step": training.steps,
        "places": places,
        "run": describe_run(training.recipe, training.members),
    }
    write_tensors(folder / name / f"{rank}.tensors", header, tensors)
    dist.barrier()
    if rank == 0:
        latest = {"kind": _KIND, "version": _VERSION, "folder": name, "processes": world}
        replace_text(folder / _LATEST, json.dumps(latest) + "\n")
        for other in folder.glob("step-*-of-*"):
            if other.name != name:
                shutil.rmtree(other)
    dist.barrier()


def load_sharded_(training: ShardedTraining, folder: Path) -> None:
    """Go on from a checkpoint, of however many processes; every process calls this.

    Raises:
        ValueError: there is none, it is damaged, or it is of another run; the training is then as it was.
    """
    path = folder / _LATEST
    if not path.exists():
        raise ValueError(f"{str(folder)!r} holds no whole checkpoint: {_LATEST} is not there")
    latest = load_document(
        path, lambda value: document(value, kind=_KIND, version=_VERSION, name="a sharded checkpoint")
    )
    files = [folder / latest["folder"] / f"{rank}.tensors" for rank in range(latest["processes"])]
    own = _parts(training)
    fresh = {key: torch.full_like(value, float("nan"), device="cpu") for key, value in own.items()}
    step = None
    for file in files:
        try:
            header, tensors = read_tensors(file)
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(f"the checkpoint's file {str(file)!r} is not usable: {error}") from error
        require_same_run(header["run"], describe_run(training.recipe, training.members), folder)
        step = header["step"]
        for key, value in tensors.items():
            _take(fresh[key], _place(training, key, own[key]), value, header["places"][key])
    for key, value in own.items():
        value.copy_(fresh[key])
    assert step is not None
    training.steps = step


def _parts(training: ShardedTraining) -> dict[str, Tensor]:
    """This process's parameters and state, by name."""
    parts = {f"parameter/{name}": training.part(p) for name, p in training.parameters().items()}
    states = {f"state/{n}/{key}": t for n, state in training.states.items() for key, t in state.items()}
    return {**parts, **states}


def _place(training: ShardedTraining, key: str, part: Tensor) -> list[int] | None:
    """The dimension that is split, and where this process's part begins and ends; None for what every process has."""
    if key.startswith("state/") and isinstance(training.recipe.update, AdafactorUpdate):
        return None
    dimension = training.dimensions[key.split("/")[1]]
    length = part.shape[dimension]
    return [dimension, dist.get_rank() * length, (dist.get_rank() + 1) * length]


def _take(mine: Tensor, place: list[int] | None, theirs: Tensor, their_place: list[int] | None) -> None:
    """Copy what overlaps. Parts split along other dimensions overlap in a corner of both."""
    if place is None or their_place is None:
        mine.copy_(theirs)
        return
    target, source = [slice(None)] * mine.dim(), [slice(None)] * mine.dim()
    (dimension, begin, end), (other, their_begin, their_end) = place, their_place
    if dimension == other:
        low, high = max(begin, their_begin), min(end, their_end)
        if low >= high:
            return
        target[dimension] = slice(low - begin, high - begin)
        source[dimension] = slice(low - their_begin, high - their_begin)
    else:
        target[other], source[dimension] = slice(their_begin, their_end), slice(begin, end)
    mine[tuple(target)] = theirs[tuple(source)]
