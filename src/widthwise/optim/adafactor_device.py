"""What the kernels of Adafactor call: functions of Triton, ordinary Python until `adafactor_kernels` compiles them.

Promises about alignment are attached to values, not to branches, so that ALIGNED is a constant of the launch: a promise
inside one branch would hold in the other one too.
"""

# Triton may be absent, and its kernels are not typed Python.
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportCallIssue=false

from __future__ import annotations

from typing import Any

tl: Any = None
"""triton.language, once it is imported: Triton reads the names that a kernel uses from its module."""


def added(one, two):
    """Two partial sums."""
    return one + two


def summed(x, AXIS: tl.constexpr):
    """The sum over one axis.

    (`tl.sum` is compiled when Triton is imported, for a device or for the interpreter, once and for all.)
    """
    return tl.reduce(x, AXIS, added)


def parts(size, of: tl.constexpr):
    """How many parts cover a size."""
    return (size + (of - 1)) // of


def elements(address, first, T: tl.constexpr, ALIGNED: tl.constexpr):
    """A pointer to an element of a tensor of dtype T."""
    at = address.to(tl.pointer_type(T)) + first
    if ALIGNED:
        at = tl.multiple_of(at, 16)
    return at


def row_length(value, ALIGNED: tl.constexpr):
    """The length of a row, as a 32-bit number."""
    size = value.to(tl.int32)
    if ALIGNED:
        size = tl.multiple_of(size, 8)
    return size


def strip_of(
    table,
    blocks,
    block,
    ALIGNED: tl.constexpr,
    WIDTH: tl.constexpr,
    TALL: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Where a block works.

    Its tensor's row of the table, the matrix and the strip; the matrix's rows and columns, how many strips are beside
    one another, and the strip's first row and column.
    """
    row = table + tl.load(blocks + 3 * block) * WIDTH
    matrix = tl.load(blocks + 3 * block + 1).to(tl.int64)
    strip = tl.load(blocks + 3 * block + 2)
    rows = tl.load(row + 11).to(tl.int32)
    columns = row_length(tl.load(row + 12), ALIGNED)
    across = parts(columns, COLUMNS)
    return row, matrix, strip, rows, columns, across, strip // across * TALL, strip % across * COLUMNS


def note(flag, step, place, bad):
    """Note the step unless one is noted. Blocks of one step write the same number, so their race is harmless."""
    noted = tl.load(flag)
    noted = tl.where(noted == 0.0, step, noted)
    tl.store(flag + place * 0, place * 0.0 + noted, mask=bad)


def change_of(scratch, constants, slot, count, rate, SCALED: tl.constexpr, CLIPPED: tl.constexpr):
    """What multiplies u: the rate, with the scale of the weights and over the size of the update."""
    if SCALED:
        size = tl.sqrt_rn(tl.load(scratch + 2 * slot) / count)
        floor = tl.load(constants + 4).to(tl.float32)
        rate = rate * tl.where(size <= floor, floor, size)
    if CLIPPED:
        excess = tl.sqrt_rn(tl.load(scratch + 2 * slot + 1) / count) / tl.load(constants + 3).to(tl.float32)
        rate = rate / tl.where(excess <= 1.0, 1.0, excess)
    return rate


def moved_weight(theta, step, momentum_at, place, inside, constants, decay, MOMENTUM: tl.constexpr):
    """The weights after a step, of which a running mean may be kept."""
    if MOMENTUM:
        kept = tl.load(constants + 5)
        mean = tl.load(momentum_at + place, mask=inside, other=0.0)
        step = kept.to(tl.float32) * mean + (1.0 - kept).to(tl.float32) * step
        tl.store(momentum_at + place, step, mask=inside)
    return theta - tl.fma(decay, theta, step)


def mean_square(g, v_at, place, inside, row, member, numbers, constants, slot):
    """The new v of one piece, stored and looked at."""
    weight = tl.load(numbers + 4 * slot)
    v = tl.load(v_at + place, mask=inside, other=0.0)
    v = (1.0 - weight) * v + weight * (g * g + tl.load(constants + 2).to(tl.float32))
    tl.store(v_at + place, v, mask=inside)
    flag = tl.load(row + 6).to(tl.pointer_type(tl.float32)) + member * tl.load(row + 8)
    note(flag, tl.load(numbers + 4 * slot + 3), place, inside & (v - v != 0.0))
    return v


CALLED = (
    added,
    summed,
    parts,
    elements,
    row_length,
    strip_of,
    note,
    change_of,
    moved_weight,
    mean_square,
)
"""What kernels call, as Python functions."""
