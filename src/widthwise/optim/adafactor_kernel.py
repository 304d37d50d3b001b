"""The Triton kernels of Adafactor for factored tensors: two or three passes over gradients, with sums in a fixed order.

    sums      every strip: g^2 summed over its rows and over its columns, theta^2 over all of it    reads g (and theta)
    finish    every chunk of rows or columns: partial sums to means, v_row, v_col; sums of v_row
    squares   every strip: u^2 over all of it                                                       reads g
    update    every strip: theta and the mean of steps                                              reads g, theta

The rest is in `adafactor_flat_kernel`; `adafactor_kernels` compiles all; what they read is in `adafactor_tables`.

No sum is made by atomic additions: partial sums have a place each, and one program adds those of a total in their
order, so that a run repeats bit for bit. `squares` walks from the end to the beginning, where the cache still has what
`sums` read last.
"""

# Triton may be absent, and its kernels are not typed Python.
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportCallIssue=false

from __future__ import annotations

from typing import Any

from widthwise.optim.adafactor_device import (
    change_of,
    elements,
    moved_weight,
    note,
    parts,
    strip_of,
    summed,
)
from widthwise.optim.rounding_device import rounded_weight

tl: Any = None
"""triton.language, once it is imported: Triton reads the names that a kernel uses from its module."""


