"""The Triton kernels of Adam-atan2: one launch prepares the step's numbers, one updates every tensor.

Triton is imported when the kernels are first asked for (`kernels`), so that this module can be read, imported and
tested without it. The functions below are ordinary Python until then.

What a launch reads, all of it on the device:

    table      int64 [tensors, 8]: pointers to theta, g, m, the second moment, the step count and the flag; the number
               of elements; whether the first four pointers are multiples of 16 bytes
    blocks     int32 [blocks, 2]: each block's tensor, and its place in it
    constants  float32 [8]: see CONSTANTS
    rate       float32 []: the learning rate
    numbers    float32 [tensors, 4], written by `prepare`: 1 / D, rate * a, decay, the step
    indices    int32 [tensors]: each tensor's place among its optimizer's, for the random bits

A block that lies wholly inside an aligned tensor takes loads and stores of 16 bytes; every other block is masked.
Division and square root are rounded to nearest wherever the gradient's scale passes through them, and denormal numbers
are kept, so that powers of two in the gradient's scale change no bit of the weights.
"""

# Triton may be absent, and its kernels are not typed Python.
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportCallIssue=false

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

tl: Any = None
"""triton.language, once `kernels` has imported it: Triton reads the names that a kernel uses from its module."""

CONSTANTS = ("weight1", "weight2", "log_beta1", "log_beta2", "a", "b", "decay_per_rate", "decay_per_step")
"""The order of `constants`."""

TABLE_COLUMNS = 8

ARCTANGENT = (
    -0.33333152532577515,
    0.19993773102760315,
    -0.14211055636405945,
    0.10666003078222275,
    -0.07552211731672287,
    0.04321182891726494,
    -0.01636791042983532,
    0.002920687897130847,
)
"""arctan(r) = r + r s Q(s), s = r^2, on [0, 1]: Q's coefficients, lowest power first, as float32 numbers.

The polynomial of this degree with the least relative error, 1.67e-8, by Remez' exchange. Evaluated in float32 with
fused multiply-adds it is within 1.16 units in the last place of the arctangent (all of them tried); tests repeat both.
"""


def _arctangent(x):
    """arctan(x) of float32 numbers, odd to the bit; NaN stays NaN."""
    size = tl.abs(x)
    large = size > 1.0
    r = tl.where(large, 1.0, size) / tl.where(large, size, 1.0)
    s = r * r
    q = tl.fma(s, 0.002920687897130847, -0.01636791042983532)
    q = tl.fma(s, q, 0.04321182891726494)
    q = tl.fma(s, q, -0.07552211731672287)
    q = tl.fma(s, q, 0.10666003078222275)
    q = tl.fma(s, q, -0.14211055636405945)
    q = tl.fma(s, q, 0.19993773102760315)
    q = tl.fma(s, q, -0.33333152532577515)
    angle = tl.fma(r * s, q, r)
    # pi/2 is split: 1.5707963705062866 is its float32 number, which is 4.37e-8 too large.
    angle = tl.where(large, 1.5707963705062866 - (angle + 4.371139000186241e-08), angle)
    return tl.where(x < 0.0, -angle, angle)


def _one_minus_exp(x):
    """1 - exp(x) for x <= 0, to a few units in the last place: a Taylor polynomial up to x = -1/2, exp beyond it."""
    q = tl.fma(x, 2.48015873015873e-05, 1.984126984126984e-04)
    q = tl.fma(x, q, 1.388888888888889e-03)
    q = tl.fma(x, q, 8.333333333333333e-03)
    q = tl.fma(x, q, 4.1666666666666664e-02)
    q = tl.fma(x, q, 1.6666666666666666e-01)
    q = tl.fma(x, q, 0.5)
    q = tl.fma(x, q, 1.0)
    return tl.where(x > -0.5, -x * q, 1.0 - tl.exp(x))


def _hash(word):
    """`rounding.mixed` for uint32 words."""
    word = word ^ (word >> 16)
    word = word * 0x7FEB352D
    word = word ^ (word >> 15)
    word = word * 0x846CA68B
    return word ^ (word >> 16)


