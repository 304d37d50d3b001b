"""An epsilon report of a sharded model in two processes over gloo, for the test that compares it with the whole."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from epsilon_cases import drawn
from forked import in_forks
from widthwise.measure import measure_epsilon

PROCESSES = 2
SHAPES = {"even": (40, 30), "uneven": (7, 3), "one": (1, 5), "copied": (6, 6)}


def whole() -> torch.optim.Optimizer:
    """Adam with moments over four decades, a third of them untouched."""
    tensors = {name: nn.Parameter(torch.zeros(shape)) for name, shape in SHAPES.items()}
    optimizer = torch.optim.Adam(tensors.items(), eps=1e-4)
    for seed, (parameter, shape) in enumerate(zip(tensors.values(), SHAPES.values(), strict=True)):
        count = shape[0] * shape[1]
        m, v = (x.view(shape) for x in drawn(count, seed=seed, untouched=0.3))
        optimizer.state[parameter] = {"step": torch.tensor(5.0), "exp_avg": m, "exp_avg_sq": v}
    return optimizer


def sharded() -> torch.optim.Optimizer:
    """The same, each tensor in parts, one of them copied instead."""
    mesh = init_device_mesh("cpu", (PROCESSES,))
    optimizer = whole()
    (group,) = optimizer.param_groups
    parts = []
    for name, parameter in zip(group["param_names"], group["params"], strict=True):
        placement = [Replicate() if name == "copied" else Shard(0)]
        part = nn.Parameter(distribute_tensor(parameter.detach(), mesh, placement))
        state = optimizer.state.pop(parameter)
        moments = {key: distribute_tensor(state[key], mesh, placement) for key in ("exp_avg", "exp_avg_sq")}
        optimizer.state[part] = {"step": state["step"], **moments}
        parts.append(part)
    group["params"] = parts
    return optimizer


def _work(rank: int, folder: str, path: list[str]) -> None:
    sys.path[:] = path
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=PROCESSES)
    try:
        measure_epsilon(sharded()).save(Path(folder) / f"{rank}.json")
    finally:
        dist.destroy_process_group()


def report_in_processes(folder: Path) -> list[Path]:
    """Where each process wrote its report."""
    in_forks(_work, (str(folder), list(sys.path)), PROCESSES)
    return [folder / f"{rank}.json" for rank in range(PROCESSES)]
