"""The Triton kernels of Adafactor that are not about rows and columns: the step's numbers, totals, and flat tensors.

prepare       every member: count the step; the weight of the new squares, the rate, the decay
reduce        every segment of partial sums: one total
flat          every piece of what is not factored: v, and sums of u^2 and theta^2      reads g, v (and theta)
update_flat   every piece: theta and the mean of steps                                reads g, v, theta
"""

# Triton may be absent, and its kernels are not typed Python.
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportCallIssue=false

from __future__ import annotations

from typing import Any

from widthwise.optim.adafactor_device import (
    change_of,
    elements,
    mean_square,
    moved_weight,
    parts,
    summed,
)
from widthwise.optim.rounding_device import rounded_weight

tl: Any = None
"""triton.language, once it is imported: Triton reads the names that a kernel uses from its module."""


def prepare(table, slots, numbers, constants, count, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """One program a BLOCK of members. 1 - beta2 is computed in float64: its exponent loses digits as t grows."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < count
    row = table + tl.load(slots + 2 * i, mask=inside, other=0) * WIDTH
    member = tl.load(slots + 2 * i + 1, mask=inside, other=0)
    counter = tl.load(row + 5, mask=inside, other=0).to(tl.pointer_type(tl.float32))
    counter += member * tl.load(row + 8, mask=inside, other=0)
    rate_at = tl.load(row + 7, mask=inside, other=0).to(tl.pointer_type(tl.float32))
    rate_at += member * tl.load(row + 9, mask=inside, other=0)
    step = tl.load(counter, mask=inside, other=0.0) + 1.0
    tl.store(counter, step, mask=inside)
    age = step.to(tl.float64) + tl.load(constants + 1)
    rate = tl.load(rate_at, mask=inside, other=0.0)
    decay = rate.to(tl.float64) * tl.load(constants + 6) + tl.load(constants + 7)
    tl.store(numbers + i * 4, tl.exp(-tl.load(constants) * tl.log(age)).to(tl.float32), mask=inside)
    tl.store(numbers + i * 4 + 1, rate, mask=inside)
    tl.store(numbers + i * 4 + 2, decay.to(tl.float32), mask=inside)
    tl.store(numbers + i * 4 + 3, step, mask=inside)


def reduce(segments, scratch, BLOCK: tl.constexpr):
    """One total of partial sums, always in the same order."""
    segment = segments + 3 * tl.program_id(0)
    first = scratch + tl.load(segment)
    count = tl.load(segment + 1)
    total = tl.full([BLOCK], 0.0, tl.float32)
    for k in range(0, count, BLOCK):
        place = k + tl.arange(0, BLOCK)
        total += tl.load(first + place, mask=place < count, other=0.0)
    tl.store(scratch + tl.load(segment + 2), summed(total, 0))


def flat(
    table, blocks, scratch, numbers, constants,
    P: tl.constexpr, G: tl.constexpr, SCALED: tl.constexpr, CLIPPED: tl.constexpr, ALIGNED: tl.constexpr,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The sums of one piece of a tensor that is not factored; with clipping its new v too."""
    block = tl.program_id(0)
    row = table + tl.load(blocks + 3 * block) * WIDTH
    member = tl.load(blocks + 3 * block + 1).to(tl.int64)
    piece = tl.load(blocks + 3 * block + 2)
    size = tl.load(row + 12)
    if ALIGNED:
        size = tl.multiple_of(size, 8)
    begin = member * size + piece.to(tl.int64) * BLOCK
    place = tl.arange(0, BLOCK)
    inside = place < size - piece.to(tl.int64) * BLOCK
    part = member * parts(size, BLOCK) + piece
    if SCALED:
        theta_at = elements(tl.load(row), begin, P, ALIGNED)
        theta = tl.load(theta_at + place, mask=inside, other=0.0).to(tl.float32)
        tl.store(scratch + tl.load(row + 16) + part, summed(theta * theta, 0))
    if CLIPPED:
        g_at = elements(tl.load(row + 1), begin, G, ALIGNED)
        v_at = elements(tl.load(row + 2), begin, tl.float32, ALIGNED)
        g = tl.load(g_at + place, mask=inside, other=0.0).to(tl.float32)
        slot = tl.load(row + 13) + member
        v = mean_square(g, v_at, place, inside, row, member, numbers, constants, slot)
        u = g / tl.sqrt_rn(v)
        tl.store(scratch + tl.load(row + 17) + part, summed(u * u, 0))


def update_flat(
    table, blocks, scratch, numbers, constants, seeds,
    P: tl.constexpr, G: tl.constexpr, SCALED: tl.constexpr, CLIPPED: tl.constexpr, MOMENTUM: tl.constexpr,
    MAXIMIZE: tl.constexpr, STOCHASTIC: tl.constexpr, ALIGNED: tl.constexpr, WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """The step of one piece of a tensor that is not factored; without clipping its new v too."""
    block = tl.program_id(0)
    row = table + tl.load(blocks + 3 * block) * WIDTH
    member = tl.load(blocks + 3 * block + 1).to(tl.int64)
    piece = tl.load(blocks + 3 * block + 2)
    size = tl.load(row + 12)
    if ALIGNED:
        size = tl.multiple_of(size, 8)
    first = piece.to(tl.int64) * BLOCK
    begin = member * size + first
    place = tl.arange(0, BLOCK)
    inside = place < size - first
    theta_at = elements(tl.load(row), begin, P, ALIGNED)
    g_at = elements(tl.load(row + 1), begin, G, ALIGNED)
    v_at = elements(tl.load(row + 2), begin, tl.float32, ALIGNED)
    momentum_at = elements(tl.load(row + 4), begin, tl.float32, ALIGNED)
    g = tl.load(g_at + place, mask=inside, other=0.0).to(tl.float32)
    slot = tl.load(row + 13) + member
    if CLIPPED:
        v = tl.load(v_at + place, mask=inside, other=1.0)
    else:
        v = mean_square(g, v_at, place, inside, row, member, numbers, constants, slot)
    change = change_of(
        scratch, constants, slot, size.to(tl.float32), tl.load(numbers + 4 * slot + 1), SCALED, CLIPPED
    )
    if MAXIMIZE:
        change = -change
    theta = tl.load(theta_at + place, mask=inside, other=0.0).to(tl.float32)
    decay = tl.load(numbers + 4 * slot + 2)
    moved = change * (g / tl.sqrt_rn(v))
    theta = moved_weight(theta, moved, momentum_at, place, inside, constants, decay, MOMENTUM)
    step = tl.load(numbers + 4 * slot + 3)
    seed = tl.load(seeds).to(tl.uint32)
    theta = rounded_weight(theta, first + place, seed, tl.load(row + 20), step, P, STOCHASTIC)
    tl.store(theta_at + place, theta.to(P), mask=inside)