def _prepare(table, numbers, constants, rate, count, BLOCK: tl.constexpr):
    """Count one more step for every tensor, and compute what its elements share. One program a BLOCK of tensors."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < count
    address = tl.load(table + i * 8 + 4, mask=inside, other=0)
    counter = address.to(tl.pointer_type(tl.float32))
    step = tl.load(counter, mask=inside, other=0.0) + 1.0
    tl.store(counter, step, mask=inside)
    correction1 = _one_minus_exp(step * tl.load(constants + 2))
    correction2 = _one_minus_exp(step * tl.load(constants + 3))
    denominator = tl.load(constants + 5) * correction1
    lr = tl.load(rate).to(tl.float32)
    decay = tl.fma(lr, tl.load(constants + 6), tl.load(constants + 7))
    zero = step * 0.0
    tl.store(numbers + i * 4, tl.div_rn(tl.sqrt_rn(correction2), denominator), mask=inside)
    tl.store(numbers + i * 4 + 1, zero + lr * tl.load(constants + 4), mask=inside)
    tl.store(numbers + i * 4 + 2, zero + decay, mask=inside)
    tl.store(numbers + i * 4 + 3, step, mask=inside)


def _moments(g, m, moment, weight1, weight2, ROOT: tl.constexpr):
    """The two moments with the gradient taken in, and the root of the second."""
    m = tl.fma(weight1, g - m, m)
    if ROOT:
        size = tl.abs(g)
        falling = moment >= size
        scale = tl.where(falling, moment, size)
        scale = tl.where(scale < 1.1754943508222875e-38, 1.1754943508222875e-38, scale)
        ratio = tl.div_rn(tl.where(falling, size, moment), scale)
        square = ratio * ratio
        # Near 1 the difference of squares is taken as a product: it decides whether u rises or falls.
        less = tl.fma(ratio, ratio, -1.0)
        mean = tl.where(falling, tl.fma(weight2, less, 1.0), tl.fma(-weight2, less, square))
        moment = scale * tl.sqrt_rn(mean)
        root = moment
    else:
        moment = tl.fma(weight2 * g, g, (1.0 - weight2) * moment)
        root = tl.sqrt_rn(moment)
    return m, moment, root


def _element(theta, g, m, moment, weight1, weight2, inverse, rate, decay, ROOT: tl.constexpr):
    """The weight and both moments after one step, in float32."""
    m, moment, root = _moments(g, m, moment, weight1, weight2, ROOT)
    root = tl.where(root < 1.1754943508222875e-38, 1.1754943508222875e-38, root)
    angle = _arctangent(tl.div_rn(m, root) * inverse)
    return theta - tl.fma(rate, angle, decay * theta), m, moment


def _round(theta, element, seed, index, step, dtype: tl.constexpr, STOCHASTIC: tl.constexpr):
    """The float32 weight; for bfloat16 weights, on a bfloat16 number already, so that no cast decides how to round."""
    if dtype == tl.bfloat16:
        bits = theta.to(tl.uint32, bitcast=True)
        if STOCHASTIC:  # as `StochasticRounding.round`
            key = _hash(step.to(tl.int64).to(tl.uint32) * 0x9E3779B9 + seed)
            key = _hash(key + index.to(tl.uint32) * 0x85EBCA6B)
            bits += _hash(element.to(tl.uint32) ^ key) & 0xFFFF
        else:  # to nearest, ties to even
            bits += 0x7FFF + ((bits >> 16) & 1)
        rounded = (bits & 0xFFFF0000).to(tl.float32, bitcast=True)
        theta = tl.where(theta - theta == 0.0, rounded, theta)
    return theta


def _update(
    table,
    blocks,
    numbers,
    constants,
    indices,
    seeds,
    P: tl.constexpr,
    G: tl.constexpr,
    ROOT: tl.constexpr,
    MAXIMIZE: tl.constexpr,
    STOCHASTIC: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One step of one block of one tensor; P and G are the dtypes of weights and gradients."""
    block = tl.program_id(0)
    i = tl.load(blocks + 2 * block)
    first = tl.load(blocks + 2 * block + 1).to(tl.int64) * BLOCK
    row = table + i * 8
    theta_at = tl.load(row).to(tl.pointer_type(P)) + first
    g_at = tl.load(row + 1).to(tl.pointer_type(G)) + first
    m_at = tl.load(row + 2).to(tl.pointer_type(tl.float32)) + first
    moment_at = tl.load(row + 3).to(tl.pointer_type(tl.float32)) + first
    flag_at = tl.load(row + 5).to(tl.pointer_type(tl.float32))
    left = tl.load(row + 6) - first
    aligned = tl.load(row + 7)
    weight1 = tl.load(constants)
    weight2 = tl.load(constants + 1)
    inverse = tl.load(numbers + i * 4)
    rate = tl.load(numbers + i * 4 + 1)
    decay = tl.load(numbers + i * 4 + 2)
    step = tl.load(numbers + i * 4 + 3)
    seed = tl.load(seeds).to(tl.uint32)
    index = tl.load(indices + i)
    place = tl.arange(0, BLOCK)
    element = first + place
    if (aligned != 0) & (left >= BLOCK):
        theta_to = tl.multiple_of(theta_at, 16) + place
        g_to = tl.multiple_of(g_at, 16) + place
        m_to = tl.multiple_of(m_at, 16) + place
        moment_to = tl.multiple_of(moment_at, 16) + place
        g = tl.load(g_to).to(tl.float32)
        if MAXIMIZE:
            g = -g
        theta, m, moment = _element(
            tl.load(theta_to).to(tl.float32), g, tl.load(m_to), tl.load(moment_to),
            weight1, weight2, inverse, rate, decay, ROOT,
        )  # fmt: skip
        tl.store(theta_to, _round(theta, element, seed, index, step, P, STOCHASTIC).to(P))
        tl.store(m_to, m)
        tl.store(moment_to, moment)
        bad = (m - m) + (moment - moment) != 0.0
    else:
        inside = place < left
        theta_to, g_to, m_to, moment_to = theta_at + place, g_at + place, m_at + place, moment_at + place
        g = tl.load(g_to, mask=inside, other=0.0).to(tl.float32)
        if MAXIMIZE:
            g = -g
        theta, m, moment = _element(
            tl.load(theta_to, mask=inside, other=0.0).to(tl.float32), g,
            tl.load(m_to, mask=inside, other=0.0), tl.load(moment_to, mask=inside, other=0.0),
            weight1, weight2, inverse, rate, decay, ROOT,
        )  # fmt: skip
        tl.store(theta_to, _round(theta, element, seed, index, step, P, STOCHASTIC).to(P), mask=inside)
        tl.store(m_to, m, mask=inside)
        tl.store(moment_to, moment, mask=inside)
        bad = inside & ((m - m) + (moment - moment) != 0.0)
    # Blocks of one step write the same number, so their race is harmless; a note of an earlier step stays.
    noted = tl.load(flag_at)
    noted = tl.where(noted == 0.0, step, noted)
    tl.store(flag_at + place * 0, place * 0.0 + noted, mask=bad)


_CALLED = (_arctangent, _one_minus_exp, _hash, _moments, _element, _round)
"""What the kernels call, as Python functions."""


@dataclass(frozen=True)
class Kernels:
    """The two launches, each indexed by its grid and called with its function's arguments, and the dtypes' names."""

    prepare: Any
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
    names["tl"] = language
    for function in _CALLED:
        names[function.__name__] = triton.jit(function)
    return Kernels(
        prepare=triton.jit(_prepare, do_not_specialize=["count"]),
        update=triton.jit(_update),
        dtypes={
            torch.float32: language.float32,
            torch.bfloat16: language.bfloat16,
            torch.float16: language.float16,
        },
    )
