"""One launch of the fused Adafactor: what its tensors have in common, its memory on the device, and its kernels."""

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.optim.adafactor_kernels import CONSTANTS, NUMBERS, kernels
from widthwise.optim.adafactor_single import AdafactorConstants
from widthwise.optim.adafactor_tables import TABLE_COLUMNS, Shape, Tile, layout
from widthwise.optim.device_tables import on_device, refuse_capture
from widthwise.optim.weight_decay import WeightDecay

CHUNK, DEEP = 64, 32
"""Rows or columns whose means one program finishes, and how many partial sums of each it adds at once."""

REDUCED_AT_ONCE = 1024
PREPARED_AT_ONCE = 128


@dataclass(frozen=True)
class Kind:
    """What tensors of one launch have in common, and all that their layout depends on."""

    device: torch.device
    parameter_dtype: torch.dtype
    gradient_dtype: torch.dtype
    aligned: bool
    shapes: tuple[Shape, ...]
    indices: tuple[int, ...]
    tile: Tile
    clipped: bool
    scaled: bool
    momentum: bool


@dataclass(frozen=True)
class Workplace:
    """What tensors of a kind are worked on with, wherever they lie; see `adafactor_tables.Layout`."""

    rows: Tensor
    slots: Tensor
    strips: Tensor
    chunks: Tensor
    pieces: Tensor
    segments: Tensor
    late_segments: Tensor
    numbers: Tensor
    scratch: Tensor


def workplace(kind: Kind) -> Workplace:
    """The blocks and the memory for tensors of a kind."""
    own = layout(
        kind.shapes, kind.indices, tile=kind.tile, chunk=CHUNK, clipped=kind.clipped, scaled=kind.scaled
    )
    blocks = (own.slots, own.strips, own.chunks, own.pieces, own.segments, own.late_segments)
    return Workplace(
        own.rows,
        *(on_device(block, kind.device) for block in blocks),
        numbers=torch.empty(len(own.slots), len(NUMBERS), dtype=torch.float32, device=kind.device),
        scratch=torch.empty(own.scratch, dtype=torch.float32, device=kind.device),
    )


@dataclass(frozen=True)
class Launch:
    """The table of all tensors of one kind, on the device, and what they are worked on with."""

    kind: Kind
    table: Tensor
    place: Workplace


class DeviceNumbers:
    """A group's hyperparameters on one device, each written when it changes, always in the same memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._written: tuple[float, ...] = ()
        self._rate_written: float | None = None
        self._rate = torch.zeros((), dtype=torch.float32, device=device)
        self.constants = torch.zeros(len(CONSTANTS), dtype=torch.float64, device=device)
        self.seed = torch.zeros(1, dtype=torch.int64, device=device)

    def rate(self, rate: float | Tensor) -> Tensor:
        """The rate where the kernels find it: a float32 tensor of the device is used itself."""
        if isinstance(rate, Tensor) and rate.device == self._device:
            if rate.dtype == torch.float32:
                return rate.reshape(())
            self._rate_written = None
            return self._rate.copy_(rate.reshape(()))
        value = float(rate)  # a number, or a tensor of the CPU: nothing to wait for
        if value != self._rate_written:
            refuse_capture(self._device, f"lr changes to the number {value}", remedy="give lr as a tensor")
            self._rate.fill_(value)
            self._rate_written = value
        return self._rate

    def write(self, constants: AdafactorConstants, decay: WeightDecay, seed: int) -> None:
        """The kernels' `constants` and `seeds`; what is switched off is not read."""
        scaling = constants.parameter_scaling
        values = (
            constants.decay_rate,
            constants.step_offset,
            constants.eps,
            constants.clipping_threshold or 0.0,
            0.0 if scaling is None else scaling.floor,
            constants.momentum or 0.0,
            decay.per_rate,
            decay.per_step,
        )
        if (*values, seed) != self._written:
            refuse_capture(self._device, "a hyperparameter changes")
            self.constants.copy_(on_device(torch.tensor(values, dtype=torch.float64), self._device))
            self.seed.fill_(seed)
            self._written = (*values, seed)


def run(launch: Launch, numbers: DeviceNumbers, *, maximize: bool, stochastic: bool) -> None:
    """All kernels of one step, in their order; without clipping there is no pass over squares of updates."""
    kind, place, compiled = launch.kind, launch.place, kernels()
    table, scratch, tile = launch.table, place.scratch, kind.tile
    dtypes = {"P": compiled.dtypes[kind.parameter_dtype], "G": compiled.dtypes[kind.gradient_dtype]}
    strip = {"WIDTH": TABLE_COLUMNS, "ROWS": tile.rows, "COLUMNS": tile.columns, "STEPS": tile.steps}
    aligned = {"ALIGNED": kind.aligned, "num_warps": tile.warps, "enable_fp_fusion": False}
    switches = {"SCALED": kind.scaled, "CLIPPED": kind.clipped}
    moves = {
        **dtypes, **switches, "MOMENTUM": kind.momentum, "MAXIMIZE": maximize, "STOCHASTIC": stochastic, **aligned
    }  # fmt: skip
    strips, pieces = len(place.strips), len(place.pieces)

    def reduce(segments: Tensor) -> None:
        if len(segments):
            compiled.reduce[(len(segments),)](segments, scratch, BLOCK=REDUCED_AT_ONCE)

    with torch.cuda.device(kind.device) if kind.device.type == "cuda" else nullcontext():
        count = len(place.slots)
        compiled.prepare[(-(-count // PREPARED_AT_ONCE),)](
            table, place.slots, place.numbers, numbers.constants, count,
            WIDTH=TABLE_COLUMNS, BLOCK=PREPARED_AT_ONCE, enable_fp_fusion=False,
        )  # fmt: skip
        if strips:
            compiled.sums[(strips,)](
                table, place.strips, scratch, **dtypes, **strip, **aligned, SCALED=kind.scaled
            )
            compiled.finish[(len(place.chunks),)](
                table, place.chunks, scratch, place.numbers, numbers.constants,
                **strip, CHUNK=CHUNK, DEEP=DEEP, enable_fp_fusion=False,
            )  # fmt: skip
            reduce(place.segments)
            if kind.clipped:
                compiled.squares[(strips,)](table, place.strips, scratch, G=dtypes["G"], **strip, **aligned)
        flat = {"WIDTH": TABLE_COLUMNS, "BLOCK": tile.flat}
        if pieces and (kind.clipped or kind.scaled):
            compiled.flat[(pieces,)](
                table, place.pieces, scratch, place.numbers, numbers.constants,
                **dtypes, **switches, **aligned, **flat,
            )  # fmt: skip
        reduce(place.late_segments)
        if strips:
            compiled.update[(strips,)](
                table, place.strips, scratch, place.numbers, numbers.constants, numbers.seed, **moves, **strip
            )
        if pieces:
            compiled.update_flat[(pieces,)](
                table, place.pieces, scratch, place.numbers, numbers.constants, numbers.seed, **moves, **flat
            )
