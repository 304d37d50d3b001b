"""Where the tensors of a group lie in memory, as the fused kernels read it: tables of addresses and of blocks."""

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Of weights and gradients; the moments are float32."""

_DTYPE = attrgetter("dtype")


class Columns(NamedTuple):
    """The tensors of one group, one list a role, in the same order."""

    parameters: list[Tensor]
    gradients: list[Tensor]
    ms: list[Tensor]
    moments: list[Tensor]
    flags: list[Tensor]
    steps: list[Tensor]
    indices: list[int]

    def chosen(self, places: Sequence[int]) -> "Columns":
        """The tensors at these places."""
        taken = ([column[i] for i in places] for column in self)
        return Columns(*taken)  # pyright: ignore[reportArgumentType]


def key_of(columns: Columns) -> tuple[object, ...]:
    """What a plan depends on: every address, number of elements, layout and dtype.

    A tensor may come back at the address of another that was freed, so addresses alone do not do.
    """
    tensors = (*columns.parameters, *columns.gradients)
    addressed = chain(tensors, columns.ms, columns.moments, columns.flags, columns.steps)
    contiguous = tuple(map(Tensor.is_contiguous, tensors))
    return (
        tuple(map(Tensor.data_ptr, addressed)),
        tuple(map(Tensor.numel, columns.parameters)),
        contiguous,
        None if all(contiguous) else tuple(map(Tensor.stride, tensors)),
        tuple(map(_DTYPE, tensors)),
    )


def is_dense(tensor: Tensor) -> bool:
    """Whether the tensor's elements fill a stretch of memory, each once, in some order of its dimensions."""
    expected = 1
    dimensions = zip(tensor.stride(), tensor.shape, strict=True)
    for stride, size in sorted(pair for pair in dimensions if pair[1] != 1):
        if stride != expected:
            return False
        expected *= size
    return True


def is_fusible(parameter: Tensor, gradient: Tensor, m: Tensor, moment: Tensor) -> bool:
    """Whether the kernel can walk through all four in the order of memory."""
    alike = parameter.stride() == gradient.stride() == m.stride() == moment.stride()
    known = parameter.dtype in DTYPES and gradient.dtype in DTYPES and m.dtype == torch.float32
    return alike and known and is_dense(parameter)


def address_table(columns: Columns) -> list[list[int]]:
    """The kernels' `table`, a row a tensor."""
    rows: list[list[int]] = []
    for p, g, m, moment, flag, step, _ in zip(*columns, strict=True):
        walked = [t.data_ptr() for t in (p, g, m, moment)]
        rows.append(
            [*walked, step.data_ptr(), flag.data_ptr(), p.numel(), all(at % 16 == 0 for at in walked)]
        )
    return rows


def block_table(numels: Sequence[int], *, block: int) -> Tensor:
    """The kernels' `blocks`: which tensor each belongs to, and its place in it.

    Example:
        >>> block_table([9, 0, 5], block=8).tolist()
        [[0, 0], [0, 1], [2, 0]]
    """
    counts = torch.tensor([-(-numel // block) for numel in numels], dtype=torch.int64)
    tensor = torch.repeat_interleave(torch.arange(len(numels)), counts)
    first = (counts.cumsum(0) - counts)[tensor]
    return torch.stack([tensor, torch.arange(len(tensor)) - first], dim=1).to(torch.int32)
