"""Files of tensors that are split over processes: one a process, read by any number of processes.

    FOLDER/latest.json                  which of them is whole: written last, at once
    FOLDER/step-N-of-W/R.tensors        process R's parts of W, as `train.checkpoint_file` writes tensors

A file says of each part where it lies in its tensor. A reader takes from every file what overlaps its own parts, one
file at a time. PyTorch's own distributed checkpoints keep their table of contents as a pickle; nothing here is one.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from widthwise.files import document, load_document, replace_text
from widthwise.train.checkpoint_file import read_tensors, write_tensors

_KIND = "widthwise sharded checkpoint"
_VERSION = 2
_LATEST = "latest.json"

Place = list[int]
"""The dimension that is split, and where a part begins and ends."""


@dataclass(frozen=True)
class Layout:
    """Where this process's part of every tensor lies.

    Args:
        dimensions: name -> the dimension that is split; a name that is not there is the same on every process.
    """

    dimensions: Mapping[str, int]
    rank: int
    processes: int

    def place(self, name: str, length: int) -> Place | None:
        """Of a tensor whose split dimension is so long in all."""
        if name not in self.dimensions:
            return None
        each = length // self.processes
        return [self.dimensions[name], self.rank * each, (self.rank + 1) * each]


def write_parts(
    folder: Path, step: int, header: Mapping[str, Any], parts: Mapping[str, Tensor], layout: Layout
) -> None:
    """Write a checkpoint; every process calls this. The one before it stays until this is whole.

    Raises:
        OSError: a file cannot be written, on whichever process; the checkpoint before is then as it was.
    """
    name = f"step-{step}-of-{layout.processes}"
    error: OSError | None = None
    try:
        (folder / name).mkdir(parents=True, exist_ok=True)
        places = {
            key: layout.place(key, part.shape[layout.dimensions[key]] * layout.processes)
            if key in layout.dimensions
            else None
            for key, part in parts.items()
        }
        own = {**header, "step": step, "places": places}
        write_tensors(folder / name / f"{layout.rank}.tensors", own, parts)
    except OSError as found:
        error = found
    _together(error, f"a process of another rank could not write its part of {str(folder / name)!r}", parts)
    if layout.rank == 0:
        latest = {"kind": _KIND, "version": _VERSION, "folder": name, "processes": layout.processes}
        try:
            replace_text(folder / _LATEST, json.dumps(latest) + "\n")
            for other in folder.glob("step-*-of-*"):
                if other.name != name:
                    shutil.rmtree(other, ignore_errors=True)
        except OSError as found:
            error = found
    _together(error, f"the process of rank 0 could not write {str(folder / _LATEST)!r}", parts)


def read_parts(
    folder: Path, layout: Layout, check: Callable[[Mapping[str, Any]], None]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header of a checkpoint of however many processes, and this process's parts of its tensors, on the CPU.

    Args:
        check: of a file's header; raises a `ValueError` if it is another run's.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or another run's.
    """
    path = folder / _LATEST
    if not path.exists():
        raise FileNotFoundError(f"{str(folder)!r} holds no whole checkpoint: {_LATEST} is not there")
    latest = load_document(
        path, lambda value: document(value, kind=_KIND, version=_VERSION, name="a sharded checkpoint")
    )
    header: dict[str, Any] = {}
    mine: dict[str, Tensor] = {}
    for rank in range(latest["processes"]):
        file = folder / latest["folder"] / f"{rank}.tensors"
        try:
            header, tensors = read_tensors(file)
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(f"the checkpoint's file {str(file)!r} is not usable: {error}") from error
        check(header)
        for key, theirs in tensors.items():
            _take(mine, key, theirs, header["places"][key], latest["processes"], layout)
    return header, mine


def _take(
    mine: dict[str, Tensor],
    key: str,
    theirs: Tensor,
    their_place: Place | None,
    their_processes: int,
    layout: Layout,
) -> None:
    """Copy what overlaps. Parts split along other dimensions overlap in a corner of both."""
    if their_place is None:
        mine[key] = theirs
        return
    other, their_begin, their_end = their_place
    shape = list(theirs.shape)
    shape[other] *= their_processes
    place = layout.place(key, shape[layout.dimensions[key]])
    assert place is not None
    dimension, begin, end = place
    shape[dimension] = end - begin
    part = mine.setdefault(key, torch.full(shape, float("nan"), dtype=theirs.dtype))
    target, source = [slice(None)] * part.dim(), [slice(None)] * part.dim()
    if dimension == other:
        low, high = max(begin, their_begin), min(end, their_end)
        if low >= high:
            return
        target[dimension] = slice(low - begin, high - begin)
        source[dimension] = slice(low - their_begin, high - their_begin)
    else:
        target[other], source[dimension] = slice(their_begin, their_end), slice(begin, end)
    part[tuple(target)] = theirs[tuple(source)]


def _together(error: OSError | None, elsewhere: str, parts: Mapping[str, Tensor]) -> None:
    """Wait for every process; an error of one is an error of all."""
    device = next(iter(parts.values())).device
    failed = torch.tensor(float(error is not None), device=device)
    dist.all_reduce(failed)
    if error is not None:
        raise error
    if failed.item():
        raise OSError(elsewhere)
