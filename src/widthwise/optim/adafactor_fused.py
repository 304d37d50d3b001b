"""One step of Adafactor in a few launches for all tensors of one dtype: tables, scratch memory, and the launches.

The tables live on the device and are written again only when an address changes. Numbers live there too, so that no
launch depends on one: a captured CUDA graph follows a learning rate that is a tensor.

A capture usually sees gradients at addresses of its own. Its table is then filled by a copy that is part of the graph,
from memory set aside by an earlier step, which therefore has to have run.

With `batch_dims=1` every tensor is [P, ...], its step count and flag are [P], and so may its rate be: a population is
updated in the launches of one model.
"""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from widthwise.optim import device_tables
from widthwise.optim.adafactor_launch import (
    DeviceNumbers,
    Kind,
    Launch,
    Workplace,
    run,
    workplace,
)
from widthwise.optim.adafactor_single import AdafactorConstants
from widthwise.optim.adafactor_tables import (
    ADDRESSES,
    Tensors,
    Tile,
    addresses,
    check_members,
    is_aligned,
    is_fusible,
    key_of,
    shape_of,
)
from widthwise.optim.device_tables import Key, keep, on_device, refuse_capture
from widthwise.optim.implementation import has_triton, interpreted
from widthwise.optim.rounding import NEAREST, Rounding, StochasticRounding
from widthwise.optim.weight_decay import NO_DECAY, WeightDecay

TILE, SCALED_TILE = Tile(), Tile(rows=8, steps=16)
"""Of launches without and with parameter scaling, which reads the weights in the first pass too: on an H200 the fastest
of those that `benchmarks/adafactor_step.py` tries."""


def runs_kernels(fused: bool | None, device: torch.device) -> bool:
    """Whether a group's tensors on a device are given to the kernels; Triton's interpreter runs them on a CPU.

    Raises:
        ValueError: they are asked for on a device that they do not run on.

    Example:
        >>> runs_kernels(None, torch.device("cpu"))
        False
    """
    cuda = device.type == "cuda"
    if fused and not (cuda or interpreted()):
        raise ValueError(
            f"fused=True with parameters on {device}: the kernels need CUDA; leave fused at None"
        )
    if torch.compiler.is_compiling() or not (fused or (cuda and fused is None)):
        return False
    return has_triton()


def tile_of(constants: AdafactorConstants) -> Tile:
    """How the kernels cut tensors."""
    return TILE if constants.parameter_scaling is None else SCALED_TILE


