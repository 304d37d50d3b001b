"""What the fused Adafactor reads about its tensors: addresses, sizes, which block does what, and where sums go.

A *matrix* is one factored [M, N]: a tensor [P, *leading, M, N] of P separate members has P L of them, L the product of
`leading`. Its strips are rectangles that one program walks through, and leave partial sums of squares for rows, columns
and whole members in scratch memory. What is not factored is *flat*: pieces of each member's elements.

Everything is laid out per member, and depends on the member's own shape only: a member is computed to the bit as it
would be alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from operator import attrgetter
from typing import NamedTuple

import torch
from torch import Tensor

from widthwise.optim.adafactor_single import AdafactorConstants
from widthwise.optim.address_table import is_dense

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Of weights and gradients; the state is float32."""

LARGEST_ROW = 1 << 24
"""Offsets within a strip are 32 bits wide."""

COLUMNS = (
    "theta", "g", "v_row", "v_col", "exp_avg", "step", "flag", "rate", "step_stride", "rate_stride",
    "matrices", "rows", "columns", "slot", "row_parts", "column_parts", "weight_parts", "update_parts",
    "row_sums", "row_totals", "index", "free0", "free1", "free2",
)  # fmt: skip
"""The columns of the kernels' `table`. Flat tensors have v for v_row, and one row of all elements of a member."""

TABLE_COLUMNS = len(COLUMNS)
ADDRESSES = COLUMNS.index("matrices")
"""How many of them are addresses, or change with them."""


