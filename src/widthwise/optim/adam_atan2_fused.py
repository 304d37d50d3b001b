"""One step of Adam-atan2 in two launches for all tensors of one dtype: tables of addresses, and the kernels' launch.

The tables live on the device and are written again only when an address changes: a gradient that was allocated anew,
a state that was loaded, a weight that was moved. The learning rate is a number on the device as well, written when it
changes, so that no launch depends on one: a captured CUDA graph follows a learning rate that is a tensor.

A capture usually sees gradients at addresses of its own. Its table is then filled by a copy that is part of the graph,
from memory set aside by an earlier step, which therefore has to have run.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from widthwise.optim.adam_atan2_kernel import CONSTANTS, kernels
from widthwise.optim.adam_atan2_single import Atan2Constants
from widthwise.optim.address_table import Columns, address_table, block_table, is_fusible, key_of
from widthwise.optim.bias_correction import log_beta
from widthwise.optim.rounding import Rounding, StochasticRounding
from widthwise.optim.second_moment import ROOT
from widthwise.optim.weight_decay import WeightDecay

BLOCK = 1024
WARPS = 4
PREPARED_AT_ONCE = 256
KEPT_PLANS = 8

Key = tuple[object, ...]
Kept = TypeVar("Kept")


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """A copy on the device that the host does not wait for."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


@dataclass
class Launch:
    """The tables of all tensors of one device and dtype."""

    device: torch.device
    parameter_dtype: torch.dtype
    gradient_dtype: torch.dtype
    table: Tensor
    blocks: Tensor
    numbers: Tensor
    indices: Tensor


@dataclass
class Plan:
    """What one step does: the launches, and which tensors they leave to the foreach implementation."""

    launches: list[Launch]
    rest: list[int]


class DeviceNumbers:
    """A group's hyperparameters on one device, each written when it changes, always in the same memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._written: tuple[float, ...] = ()
        self._rate_written: float | None = None
        self._rate = torch.zeros((), dtype=torch.float32, device=device)
        self._constants = torch.zeros(len(CONSTANTS), dtype=torch.float32, device=device)
        self._seed = torch.zeros(1, dtype=torch.int64, device=device)

    def rate(self, rate: float | Tensor) -> Tensor:
        """The learning rate as a tensor of the device; a tensor that is there already is used itself."""
        if isinstance(rate, Tensor) and rate.device == self._device:
            return rate
        value = float(rate)  # a number, or a tensor of the CPU: nothing to wait for
        if value != self._rate_written:
            refuse_capture(self._device, f"lr changes to the number {value}", remedy="give lr as a tensor")
            self._rate.fill_(value)
            self._rate_written = value
        return self._rate

    def constants(self, values: Sequence[float], seed: int) -> tuple[Tensor, Tensor]:
        """The kernels' `constants` and `seeds`."""
        wanted = (*values, seed)
        if wanted != self._written:
            refuse_capture(self._device, "a hyperparameter changes")
            self._constants.copy_(on_device(torch.tensor(values, dtype=torch.float32), self._device))
            self._seed.fill_(seed)
            self._written = wanted
        return self._constants, self._seed


