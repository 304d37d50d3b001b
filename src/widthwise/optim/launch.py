"""The tables of one launch of the moment kernels, and how each kernel is launched on them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.optim import moment_kernel
from widthwise.optim.address_table import block_table, first_blocks
from widthwise.optim.device_tables import on_device

PREPARED_AT_ONCE = 256
SUMMED_AT_ONCE = 1024


@dataclass
class Launch:
    """Everything the kernels read that says which tensors to work on, all of one device and dtype.

    Args:
        numbers: float32 [rows, 4]; a row is one member of one tensor.
        tables: what depends on the tensors' sizes alone.
    """

    device: torch.device
    parameter_dtype: torch.dtype
    gradient_dtype: torch.dtype
    copy_dtype: torch.dtype | None
    table: Tensor
    numbers: Tensor
    tables: "Tables"


@dataclass
class Tables:
    """What depends on the tensors' sizes alone; shared by the launches on them.

    Args:
        blocks: int32 [blocks, 3], see `moment_kernel`.
        firsts: int32 [rows + 1], where each row's blocks begin.
        numels: float32 [rows], at least 1.
        indices: int32 [tensors].
        sums: float32 [blocks], scales: float32 [rows]; parameter scaling's memory.
        rows: how many.
    """

    device: torch.device
    blocks: Tensor
    firsts: Tensor
    numels: Tensor
    indices: Tensor
    sums: Tensor
    scales: Tensor
    rows: int

    @classmethod
    def of(
        cls, numels: Sequence[int], indices: Sequence[int], device: torch.device, *, members: int = 1
    ) -> "Tables":
        """The tables of tensors with these numbers of elements a member."""
        blocks = block_table(numels, block=moment_kernel.TILE * moment_kernel.CHUNK, members=members)
        rows = len(numels) * members
        sizes = torch.tensor(numels, dtype=torch.float32).clamp_min(1).repeat_interleave(members)
        return cls(
            device=device,
            blocks=on_device(blocks, device),
            firsts=on_device(first_blocks(blocks, rows=rows, members=members), device),
            numels=on_device(sizes, device),
            indices=on_device(torch.tensor(indices, dtype=torch.int32), device),
            sums=torch.empty(len(blocks), dtype=torch.float32, device=device),
            scales=torch.empty(rows, dtype=torch.float32, device=device),
            rows=rows,
        )

    def launch(
        self,
        addresses: Tensor,
        *,
        parameter_dtype: torch.dtype,
        gradient_dtype: torch.dtype,
        copy_dtype: torch.dtype | None = None,
    ) -> Launch:
        """A launch on the tensors at these addresses (`address_table`, int64)."""
        numbers = torch.empty(self.rows, 4, dtype=torch.float32, device=self.device)
        table = on_device(addresses, self.device)
        return Launch(self.device, parameter_dtype, gradient_dtype, copy_dtype, table, numbers, self)


def _on(device: torch.device) -> AbstractContextManager[object]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def run_scales(launch: Launch, constants: Tensor) -> Tensor:
    """max(floor, RMS(theta)) of each row, float32 [rows]."""
    kernels, tables = moment_kernel.kernels(), launch.tables
    with _on(launch.device):
        if len(tables.blocks):
            kernels.square_sums[(len(tables.blocks),)](
                launch.table,
                tables.blocks,
                tables.sums,
                P=kernels.dtypes[launch.parameter_dtype],
                TILE=moment_kernel.TILE,
                CHUNK=moment_kernel.CHUNK,
            )
        kernels.root_mean_squares[(tables.rows,)](
            tables.sums,
            tables.firsts,
            tables.numels,
            tables.scales,
            constants,
            BLOCK=SUMMED_AT_ONCE,
        )
    return tables.scales


def run_prepare(launch: Launch, constants: Tensor, *, rate: Tensor, rule: str, scaled: bool) -> None:
    """Count a step of each tensor, and write the launch's numbers; for tensors of one member."""
    kernels, count = moment_kernel.kernels(), len(launch.table)
    scales = run_scales(launch, constants) if scaled else launch.tables.scales
    with _on(launch.device):
        kernels.prepare[(-(-count // PREPARED_AT_ONCE),)](
            launch.table,
            launch.numbers,
            constants,
            rate,
            scales,
            count,
            RULE=rule,
            SCALED=scaled,
            BLOCK=PREPARED_AT_ONCE,
            enable_fp_fusion=False,
        )


def run_update(
    launch: Launch,
    constants: Tensor,
    *,
    seeds: Tensor,
    rule: str,
    root: bool,
    maximize: bool = False,
    stochastic: bool = False,
    gap: int = 0,
) -> None:
    """Move every tensor of a launch by its numbers, in place."""
    kernels, tables = moment_kernel.kernels(), launch.tables
    if not len(tables.blocks):
        return
    with _on(launch.device):
        kernels.update[(len(tables.blocks),)](
            launch.table,
            tables.blocks,
            launch.numbers,
            constants,
            tables.indices,
            seeds,
            gap,
            P=kernels.dtypes[launch.parameter_dtype],
            G=kernels.dtypes[launch.gradient_dtype],
            C=kernels.dtypes[launch.copy_dtype or launch.parameter_dtype],
            RULE=rule,
            ROOT=root,
            MAXIMIZE=maximize,
            STOCHASTIC=stochastic,
            COPY=launch.copy_dtype is not None,
            TILE=moment_kernel.TILE,
            CHUNK=moment_kernel.CHUNK,
            num_warps=moment_kernel.WARPS,
            enable_fp_fusion=False,
        )
