"""Where the tensors of a group lie in memory, as the fused kernels read it: tables of addresses and of blocks."""

from collections.abc import Iterable, Sequence
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


def key_of(
    parameters: Sequence[Tensor], gradients: Sequence[Tensor], states: Iterable[Iterable[Tensor]]
) -> tuple[object, ...]:
    """What a plan depends on: every address, number of elements, layout and dtype.

    A tensor may come back at the address of another that was freed, so addresses alone do not do. With thousands of
    tensors this is what a step's host does, so it loops in C.

    Args:
        parameters, gradients: in the same order.
        states: for each of them the first moment, the second, the flag and the count of steps.

    Raises:
        RuntimeError, TypeError: a gradient is absent or not dense.
    """
    addressed = chain(parameters, gradients, chain.from_iterable(states))
    contiguous = (*map(Tensor.is_contiguous, parameters), *map(Tensor.is_contiguous, gradients))
    return (
        tuple(map(Tensor.data_ptr, addressed)),
        tuple(map(Tensor.numel, parameters)),
        None if all(contiguous) else (*map(Tensor.stride, parameters), *map(Tensor.stride, gradients)),
        tuple(map(_DTYPE, parameters)),
        tuple(map(_DTYPE, gradients)),
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


def member_numel(parameter: Tensor, members: int) -> int:
    """The number of elements of each of a tensor's members."""
    return parameter.numel() // members


def address_table(
    columns: Columns, *, members: int = 1, copies: Sequence[Tensor] | None = None
) -> list[list[int]]:
    """The kernels' `table`, a row a tensor.

    Args:
        columns: the tensors; with several members, each is [members, ...] and contiguous.
        copies: of the parameters, in another dtype, which the step writes too.
    """
    rows: list[list[int]] = []
    for i, (p, g, m, moment, flag, step, _) in enumerate(zip(*columns, strict=True)):
        walked = [p, g, m, moment, *([] if copies is None else [copies[i]])]
        numel = member_numel(p, members)
        strides = [numel * t.element_size() for t in walked] if members > 1 else []
        aligned = all(at % 16 == 0 for at in (*(t.data_ptr() for t in walked), *strides))
        addresses = [t.data_ptr() for t in (p, g, m, moment, step, flag)]
        copied = 0 if copies is None else copies[i].data_ptr()
        rows.append([*addresses, copied, numel, aligned, i * members])
    return rows


def block_table(numels: Sequence[int], *, block: int, members: int = 1) -> Tensor:
    """The kernels' `blocks`: which tensor each belongs to, which member, and its place in it.

    Args:
        numels: of one member of each tensor.

    Example:
        >>> block_table([9, 0, 5], block=8).tolist()
        [[0, 0, 0], [0, 0, 1], [2, 0, 0]]
        >>> block_table([9], block=8, members=2).tolist()
        [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]
    """
    counts = torch.tensor([-(-numel // block) for numel in numels], dtype=torch.int64)
    counts = counts.repeat_interleave(members)
    row = torch.repeat_interleave(torch.arange(len(counts)), counts)
    first = (counts.cumsum(0) - counts)[row]
    place = torch.arange(len(row)) - first
    return torch.stack([row // members, row % members, place], dim=1).to(torch.int32)


def first_blocks(blocks: Tensor, *, rows: int, members: int = 1) -> Tensor:
    """Where each row's blocks begin in a block table, int32 [rows + 1], the last being their number.

    Example:
        >>> first_blocks(block_table([9, 0, 5], block=8), rows=3).tolist()
        [0, 2, 2, 3]
    """
    owner = blocks[:, 0].long() * members + blocks[:, 1]
    return torch.searchsorted(owner, torch.arange(rows + 1)).to(torch.int32)
