"""What the benchmarks of optimizers share: sizes, checks that stop a run, and steps that are timed."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _record import Record, Row, make_record, row, versions, write_json
from _timing import device_seconds, emptied, host_seconds
from torch import Tensor

Shape = tuple[int, ...]
Make = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]
Draw = Callable[[Sequence[int], int, torch.device], Tensor]
"""(shape, seed, device) -> values."""

WIDTH = 2048


@dataclass(frozen=True)
class Setting:
    """Where and how large.

    Args:
        shapes: a few large tensors.
        many: many of mixed sizes.
        members, member: a population, and the tensors of one of it.
        repeats: batches of steps whose median is taken.
    """

    device: torch.device
    shapes: list[Shape]
    many: list[Shape]
    members: int
    member: list[Shape]
    repeats: int

    @property
    def cuda(self) -> bool:
        """Whether the kernels run on a device, not in Triton's interpreter."""
        return self.device.type == "cuda"

    def seconds(self, step: Callable[[], object]) -> float:
        """The median step, the host working ahead."""
        return device_seconds(step, self.device, repeats=self.repeats)


def large(member: list[Shape]) -> Setting:
    """436 M parameters in a few large tensors; 340 M in 2,305 of mixed sizes; 64 members."""
    few: list[Shape] = [(32101, 1024)]
    for _ in range(8):
        few += [(3 * WIDTH, WIDTH), (WIDTH, WIDTH), (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH)]
    return Setting(torch.device("cuda"), few, blocks(384, 192), 64, member, 7)


def blocks(width: int, count: int) -> list[Shape]:
    """A Transformer's tensors, biases and gains among them, with an odd vocabulary."""
    found: list[Shape] = [(4099, width)]
    for _ in range(count):
        for rows, columns in ((3 * width, width), (width, width), (4 * width, width), (width, 4 * width)):
            found += [(rows, columns), (rows,)]
        found += [(width,)] * 4
    return found


class CheckFailedError(Exception):
    """A number beyond its limit."""


def require(name: str, value: float, limit: float) -> Row:
    """A row for a check.

    Raises:
        CheckFailedError: it fails.
    """
    if not value <= limit:
        raise CheckFailedError(f"{name}: {value} is more than {limit}")
    return row(f"check: {name}", value, "largest difference", "reference", None, limit)


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest absolute difference of any entry."""
    pairs = [(a.double(), b.double()) for a, b in zip(found, expected, strict=True) if a.numel()]
    return max((a - b).abs().max().item() for a, b in pairs)


def unlike(found: Sequence[Tensor], expected: Sequence[Tensor]) -> int:
    """How many tensors differ in a bit."""
    return sum(not torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def share_unlike(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest share of unlike entries in any tensor of more than 1000."""
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if a.numel() > 1000]
    return max((a != b).float().mean().item() for a, b in pairs)


def check_flags(make: Callable[..., Any], shape: Shape, setting: Setting, draw: Draw) -> Row:
    """A NaN in the last entry of one tensor, at the second step, is on record, and only there."""
    leaves = [torch.nn.Parameter(draw(shape, i, setting.device)) for i in range(3)]
    optimizer = make(leaves)
    for t in (1, 2):
        for leaf in leaves:
            leaf.grad = torch.ones_like(leaf)
            if t == 2 and leaf is leaves[1]:
                leaf.grad.view(-1)[-1] = float("nan")
        optimizer.step()
    found = [(entry.index, entry.step) for entry in optimizer.non_finite()]
    return require("a NaN gradient is reported where and when it came", float(found != [(1, 2)]), 0)


def check_capture(make: Callable[..., Any], shapes: Sequence[Shape], setting: Setting, draw: Draw) -> Row:
    """A captured step, with gradients at addresses of its own, replayed with rates and gradients that change.

    Args:
        make: (leaves, rate tensor) -> optimizer.
    """
    results: list[list[Tensor]] = []
    for captured in (False, True):
        leaves = [torch.nn.Parameter(draw(shape, i, setting.device)) for i, shape in enumerate(shapes)]
        rate = torch.tensor(0.1, device=setting.device)
        optimizer = make(leaves, rate)
        gradients = [draw(leaf.shape, 50 + i, setting.device) for i, leaf in enumerate(leaves)]
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.grad = gradient
        optimizer.step()
        graph = torch.cuda.CUDAGraph()
        if captured:
            gradients = [torch.zeros_like(leaf) for leaf in leaves]
            for leaf, gradient in zip(leaves, gradients, strict=True):
                leaf.grad = gradient
            with torch.cuda.graph(graph):
                optimizer.step()
        for t in range(1, 6):
            rate.fill_(0.01 * t)
            for i, gradient in enumerate(gradients):
                gradient.copy_(draw(gradient.shape, 100 * t + i, setting.device))
            graph.replay() if captured else optimizer.step()
        results.append([leaf.detach() for leaf in leaves])
    return require("tensors unlike after a captured step", unlike(*results), 0)


def measure(
    make: Make, shapes: Sequence[Shape], setting: Setting, dtype: torch.dtype = torch.float32
) -> tuple[float, float]:
    """Seconds a step, and seconds until its call returns."""
    device = setting.device
    with emptied(device):
        leaves = [torch.nn.Parameter(torch.randn(s, device=device, dtype=dtype) * 0.02) for s in shapes]
        for leaf in leaves:
            leaf.grad = torch.randn_like(leaf) * 1e-3
        step = make(leaves).step
        return setting.seconds(step), host_seconds(step, device, repeats=setting.repeats)


def copy_rate(setting: Setting, numel: int) -> float:
    """Bytes read and written in a second by a copy of so many float32 numbers."""
    with emptied(setting.device):
        source = torch.randn(numel, device=setting.device)
        target = torch.empty_like(source)
        return 2 * source.nbytes / setting.seconds(lambda: target.copy_(source))


def optimizer_record(benchmark: str, setting: Setting, rows: Sequence[Row], **more: object) -> Record:
    """The one JSON form."""
    machine = torch.cuda.get_device_name() if setting.cuda else f"{platform.machine()} CPU, interpreted"
    found = {**versions("torch", "triton", "numpy"), "cuda": str(torch.version.cuda)}
    return make_record(benchmark, rows, machine=machine, versions=found, **more)


def keep(record: Record, *targets: Path | None) -> None:
    """Write a record to every file that was asked for."""
    for target in targets:
        if target is not None:
            write_json(target, record, indent=2)