def sums(
    table, blocks, scratch,
    P: tl.constexpr, G: tl.constexpr, SCALED: tl.constexpr, ALIGNED: tl.constexpr, WIDTH: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """Squares of one strip, summed."""
    block = tl.program_id(0)
    row, matrix, strip, rows, columns, across, top, left = strip_of(
        table, blocks, block, ALIGNED, WIDTH, ROWS * STEPS, COLUMNS
    )
    down = parts(rows, ROWS * STEPS)
    begin = (matrix * rows + top) * columns + left
    g_at = elements(tl.load(row + 1), begin, G, ALIGNED)
    theta_at = elements(tl.load(row), begin, P, ALIGNED)
    column = left + tl.arange(0, COLUMNS)
    within = column < columns
    row_parts = scratch + tl.load(row + 14) + (matrix * across + strip % across) * rows
    by_column = tl.full([ROWS, COLUMNS], 0.0, tl.float32)
    weights = tl.full([ROWS, COLUMNS], 0.0, tl.float32)
    for k in range(tl.minimum(STEPS, parts(rows - top, ROWS))):
        line = k * ROWS + tl.arange(0, ROWS)
        inside = (top + line < rows)[:, None] & within[None, :]
        place = line[:, None] * columns + tl.arange(0, COLUMNS)[None, :]
        g = tl.load(g_at + place, mask=inside, other=0.0).to(tl.float32)
        square = g * g
        by_column += square
        tl.store(row_parts + top + line, summed(square, 1), mask=top + line < rows)
        if SCALED:
            theta = tl.load(theta_at + place, mask=inside, other=0.0).to(tl.float32)
            weights += theta * theta
    column_parts = scratch + tl.load(row + 15) + (matrix * down + strip // across) * columns
    tl.store(column_parts + column, summed(by_column, 0), mask=within)
    if SCALED:
        weight_part = scratch + tl.load(row + 16) + matrix * (across * down) + strip
        tl.store(weight_part, summed(summed(weights, 1), 0))


def finish(
    table, blocks, scratch, numbers, constants,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEPS: tl.constexpr,
    CHUNK: tl.constexpr, DEEP: tl.constexpr,
):  # fmt: skip
    """The new means of one chunk of rows or columns."""
    block = tl.program_id(0)
    row = table + tl.load(blocks + 3 * block) * WIDTH
    matrix = tl.load(blocks + 3 * block + 1).to(tl.int64)
    chunk = tl.load(blocks + 3 * block + 2)
    rows = tl.load(row + 11)
    columns = tl.load(row + 12)
    row_chunks = parts(rows, CHUNK)
    of_rows = chunk < row_chunks
    length = tl.where(of_rows, rows, columns)
    count = tl.where(of_rows, parts(columns, COLUMNS), parts(rows, ROWS * STEPS))
    first = tl.where(of_rows, tl.load(row + 14), tl.load(row + 15)) + matrix * count * length
    target = (
        tl.where(of_rows, tl.load(row + 2), tl.load(row + 3)).to(tl.pointer_type(tl.float32))
        + matrix * length
    )
    place = (chunk - tl.where(of_rows, 0, row_chunks)) * CHUNK + tl.arange(0, CHUNK)
    inside = place < length
    total = tl.full([DEEP, CHUNK], 0.0, tl.float32)
    for k in range(0, count, DEEP):
        part = k + tl.arange(0, DEEP)
        at = scratch + first + part[:, None] * length + place[None, :]
        total += tl.load(at, mask=(part < count)[:, None] & inside[None, :], other=0.0)
    averaged = tl.where(of_rows, columns, rows).to(tl.float32)
    mean = summed(total, 0) / averaged + tl.load(constants + 2).to(tl.float32)
    member = matrix // tl.load(row + 10)
    slot = tl.load(row + 13) + member
    weight = tl.load(numbers + 4 * slot)
    v = (1.0 - weight) * tl.load(target + place, mask=inside, other=0.0) + weight * mean
    tl.store(target + place, v, mask=inside)
    if of_rows:
        tl.store(
            scratch + tl.load(row + 18) + matrix * row_chunks + chunk,
            summed(tl.where(inside, v, 0.0), 0),
        )
    flag = tl.load(row + 6).to(tl.pointer_type(tl.float32)) + member * tl.load(row + 8)
    note(flag, tl.load(numbers + 4 * slot + 3), place, inside & (v - v != 0.0))


def squares(
    table, blocks, scratch,
    G: tl.constexpr, ALIGNED: tl.constexpr, WIDTH: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """The squares of one strip's update, summed."""
    block = tl.num_programs(0) - 1 - tl.program_id(0)
    row, matrix, strip, rows, columns, across, top, left = strip_of(
        table, blocks, block, ALIGNED, WIDTH, ROWS * STEPS, COLUMNS
    )
    g_at = elements(tl.load(row + 1), (matrix * rows + top) * columns + left, G, ALIGNED)
    column = left + tl.arange(0, COLUMNS)
    within = column < columns
    v_row = tl.load(row + 2).to(tl.pointer_type(tl.float32)) + matrix * rows + top
    v_col = tl.load(row + 3).to(tl.pointer_type(tl.float32)) + matrix * columns
    column_factor = 1.0 / tl.sqrt_rn(tl.load(v_col + column, mask=within, other=1.0))
    mean = tl.load(scratch + tl.load(row + 19) + matrix) / rows.to(tl.float32)
    total = tl.full([ROWS, COLUMNS], 0.0, tl.float32)
    for k in range(tl.minimum(STEPS, parts(rows - top, ROWS))):
        line = k * ROWS + tl.arange(0, ROWS)
        inside = (top + line < rows)[:, None] & within[None, :]
        place = line[:, None] * columns + tl.arange(0, COLUMNS)[None, :]
        g = tl.load(g_at + place, mask=inside, other=0.0).to(tl.float32)
        row_factor = 1.0 / tl.sqrt_rn(tl.load(v_row + line, mask=top + line < rows, other=1.0) / mean)
        u = g * row_factor[:, None] * column_factor[None, :]
        total += u * u
    part = scratch + tl.load(row + 17) + matrix * (across * parts(rows, ROWS * STEPS)) + strip
    tl.store(part, summed(summed(total, 1), 0))


def update(
    table, blocks, scratch, numbers, constants, seeds,
    P: tl.constexpr, G: tl.constexpr, SCALED: tl.constexpr, CLIPPED: tl.constexpr, MOMENTUM: tl.constexpr,
    MAXIMIZE: tl.constexpr, STOCHASTIC: tl.constexpr, ALIGNED: tl.constexpr, WIDTH: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """The step of one strip."""
    block = tl.program_id(0)
    row, matrix, _strip, rows, columns, _across, top, left = strip_of(
        table, blocks, block, ALIGNED, WIDTH, ROWS * STEPS, COLUMNS
    )
    begin = (matrix * rows + top) * columns + left
    theta_at = elements(tl.load(row), begin, P, ALIGNED)
    g_at = elements(tl.load(row + 1), begin, G, ALIGNED)
    momentum_at = elements(tl.load(row + 4), begin, tl.float32, ALIGNED)
    column = left + tl.arange(0, COLUMNS)
    within = column < columns
    v_row = tl.load(row + 2).to(tl.pointer_type(tl.float32)) + matrix * rows + top
    v_col = tl.load(row + 3).to(tl.pointer_type(tl.float32)) + matrix * columns
    matrices = tl.load(row + 10)
    slot = tl.load(row + 13) + matrix // matrices
    count = matrices.to(tl.float32) * rows.to(tl.float32) * columns.to(tl.float32)
    change = change_of(scratch, constants, slot, count, tl.load(numbers + 4 * slot + 1), SCALED, CLIPPED)
    if MAXIMIZE:
        change = -change
    decay = tl.load(numbers + 4 * slot + 2)
    step = tl.load(numbers + 4 * slot + 3)
    seed = tl.load(seeds).to(tl.uint32)
    index = tl.load(row + 20)
    column_factor = change / tl.sqrt_rn(tl.load(v_col + column, mask=within, other=1.0))
    mean = tl.load(scratch + tl.load(row + 19) + matrix) / rows.to(tl.float32)
    # Elements are numbered within their member: it is rounded as it would be alone.
    own = (matrix % matrices * rows + top) * columns + left
    for k in range(tl.minimum(STEPS, parts(rows - top, ROWS))):
        line = k * ROWS + tl.arange(0, ROWS)
        inside = (top + line < rows)[:, None] & within[None, :]
        place = line[:, None] * columns + tl.arange(0, COLUMNS)[None, :]
        g = tl.load(g_at + place, mask=inside, other=0.0).to(tl.float32)
        theta = tl.load(theta_at + place, mask=inside, other=0.0).to(tl.float32)
        row_factor = 1.0 / tl.sqrt_rn(tl.load(v_row + line, mask=top + line < rows, other=1.0) / mean)
        moved = g * row_factor[:, None] * column_factor[None, :]
        theta = moved_weight(theta, moved, momentum_at, place, inside, constants, decay, MOMENTUM)
        tl.store(
            theta_at + place,
            rounded_weight(theta, own + place, seed, index, step, P, STOCHASTIC).to(P),
            mask=inside,
        )