class FusedAdafactor:
    """The fused implementation for tensors that share their hyperparameters. It holds addresses, never tensors."""

    def __init__(self) -> None:
        self._plans: dict[Key, tuple[list[Launch], list[int]]] = {}
        self._layouts: dict[Key, Workplace] = {}
        self._spares: dict[Key, tuple[Tensor, Launch]] = {}
        self._short = False
        self._captured: list[object] = []
        self._numbers: dict[torch.device, DeviceNumbers] = {}

    def step(
        self,
        tensors: Tensors,
        *,
        constants: AdafactorConstants,
        rate: float | Tensor | Sequence[Tensor],
        decay: WeightDecay = NO_DECAY,
        rounding: Rounding = NEAREST,
        maximize: bool = False,
        batch_dims: int = 0,
    ) -> list[int]:
        """Update what the kernels can, of tensors of one device, in place and steps counted.

        Args:
            tensors: parameters, gradients and states, as `adafactor_state.state_of` makes them; with `batch_dims=1`
                all [P, ...], and `step` and `non_finite_step` [P].
            constants: see there.
            rate: one for all, or a contiguous float32 tensor for each, [] or [P].
            decay: coupled to each rate, or independent of it.
            rounding: how bfloat16 weights are rounded.
            maximize: go up instead of down.
            batch_dims: how many leading dimensions are separate tensors, 0 or 1.

        Returns:
            The places of the tensors that are left to the reference.

        Raises:
            ValueError: a count of steps, a flag or a rate is not [P]; a capture needs a new table.
        """
        if not tensors.parameters:
            return []
        device = tensors.parameters[0].device
        numbers = self._numbers.setdefault(device, DeviceNumbers(device))
        stochastic = isinstance(rounding, StochasticRounding)
        numbers.write(constants, decay, rounding.seed if isinstance(rounding, StochasticRounding) else 0)
        one = isinstance(rate, Tensor | float | int)
        rates = [numbers.rate(rate)] * len(tensors.parameters) if one else list(rate)
        if batch_dims:
            check_members(tensors, rates)
        launches, rest = self._plan(tensors, rates, constants, batch_dims)
        for launch in launches:
            run(launch, numbers, maximize=maximize, stochastic=stochastic)
        return rest

    def _plan(
        self, tensors: Tensors, rates: list[Tensor], constants: AdafactorConstants, batch_dims: int
    ) -> tuple[list[Launch], list[int]]:
        key = (key_of(tensors, rates), constants, batch_dims, tile_of(constants))
        captured = device_tables.capturing(tensors.parameters[0].device)
        plan = None if self._short and not captured else self._plans.get(key)
        if plan is None:
            alike: dict[Key, list[int]] = defaultdict(list)
            rest: list[int] = []
            for i, (p, g, state, _) in enumerate(zip(*tensors, strict=True)):
                if is_fusible(p, g, state, constants=constants, batch_dims=batch_dims):
                    shape = shape_of(p, constants=constants, batch_dims=batch_dims)
                    alike[p.dtype, g.dtype, is_aligned(p, g, state, shape)].append(i)
                else:
                    rest.append(i)
            launches = [
                self._launch(tensors.chosen(at), [rates[i] for i in at], constants, batch_dims, kind)
                for kind, at in alike.items()
            ]
            plan = (launches, rest)
        if captured:
            self._captured.append(plan)  # the graph reads its tables for as long as it lives
            return plan
        self._short = False
        keep(self._plans, key, plan)
        return plan

    def _launch(
        self,
        tensors: Tensors,
        rates: list[Tensor],
        constants: AdafactorConstants,
        batch_dims: int,
        alike: Key,
    ) -> Launch:
        """The tables for tensors that are alike; in a capture, in the memory that was set aside for it."""
        device, aligned = tensors.parameters[0].device, alike[2]
        kind = Kind(
            device,
            tensors.parameters[0].dtype,
            tensors.gradients[0].dtype,
            bool(aligned),
            tuple(shape_of(p, constants=constants, batch_dims=batch_dims) for p in tensors.parameters),
            tuple(tensors.indices),
            tile_of(constants),
            constants.clipping_threshold is not None,
            constants.parameter_scaling is not None,
            constants.momentum is not None,
        )
        found = torch.tensor(addresses(tensors, rates), dtype=torch.int64)
        if device_tables.capturing(device):
            if (kind,) not in self._spares:
                refuse_capture(device, "a table of addresses is needed for the first time")
            host, launch = self._spares.pop((kind,))
            self._short = True
            host[:, :ADDRESSES] = found
            launch.table.copy_(host, non_blocking=True)
            self._captured.append(host)
            return launch
        launch, rows = self._new_launch(found, kind)
        if device_tables.sets_aside(device) and (kind,) not in self._spares:
            spare, _ = self._new_launch(found, kind)
            keep(self._spares, (kind,), (rows.pin_memory() if device.type == "cuda" else rows, spare))
        return launch

    def _new_launch(self, found: Tensor, kind: Kind) -> tuple[Launch, Tensor]:
        """The launch, and its table on the host; launches of one kind share their scratch memory."""
        if (kind,) not in self._layouts:
            keep(self._layouts, (kind,), workplace(kind))
        place = self._layouts[(kind,)]
        rows = torch.cat([found, place.rows], dim=1)
        return Launch(kind, on_device(rows, kind.device), place), rows
