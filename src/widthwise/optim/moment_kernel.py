"""The Triton kernels of SGD with momentum, AdamW and Adam-atan2: one launch for every tensor of a group or population.

A tensor is [members, ...], contiguous, or any dense tensor, which is one member. What a launch reads, all of it on the
device; a *row* is one member of one tensor, numbered tensor by tensor:

    table      int64 [tensors, 10]: pointers to theta, g, m, the second moment, the step count, the members' flags and
               the copy of theta (0 where there is none); the number of elements of a member; whether the pointers to
               elements, and members, begin at multiples of 16 bytes; the tensor's first row
    blocks     int32 [blocks, 3]: each block's tensor, its member, and its place in it
    constants  float32 [9]: see CONSTANTS
    rate       float32 []: the learning rate
    numbers    float32 [rows, 4]: the rule's own number, the rate, the decay, the step; by `prepare`, or by who steps
    seeds      int64 [1]: of stochastic rounding
    gap        how far the flag of the second moment lies behind the first's: 0 where one flag serves both
    indices    int32 [tensors]: each tensor's place among its optimizer's, for the random bits

The rule's own number, and what the rate has taken up:

    sgd        0;                              rate
    adam       epsilon sqrt(1 - beta2^t);      rate / D        D = (1 - beta1^t) / sqrt(1 - beta2^t)
    atan2      1 / (b D);                      rate * a

A block is `CHUNK` tiles of `TILE` elements. Tiles that lie wholly inside an aligned member take loads and stores of 16
bytes; the others are masked. More tiles a block would share what a block reads first among more elements, but fewer
blocks would wait for memory at a time.
"""

# Triton may be absent, and its kernels are not typed Python.
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportCallIssue=false

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from widthwise.optim import kernel_math, rounding_device

tl: Any = None
_one_minus_exp: Any = None
_element: Any = None
rounded_weight: Any = None
"""Set by `kernels`: Triton reads the names that a kernel uses from its module."""

CONSTANTS = (
    "weight1",
    "weight2",
    "log_beta1",
    "log_beta2",
    "scale",
    "own",
    "decay_per_rate",
    "decay_per_step",
    "floor",
)
"""The order of `constants`; `own` is b or epsilon, `floor` parameter scaling's. For SGD, `weight1` is the momentum."""

TABLE_COLUMNS = 10
TILE = 512
CHUNK = 4
WARPS = 4
"""On an H200, the fastest of those that `benchmarks/optimizer_step.py` tries."""