@dataclass(frozen=True)
class Tile:
    """How the kernels cut tensors: strips of `rows * steps` rows and `columns` columns, pieces of `flat` elements.

    Args:
        rows: of a strip that are in registers at once; a power of two.
        columns: of a strip; a power of two.
        steps: how many times a program moves down by `rows`.
        warps: of a program.
        flat: elements of a piece; a power of two.
    """

    rows: int = 16
    columns: int = 128
    steps: int = 8
    warps: int = 4
    flat: int = 2048

    def across(self, columns: int) -> int:
        """Strips beside one another."""
        return -(-columns // self.columns)

    def down(self, rows: int) -> int:
        """Strips below one another."""
        return -(-rows // (self.rows * self.steps))


class Tensors(NamedTuple):
    """The tensors of one group, one list a role, in the same order; a state has its step and its flag too."""

    parameters: list[Tensor]
    gradients: list[Tensor]
    states: list[dict[str, Tensor]]
    indices: list[int]

    def chosen(self, places: Sequence[int]) -> "Tensors":
        """The tensors at these places."""
        taken = ([column[i] for i in places] for column in self)
        return Tensors(*taken)  # pyright: ignore[reportArgumentType]


class Shape(NamedTuple):
    """One tensor as the kernels see it: members, matrices in each, and their rows and columns; flat ones have one."""

    members: int
    matrices: int
    rows: int
    columns: int
    factored: bool


def shape_of(parameter: Tensor, *, constants: AdafactorConstants, batch_dims: int) -> Shape:
    """See `Shape`. Factored dimensions must be the last two.

    Example:
        >>> shape_of(torch.zeros(4, 3, 128, 200), constants=AdafactorConstants(), batch_dims=1)
        Shape(members=4, matrices=3, rows=128, columns=200, factored=True)
    """
    members, own = prod(parameter.shape[:batch_dims]), parameter.shape[batch_dims:]
    if constants.factored_dims(own) is None:
        return Shape(members, 1, 1, prod(own), factored=False)
    return Shape(members, prod(own[:-2]), own[-2], own[-1], factored=True)


def is_fusible(
    parameter: Tensor,
    gradient: Tensor,
    state: Mapping[str, Tensor],
    *,
    constants: AdafactorConstants,
    batch_dims: int,
) -> bool:
    """Whether the kernels can work on a tensor: dtypes, layouts, and which two dimensions are factored."""
    known = parameter.dtype in DTYPES and gradient.dtype in DTYPES
    if not known or not parameter.numel() or (batch_dims and not parameter.is_contiguous()):
        return False
    own = parameter.shape[batch_dims:]
    dims = constants.factored_dims(own)
    elementwise = [parameter, gradient, *(state[name] for name in ("v", "exp_avg") if name in state)]
    if any(x.stride() != parameter.stride() for x in elementwise):
        return False
    if dims is None:
        return is_dense(parameter)
    means = (state["v_row"].is_contiguous(), state["v_col"].is_contiguous())
    last = dims == (len(own) - 2, len(own) - 1) and own[-1] < LARGEST_ROW
    return last and parameter.is_contiguous() and all(means)


def is_aligned(parameter: Tensor, gradient: Tensor, state: Mapping[str, Tensor], shape: Shape) -> bool:
    """Whether 8 neighbouring elements of a row always lie in 16-byte units of memory: loads and stores take them."""
    walked = [parameter, gradient, *(state[name] for name in ("v", "exp_avg") if name in state)]
    return shape.columns % 8 == 0 and all(x.data_ptr() % 16 == 0 for x in walked)


@dataclass(frozen=True)
class Layout:
    """What depends on shapes alone, as lists for the device.

    Args:
        rows: each tensor's part of the table that is no address.
        slots: [tensor, member] of every member of every tensor.
        strips: [tensor, matrix, strip] of factored tensors.
        chunks: [tensor, matrix, chunk] of their rows, then of their columns.
        pieces: [tensor, member, piece] of flat tensors.
        segments: [first, count, target] of the sums that rows' chunks and weights leave, in scratch memory.
        late_segments: the same for those that updates leave, and flat weights.
        scratch: its length.
    """

    rows: Tensor
    slots: Tensor
    strips: Tensor
    chunks: Tensor
    pieces: Tensor
    segments: Tensor
    late_segments: Tensor
    scratch: int


def _blocks(counts: Sequence[tuple[int, int, int]]) -> Tensor:
    """[tensor, part, block] for each (tensor, parts, blocks a part), int32."""
    found = []
    for tensor, parts, blocks in counts:
        pairs = torch.cartesian_prod(torch.arange(parts), torch.arange(blocks)).view(-1, 2)
        found.append(torch.cat([torch.full((len(pairs), 1), tensor), pairs], dim=1))
    return torch.cat(found).to(torch.int32) if found else torch.empty(0, 3, dtype=torch.int32)


def layout(
    shapes: Sequence[Shape], indices: Sequence[int], *, tile: Tile, chunk: int, clipped: bool, scaled: bool
) -> Layout:
    """The blocks and the places of sums for tensors of these shapes.

    Scratch memory begins with two totals for each slot (squares of the weights, squares of the update).
    """
    slots = _blocks([(i, shape.members, 1) for i, shape in enumerate(shapes)])[:, :2].contiguous()
    used = 2 * len(slots)
    rows: list[list[int]] = []
    strips, chunks, pieces = [], [], []
    early: list[tuple[int, int, int]] = []
    late: list[tuple[int, int, int]] = []

    def take(count: int) -> int:
        nonlocal used
        used += count
        return used - count

    slot = 0
    for i, (shape, index) in enumerate(zip(shapes, indices, strict=True)):
        matrices = shape.members * shape.matrices
        row_parts = column_parts = row_sums = row_totals = 0
        if shape.factored:
            across, down = tile.across(shape.columns), tile.down(shape.rows)
            row_chunks = -(-shape.rows // chunk)
            row_parts = take(matrices * across * shape.rows)
            column_parts = take(matrices * down * shape.columns)
            row_sums, row_totals = take(matrices * row_chunks), take(matrices)
            blocks, each = across * down, shape.matrices * across * down
            early += [(row_sums + m * row_chunks, row_chunks, row_totals + m) for m in range(matrices)]
            strips.append((i, matrices, blocks))
            chunks.append((i, matrices, row_chunks + -(-shape.columns // chunk)))
        else:
            each = -(-shape.columns // tile.flat)
            pieces.append((i, shape.members, each))
        weight_parts, update_parts = take(shape.members * each), take(shape.members * each)
        for member in range(shape.members):
            own, at = member * each, 2 * (slot + member)
            if scaled:
                (early if shape.factored else late).append((weight_parts + own, each, at))
            if clipped:
                late.append((update_parts + own, each, at + 1))
        rows.append(
            [shape.matrices, shape.rows, shape.columns, slot, row_parts, column_parts, weight_parts, update_parts,
             row_sums, row_totals, index, 0, 0, 0]
        )  # fmt: skip
        slot += shape.members
    first, second = (torch.tensor(values, dtype=torch.int64).reshape(-1, 3) for values in (early, late))
    return Layout(
        torch.tensor(rows, dtype=torch.int64),
        slots,
        _blocks(strips),
        _blocks(chunks),
        _blocks(pieces),
        first,
        second,
        used,
    )


def addresses(tensors: Tensors, rates: Sequence[Tensor]) -> list[list[int]]:
    """Each tensor's part of the table that changes when memory does."""
    found: list[list[int]] = []
    for parameter, gradient, state, rate in zip(*tensors[:3], rates, strict=True):
        mean, other = (state["v"], None) if "v" in state else (state["v_row"], state["v_col"])
        momentum = state.get("exp_avg")
        found.append(
            [
                *(x.data_ptr() for x in (parameter, gradient, mean)),
                *(0 if x is None else x.data_ptr() for x in (other, momentum)),
                *(x.data_ptr() for x in (state["step"], state["non_finite_step"], rate)),
                *(int(x.dim() > 0) for x in (state["step"], rate)),
            ]
        )
    return found


_SHAPE, _DTYPE = attrgetter("shape"), attrgetter("dtype")


def key_of(tensors: Tensors, rates: Sequence[Tensor]) -> tuple[object, ...]:
    """What a table depends on: every address, shape, layout and dtype.

    A tensor may come back at the address of another that was freed, so addresses alone do not do.
    """
    mine = (*tensors.parameters, *tensors.gradients)
    states = chain.from_iterable(map(dict.values, tensors.states))
    contiguous = all(map(Tensor.is_contiguous, mine))
    return (
        tuple(map(Tensor.data_ptr, chain(mine, states, rates))),
        tuple(map(_SHAPE, tensors.parameters)),
        None if contiguous else tuple(map(Tensor.stride, mine)),
        tuple(map(_DTYPE, mine)),
        tuple(tensors.indices),
    )


def check_members(tensors: Tensors, rates: Sequence[Tensor]) -> None:
    """One count of steps, one flag and one rate for each member.

    Raises:
        ValueError: a tensor of another shape.
    """
    for i, (parameter, state) in enumerate(zip(tensors.parameters, tensors.states, strict=True)):
        members = parameter.shape[:1]
        own = {name: state[name] for name in ("step", "non_finite_step")}
        if rates:
            own["rate"] = rates[i]
        for name, value in own.items():
            fits = value.shape == members or (name == "rate" and value.dim() == 0)
            if not fits or value.dtype != torch.float32 or not value.is_contiguous():
                raise ValueError(
                    f"{name} of tensor {i} is {value.dtype} of shape {tuple(value.shape)}: give a contiguous float32 "
                    f"tensor of shape {tuple(members)}, a number for each member"
                )
