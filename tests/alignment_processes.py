"""Alignment of a model spread over two processes over gloo, for the test that compares it with the whole."""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from forked import in_forks
from widthwise.measure import AlignmentReport, Snapshot, measure_alignment

PROCESSES = 2
WIDTH = 6


def build() -> nn.Module:
    """A table, two matrices with something between them, and a matrix of 5 rows, which two processes share unevenly."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(7, WIDTH),
        nn.Linear(WIDTH, 8),
        nn.ReLU(),
        nn.Linear(8, WIDTH),
        nn.Linear(WIDTH, 5, bias=False),
    ).double()


def probe() -> Tensor:
    return torch.arange(12).reshape(4, 3) % 7


def train(model: nn.Module, tokens: Tensor) -> None:
    """Two steps; with a rate for which everything moves."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten() % 5).backward()
        optimizer.step()


def whole() -> AlignmentReport:
    """One process, the whole probe."""
    model = build()
    start = Snapshot.of(model)
    train(model, probe())
    return measure_alignment(model, probe(), reference=start)


def _data_parallel(wrap: Callable[[nn.Module], nn.Module], rank: int) -> AlignmentReport:
    """Each process trains and measures on its half of the probe; gradients are means over equal halves."""
    model = wrap(build())
    start = Snapshot.of(model)
    mine = probe().chunk(PROCESSES)[rank]
    train(model, mine)
    return measure_alignment(model, mine, reference=start)


def distributed(rank: int) -> AlignmentReport:
    return _data_parallel(nn.parallel.DistributedDataParallel, rank)


def sharded(rank: int) -> AlignmentReport:
    def wrap(model: nn.Module) -> nn.Module:
        mesh = init_device_mesh("cpu", (PROCESSES,))
        assert isinstance(model, nn.Sequential)
        fully_shard(model[1], mesh=mesh)
        return fully_shard(model, mesh=mesh)

    return _data_parallel(wrap, rank)


def from_whole(rank: int) -> AlignmentReport:
    """Sharded, with a reference that is not: a state dict of the whole start."""
    model = build()
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fully_shard(model, mesh=init_device_mesh("cpu", (PROCESSES,)))
    mine = probe().chunk(PROCESSES)[rank]
    train(model, mine)
    return measure_alignment(model, mine, reference=start)


def tensor_parallel(rank: int) -> AlignmentReport:
    """Matrices by columns and rows, the whole probe on each process."""
    model = build()
    plan = {"1": ColwiseParallel(), "3": RowwiseParallel()}
    parallelize_module(model, init_device_mesh("cpu", (PROCESSES,)), plan)
    start = Snapshot.of(model)
    train(model, probe())
    return measure_alignment(model, probe(), reference=start)


CASES = {one.__name__: one for one in (distributed, sharded, from_whole, tensor_parallel)}


def _work(rank: int, folder: str, path: list[str]) -> None:
    sys.path[:] = path
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=PROCESSES)
    try:
        for name, case in CASES.items():
            case(rank).save(Path(folder) / f"{name}-{rank}.json")
    finally:
        dist.destroy_process_group()


def reports_in_processes(folder: Path) -> dict[str, list[Path]]:
    """Where each process wrote its report, by the case."""
    in_forks(_work, (str(folder), list(sys.path)), PROCESSES)
    return {name: [folder / f"{name}-{rank}.json" for rank in range(PROCESSES)] for name in CASES}
