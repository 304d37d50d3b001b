"""One step in a few launches for all tensors of one dtype: tables of addresses, and the kernels' launch.

The tables live on the device and are written again only when an address changes: a gradient that was allocated anew,
a state that was loaded, a weight that was moved. The learning rate is a number on the device as well, written when it
changes, so that no launch depends on one: a captured CUDA graph follows a learning rate that is a tensor.

A capture usually sees gradients at addresses of its own. Its table is then filled by a copy that is part of the graph,
from memory set aside by an earlier step, which therefore has to have run.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.optim import device_tables
from widthwise.optim.address_table import Columns, address_table, is_fusible, key_of
from widthwise.optim.bias_correction import log_beta
from widthwise.optim.device_tables import Key, keep, on_device, refuse_capture
from widthwise.optim.direction import Angle, Direction, Ratio
from widthwise.optim.launch import Launch, Tables, run_prepare, run_update
from widthwise.optim.moment_step import MomentConstants
from widthwise.optim.rounding import Rounding, StochasticRounding
from widthwise.optim.second_moment import ROOT
from widthwise.optim.weight_decay import WeightDecay


def rule_of(direction: Direction) -> tuple[str, float]:
    """The kernels' name of a direction, and its own number.

    Raises:
        ValueError: the kernels do not have it.
    """
    match direction:
        case Angle():
            return "atan2", direction.b
        case Ratio():
            return "adam", direction.epsilon
        case _:
            raise ValueError(f"the kernels have no {type(direction).__name__}: leave fused at None")


@dataclass
class Plan:
    """What one step does: the launches, and which tensors they leave to the foreach implementation."""

    launches: list[Launch]
    rest: list[int]


class DeviceNumbers:
    """A group's hyperparameters on one device, each written when it changes, always in the same memory."""

    def __init__(self, device: torch.device, constants: int) -> None:
        self._device = device
        self._written: tuple[float, ...] = ()
        self._rate_written: float | None = None
        self._rate = torch.zeros((), dtype=torch.float32, device=device)
        self._constants = torch.zeros(constants, dtype=torch.float32, device=device)
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


def constant_values(constants: MomentConstants, decay: WeightDecay) -> list[float]:
    """The kernels' `constants`, in their order."""
    scaling = constants.parameter_scaling
    return [
        *constants.weights,
        *map(log_beta, constants.betas),
        constants.direction.scale,
        rule_of(constants.direction)[1],
        decay.per_rate,
        decay.per_step,
        0.0 if scaling is None else scaling.floor,
    ]


class FusedGroup:
    """The fused implementation for one parameter group, with its tables. It holds addresses, never tensors."""

    def __init__(self) -> None:
        self._plans: dict[Key, Plan] = {}
        self._blocks: dict[Key, Tables] = {}
        self._spares: dict[Key, tuple[Tensor, Launch]] = {}
        self._short = False
        self._captured: list[Plan] = []
        self._hosts: list[Tensor] = []
        self._numbers: dict[torch.device, DeviceNumbers] = {}

    def known(self, key: Key | None) -> Plan | None:
        """The plan of an earlier step on the same tensors; none for a capture that needs tables of its own."""
        return None if self._short or key is None else self._plans.get(key)

    def step(
        self,
        plan: Plan,
        *,
        constants: MomentConstants,
        rate: float | Tensor,
        decay: WeightDecay,
        rounding: Rounding,
        maximize: bool,
    ) -> list[int]:
        """Update what the kernels can, of tensors of one device, in place and steps counted; returns what is left."""
        seed = rounding.seed if isinstance(rounding, StochasticRounding) else 0
        rule, _ = rule_of(constants.direction)
        values = constant_values(constants, decay)
        for launch in plan.launches:
            if launch.device not in self._numbers:
                self._numbers[launch.device] = DeviceNumbers(launch.device, len(values))
            numbers = self._numbers[launch.device]
            table, seeds = numbers.constants(values, seed)
            scaled = constants.parameter_scaling is not None
            run_prepare(launch, table, rate=numbers.rate(rate), rule=rule, scaled=scaled)
            run_update(
                launch,
                table,
                seeds=seeds,
                rule=rule,
                root=constants.second_moment == ROOT,
                maximize=maximize,
                stochastic=isinstance(rounding, StochasticRounding),
            )
        return plan.rest

    def plan(self, columns: Columns) -> Plan:
        """How to step these tensors of one device: tables made, or found again."""
        key = key_of(columns.parameters, columns.gradients, zip(*columns[2:6], strict=True))
        captured = device_tables.capturing(columns.parameters[0].device)
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
        if device_tables.capturing(device):
            if kind not in self._spares:
                refuse_capture(device, "a table of addresses is needed for the first time")
            host, launch = self._spares.pop(kind)
            self._short = True
            host.copy_(rows)
            launch.table.copy_(host, non_blocking=True)
            self._hosts.append(host)
            return launch
        if kind not in self._blocks:
            keep(self._blocks, kind, Tables.of(numels, columns.indices, device))
        launch = self._blocks[kind].launch(rows, parameter_dtype=p, gradient_dtype=g)
        if device_tables.sets_aside(device) and kind not in self._spares:
            spare = self._blocks[kind].launch(rows, parameter_dtype=p, gradient_dtype=g)
            keep(self._spares, kind, (rows.pin_memory() if device.type == "cuda" else rows, spare))
        return launch