def _prepare(
    table,
    numbers,
    constants,
    rate,
    scales,
    count,
    RULE: tl.constexpr,
    SCALED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Count one more step for every tensor, and compute what its elements share. One program a BLOCK of tensors."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < count
    address = tl.load(table + i * 10 + 4, mask=inside, other=0)
    counter = address.to(tl.pointer_type(tl.float32))
    step = tl.load(counter, mask=inside, other=0.0) + 1.0
    tl.store(counter, step, mask=inside)
    correction1 = _one_minus_exp(step * tl.load(constants + 2))
    root2 = tl.sqrt_rn(_one_minus_exp(step * tl.load(constants + 3)))
    own = tl.load(constants + 5)
    lr = tl.load(rate).to(tl.float32)
    decay = tl.fma(lr, tl.load(constants + 6), tl.load(constants + 7))
    zero = step * 0.0
    moved = zero + lr * tl.load(constants + 4)
    if RULE == "adam":
        factor = own * root2
        moved = moved * tl.div_rn(root2, correction1)
    else:
        factor = tl.div_rn(root2, own * correction1)
    if SCALED:
        moved = moved * tl.load(scales + i, mask=inside, other=0.0)
    tl.store(numbers + i * 4, factor, mask=inside)
    tl.store(numbers + i * 4 + 1, moved, mask=inside)
    tl.store(numbers + i * 4 + 2, zero + decay, mask=inside)
    tl.store(numbers + i * 4 + 3, step, mask=inside)


def _square_sums(table, blocks, sums, P: tl.constexpr, TILE: tl.constexpr, CHUNK: tl.constexpr):
    """The sum of theta^2 over each block."""
    block = tl.program_id(0)
    i = tl.load(blocks + 3 * block)
    row = table + i * 10
    first = tl.load(blocks + 3 * block + 2).to(tl.int64) * (TILE * CHUNK)
    numel = tl.load(row + 7)
    start = tl.load(row).to(tl.pointer_type(P)) + tl.load(blocks + 3 * block + 1).to(tl.int64) * numel + first
    place = tl.arange(0, TILE)
    total = place * 0.0
    for tile in range(CHUNK):
        inside = place + tile * TILE < numel - first
        theta = tl.load(start + tile * TILE + place, mask=inside, other=0.0).to(tl.float32)
        total = tl.fma(theta, theta, total)
    tl.store(sums + block, tl.sum(total, axis=0))


def _root_mean_squares(sums, firsts, numels, scales, constants, BLOCK: tl.constexpr):
    """max(floor, RMS) of each row from its blocks' sums, always added in the same order. One program a row."""
    row = tl.program_id(0)
    first = tl.load(firsts + row)
    last = tl.load(firsts + row + 1)
    place = tl.arange(0, BLOCK)
    total = place * 0.0
    for start in range(first, last, BLOCK):
        total += tl.load(sums + start + place, mask=start + place < last, other=0.0)
    mean = tl.sum(total, axis=0) / tl.load(numels + row)
    scale = tl.sqrt(mean)
    floor = tl.load(constants + 8)
    tl.store(scales + row, tl.where(scale < floor, floor, scale))  # NaN stays: no comparison with it holds


def _tile(
    theta_at, g_at, m_at, moment_at, copy_at, left, element,
    weight1, weight2, factor, rate, decay, step, seed, index,
    MASKED: tl.constexpr, RULE: tl.constexpr, ROOT: tl.constexpr, MAXIMIZE: tl.constexpr,
    STOCHASTIC: tl.constexpr, COPY: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """One step of one tile; returns where the first moment is not finite, and where the second."""
    place = tl.arange(0, TILE)
    inside = place < left if MASKED else None
    other = 0.0 if MASKED else None
    g = tl.load(g_at + place, mask=inside, other=other).to(tl.float32)
    theta = tl.load(theta_at + place, mask=inside, other=other)
    m = tl.load(m_at + place, mask=inside, other=other)
    moment = m
    if RULE != "sgd":
        moment = tl.load(moment_at + place, mask=inside, other=other)
    if MAXIMIZE:
        g = -g
    moved, m, moment = _element(
        theta.to(tl.float32), g, m, moment, weight1, weight2, factor, rate, decay, RULE, ROOT
    )
    moved = rounded_weight(moved, element, seed, index, step, theta.dtype, STOCHASTIC)
    tl.store(theta_at + place, moved.to(theta.dtype), mask=inside)
    tl.store(m_at + place, m, mask=inside)
    if RULE != "sgd":
        tl.store(moment_at + place, moment, mask=inside)
    if COPY:
        C: tl.constexpr = copy_at.dtype.element_ty
        tl.store(
            copy_at + place, rounded_weight(moved, element, seed, index, step, C, False).to(C), mask=inside
        )
    bad_first, bad_second = m - m != 0.0, moment - moment != 0.0
    if MASKED:
        bad_first, bad_second = bad_first & inside, bad_second & inside
    return bad_first, bad_second


def _update(
    table,
    blocks,
    numbers,
    constants,
    indices,
    seeds,
    gap,
    P: tl.constexpr,
    G: tl.constexpr,
    C: tl.constexpr,
    RULE: tl.constexpr,
    ROOT: tl.constexpr,
    MAXIMIZE: tl.constexpr,
    STOCHASTIC: tl.constexpr,
    COPY: tl.constexpr,
    TILE: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """One step of one block; P, G and C are the dtypes of weights, gradients and the weights' copy."""
    block = tl.program_id(0)
    i = tl.load(blocks + 3 * block)
    member = tl.load(blocks + 3 * block + 1)
    first = tl.load(blocks + 3 * block + 2).to(tl.int64) * (TILE * CHUNK)
    row = table + i * 10
    numel = tl.load(row + 7)
    start = member.to(tl.int64) * numel + first
    theta_at = tl.load(row).to(tl.pointer_type(P)) + start
    g_at = tl.load(row + 1).to(tl.pointer_type(G)) + start
    m_at = tl.load(row + 2).to(tl.pointer_type(tl.float32)) + start
    moment_at = tl.load(row + 3).to(tl.pointer_type(tl.float32)) + start
    copy_at = tl.load(row + 6).to(tl.pointer_type(C)) + start
    flag_at = tl.load(row + 5).to(tl.pointer_type(tl.float32)) + member
    left = numel - first
    weight1 = tl.load(constants)
    weight2 = tl.load(constants + 1)
    own = numbers + (tl.load(row + 9) + member) * 4
    factor = tl.load(own)
    rate = tl.load(own + 1)
    decay = tl.load(own + 2)
    step = tl.load(own + 3)
    seed = tl.load(seeds).to(tl.uint32)
    index = tl.load(indices + i)
    place = tl.arange(0, TILE)
    tiles = tl.minimum((left + TILE - 1) // TILE, CHUNK).to(tl.int32)
    whole = tl.minimum(left // TILE, CHUNK).to(tl.int32) * tl.load(row + 8).to(tl.int32)
    bad_first, bad_second = place < 0, place < 0
    # What is said of a pointer counts where it is computed; inside a function that it is handed to, it would be lost.
    for tile in range(whole):
        at = tile * TILE
        first_here, second_here = _tile(
            tl.multiple_of(theta_at + at, 16), tl.multiple_of(g_at + at, 16), tl.multiple_of(m_at + at, 16),
            tl.multiple_of(moment_at + at, 16), tl.multiple_of(copy_at + at, 16), left, start + at + place,
            weight1, weight2, factor, rate, decay, step, seed, index,
            False, RULE, ROOT, MAXIMIZE, STOCHASTIC, COPY, TILE,
        )  # fmt: skip
        bad_first, bad_second = bad_first | first_here, bad_second | second_here
    for tile in range(whole, tiles):
        at = tile * TILE
        first_here, second_here = _tile(
            theta_at + at, g_at + at, m_at + at, moment_at + at, copy_at + at, left - at, start + at + place,
            weight1, weight2, factor, rate, decay, step, seed, index,
            True, RULE, ROOT, MAXIMIZE, STOCHASTIC, COPY, TILE,
        )  # fmt: skip
        bad_first, bad_second = bad_first | first_here, bad_second | second_here
    # Blocks of one step write the same number, so their race is harmless; a note of an earlier step stays.
    flags = flag_at + place * 0
    noted = tl.load(flags, mask=bad_first, other=0.0)
    tl.store(flags, tl.where(noted == 0.0, step, noted), mask=bad_first)
    noted = tl.load(flags + gap, mask=bad_second, other=0.0)
    tl.store(flags + gap, tl.where(noted == 0.0, step, noted), mask=bad_second)


_CALLED = (_tile,)
"""What the kernels call, as Python functions."""


@dataclass(frozen=True)
class Kernels:
    """The launches, each indexed by its grid and called with its function's arguments, and the dtypes' names."""

    prepare: Any
    square_sums: Any
    root_mean_squares: Any
    update: Any
    dtypes: dict[torch.dtype, Any]


@cache
def kernels() -> Kernels:
    """The kernels, compiled for each device and dtype when they are first launched.

    Raises:
        ModuleNotFoundError: Triton is not installed.
    """
    import triton
    import triton.language as language

    names = globals()
    names.update(kernel_math.compiled())
    names["rounded_weight"] = rounding_device.compiled()
    names.update({function.__name__: triton.jit(function) for function in _CALLED})
    return Kernels(
        prepare=triton.jit(_prepare, do_not_specialize=["count"]),
        square_sums=triton.jit(_square_sums),
        root_mean_squares=triton.jit(_root_mean_squares),
        update=triton.jit(_update, do_not_specialize=["gap"]),
        dtypes={
            torch.float32: language.float32,
            torch.bfloat16: language.bfloat16,
            torch.float16: language.float16,
        },
    )
