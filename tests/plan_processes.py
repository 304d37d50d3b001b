"""Training under a plan in several processes over gloo, for the tests of wrappers: each writes what it ended with."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from forked import in_forks
from plan_training import adamw, batch_of, fresh, mlp
from widthwise.scaling import ScalingPlan

PROCESSES = 2
STEPS = 4


def halves_loss(model: nn.Module, step: int) -> torch.Tensor:
    """This process's half of a batch: the mean over processes is the whole batch's."""
    inputs, classes = batch_of(step)
    here = slice(dist.get_rank(), None, PROCESSES)
    return nn.functional.cross_entropy(model(inputs[here]), classes[here])


def train_halves(plan: ScalingPlan, model: nn.Module) -> None:
    optimizer = adamw(plan, model)
    plan.verify(optimizer, model)
    for step in range(STEPS):
        optimizer.zero_grad()
        halves_loss(model, step).backward()
        optimizer.step()


def whole(model: nn.Module) -> list[torch.Tensor]:
    return [p.full_tensor() if isinstance(p, DTensor) else p.detach() for p in model.parameters()]


def sharded(model: nn.Module) -> nn.Module:
    mesh = init_device_mesh("cpu", (PROCESSES,))
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def refusal(plan: ScalingPlan, model: nn.Module) -> str:
    """Why a model is refused; every process must say so, or one would wait for the other for ever."""
    try:
        plan.initialize_(model)
    except ValueError as error:
        return str(error)
    return "accepted"


def ddp(plan: ScalingPlan) -> dict[str, list[torch.Tensor]]:
    """Initialized before, and after, wrapping."""
    ends: dict[str, list[torch.Tensor]] = {}
    for when in ("before", "after"):
        model = fresh(mlp, plan.width)
        if when == "before":
            plan.initialize_(model)
        wrapped = DistributedDataParallel(model)
        if when == "after":
            plan.initialize_(wrapped)
        plan.initialize_(wrapped)
        train_halves(plan, wrapped)
        ends[when] = whole(wrapped)
    return ends


def fsdp2(plan: ScalingPlan) -> dict[str, list[torch.Tensor]]:
    """Initialized before, and after, sharding; and sharded on the meta device first, as large models are."""
    ends: dict[str, list[torch.Tensor]] = {}
    for when in ("before", "after"):
        model = fresh(mlp, plan.width)
        if when == "before":
            plan.initialize_(model)
        model = sharded(model)
        if when == "after":
            plan.initialize_(model)
        plan.initialize_(model)
        train_halves(plan, model)
        ends[when] = whole(model)
    with torch.device("meta"):
        model = mlp(plan.width)
    model = sharded(model)
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    ends[refusal(plan, model)] = []
    uneven = sharded(fresh(mlp, plan.width))
    if dist.get_rank() == 1:
        with torch.no_grad():
            uneven[2].weight.to_local().mul_(3)
    ends[refusal(plan, uneven)] = []
    drawn = fresh(mlp, plan.width)
    with torch.no_grad():
        for parameter, own in zip(model.parameters(), drawn.parameters(), strict=True):
            parameter.copy_(
                torch.distributed.tensor.distribute_tensor(own, parameter.device_mesh, parameter.placements)
            )
    plan.initialize_(model)
    train_halves(plan, model)
    ends["meta"] = whole(model)
    return ends


def both(plan: ScalingPlan) -> dict[str, list[torch.Tensor]]:
    """DDP, then FSDP2, in the same processes: to start them takes longest."""
    found = {f"DDP {when}": end for when, end in ddp(plan).items()}
    return found | {f"FSDP2 {when}": end for when, end in fsdp2(plan).items()}


def _work(rank: int, folder: str, path: list[str]) -> None:
    sys.path[:] = path
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES)
    try:
        ends = both(ScalingPlan.load(Path(folder, "plan.json")))
        torch.save(ends, Path(folder, f"ends{rank}.pt"))
    finally:
        dist.destroy_process_group()


def in_processes(plan: ScalingPlan, folder: Path) -> list[dict[str, list[torch.Tensor]]]:
    """What each process ended with, by wrapper and by when the plan was applied."""
    plan.save(folder / "plan.json")
    in_forks(_work, (str(folder), list(sys.path)), PROCESSES)
    return [torch.load(folder / f"ends{rank}.pt", weights_only=True) for rank in range(PROCESSES)]