def capturing(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def sets_aside(device: torch.device) -> bool:
    """Whether tables are set aside for a capture that may come."""
    return device.type == "cuda"


def refuse_capture(device: torch.device, fact: str, *, remedy: str = "run one step before capturing") -> None:
    if capturing(device):
        raise ValueError(f"{fact} inside a CUDA graph capture: {remedy}")


def keep(cache: dict[Key, Kept], key: Key, value: Kept) -> None:
    """Add to a cache and drop what has been there longest; sets of parameters with gradients may change every step."""
    cache.setdefault(key, value)
    while len(cache) > KEPT_PLANS:
        cache.pop(next(iter(cache)))


class FusedGroup:
    """The fused implementation for one parameter group, with its tables. It holds addresses, never tensors."""

    def __init__(self) -> None:
        self._plans: dict[Key, Plan] = {}
        self._blocks: dict[Key, Tensor] = {}
        self._spares: dict[Key, tuple[Tensor, Launch]] = {}
        self._short = False
        self._captured: list[Plan] = []
        self._hosts: list[Tensor] = []
        self._numbers: dict[torch.device, DeviceNumbers] = {}

    def step(
        self,
        columns: Columns,
        *,
        constants: Atan2Constants,
        rate: float | Tensor,
        decay: WeightDecay,
        rounding: Rounding,
        maximize: bool,
    ) -> list[int]:
        """Update what the kernels can, of tensors of one device, in place and steps counted; returns what is left."""
        plan = self._plan(columns)
        stochastic = isinstance(rounding, StochasticRounding)
        seed = rounding.seed if isinstance(rounding, StochasticRounding) else 0
        values = [*constants.weights, *map(log_beta, constants.betas), constants.a, constants.b]
        values += [decay.per_rate, decay.per_step]
        for launch in plan.launches:
            if launch.device not in self._numbers:
                self._numbers[launch.device] = DeviceNumbers(launch.device)
            numbers = self._numbers[launch.device]
            table, seeds = numbers.constants(values, seed)
            run(
                launch,
                constants=table,
                seeds=seeds,
                rate=numbers.rate(rate),
                root=constants.second_moment == ROOT,
                maximize=maximize,
                stochastic=stochastic,
            )
        return plan.rest

    def _plan(self, columns: Columns) -> Plan:
        key = key_of(columns)
        captured = capturing(columns.parameters[0].device)
        plan = None if self._short and not captured else self._plans.get(key)
        if plan is None:
            alike: dict[tuple[torch.device, torch.dtype, torch.dtype], list[int]] = defaultdict(list)
            rest: list[int] = []
            for i, (p, g, m, moment) in enumerate(zip(*columns[:4], strict=True)):
                (alike[p.device, p.dtype, g.dtype] if is_fusible(p, g, m, moment) else rest).append(i)
            plan = Plan([self._launch(columns.chosen(at), *kind) for kind, at in alike.items()], rest)
        if captured:
            self._captured.append(plan)  # the graph reads its tables for as long as it lives
            return plan
        self._short = False
        keep(self._plans, key, plan)
        return plan

    def _launch(self, columns: Columns, device: torch.device, p: torch.dtype, g: torch.dtype) -> Launch:
        """The tables for tensors that are alike; in a capture, in the memory that was set aside for it."""
        numels = tuple(map(Tensor.numel, columns.parameters))
        rows = torch.tensor(address_table(columns), dtype=torch.int64)
        kind = (device, p, g, numels, tuple(columns.indices))
        if capturing(device):
            if kind not in self._spares:
                refuse_capture(device, "a table of addresses is needed for the first time")
            host, launch = self._spares.pop(kind)
            self._short = True
            host.copy_(rows)
            launch.table.copy_(host, non_blocking=True)
            self._hosts.append(host)
            return launch
        launch = self._new_launch(rows, kind, device, p, g, numels, columns.indices)
        if sets_aside(device) and kind not in self._spares:
            spare = self._new_launch(rows, kind, device, p, g, numels, columns.indices)
            keep(self._spares, kind, (rows.pin_memory() if device.type == "cuda" else rows, spare))
        return launch

    def _new_launch(
        self,
        rows: Tensor,
        kind: Key,
        device: torch.device,
        p: torch.dtype,
        g: torch.dtype,
        numels: Sequence[int],
        indices: list[int],
    ) -> Launch:
        if kind not in self._blocks:
            keep(self._blocks, kind, on_device(block_table(numels, block=BLOCK), device))
        numbers = torch.empty(len(numels), 4, dtype=torch.float32, device=device)
        return Launch(
            device,
            p,
            g,
            on_device(rows, device),
            self._blocks[kind],
            numbers,
            on_device(torch.tensor(indices, dtype=torch.int32), device),
        )


def run(
    launch: Launch,
    *,
    constants: Tensor,
    seeds: Tensor,
    rate: Tensor,
    root: bool,
    maximize: bool,
    stochastic: bool,
) -> None:
    """The two kernels on one launch's tables."""
    compiled = kernels()
    count = len(launch.table)
    with torch.cuda.device(launch.device) if launch.device.type == "cuda" else nullcontext():
        compiled.prepare[(-(-count // PREPARED_AT_ONCE),)](
            launch.table,
            launch.numbers,
            constants,
            rate,
            count,
            BLOCK=PREPARED_AT_ONCE,
            enable_fp_fusion=False,
        )
        if not len(launch.blocks):
            return
        compiled.update[(len(launch.blocks),)](
            launch.table,
            launch.blocks,
            launch.numbers,
            constants,
            launch.indices,
            seeds,
            P=compiled.dtypes[launch.parameter_dtype],
            G=compiled.dtypes[launch.gradient_dtype],
            ROOT=root,
            MAXIMIZE=maximize,
            STOCHASTIC=stochastic,
            BLOCK=BLOCK,
            num_warps=WARPS,
            enable_fp_fusion=False,
        )
