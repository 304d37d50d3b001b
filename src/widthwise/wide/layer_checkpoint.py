"""Checkpoints of layer-major training: weights as they are kept, state as it is kept, bit for bit.

One file, as `train.checkpoint_file` writes it: whole or not there, nothing pickled. Reading brings all to the host.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from widthwise.train.checkpoint_file import read_tensors, write_tensors
from widthwise.wide.layer_major import LayerMajor
from widthwise.wide.same_run import describe_run, require_same_run


def save_layer_major(training: LayerMajor, path: Path) -> None:
    """Replace a checkpoint, at once.

    Raises:
        OSError: it cannot be written; the old one is then as it was.
    """
    write_tensors(path, {"step": training.steps, "run": _described(training)}, _tensors(training))


@torch.no_grad()
def load_layer_major_(training: LayerMajor, path: Path) -> None:
    """Go on from a checkpoint: the next step is the one that would have been taken, bit for bit on a CPU.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or another run's; the training is then as it was.
    """
    try:
        header, tensors = read_tensors(path)
    except ValueError as error:
        raise ValueError(f"the checkpoint {str(path)!r} is not usable: {error}") from error
    require_same_run(header["run"], _described(training), path)
    for name, tensor in _tensors(training).items():
        tensor.copy_(tensors[name])
    training.steps = header["step"]


def _described(training: LayerMajor) -> dict[str, Any]:
    """With what the formats are; micro-batches and where block inputs wait may differ."""
    storage = asdict(training.storage)
    kept = {key: storage[key] for key in ("weights", "state", "rounding_seed")}
    return {**describe_run(training.recipe, [training.member]), "storage": kept}


def _tensors(training: LayerMajor) -> dict[str, Tensor]:
    states = {f"state/{n}/{key}": t for n, state in training.states.items() for key, t in state.items()}
    return {**{f"parameter/{name}": weight for name, weight in training.weights.items()}, **states}
