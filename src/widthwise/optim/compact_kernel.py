"""The Triton kernels of tensors whose state is kept in 8 bits: one launch a tensor, every byte moved once.

A program takes ROWS blocks of 256 elements: it decodes their state, makes the step of `kernel_math._element`, encodes
the state with the random bits of `rounding.random_bits`, and rounds the weight as `rounding_device.rounded_weight`. The
numbers of the step, which the host knows, are as in `moment_kernel`:

    sgd     weight1 = momentum, factor 0, rate
    adam    weight1, weight2 = 1 - beta, factor = epsilon sqrt(1 - beta2^t), rate / D
    atan2   the same weights, factor = 1 / (b D), rate * a                   D = (1 - beta1^t) / sqrt(1 - beta2^t)
"""

# Triton may be absent, and its kernels are not typed Python.
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportCallIssue=false

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from widthwise.optim import kernel_math, rounding_device
from widthwise.optim.bias_correction import bias_ratio, root_correction
from widthwise.optim.member_update import AdamAtan2Update, AdamUpdate, MemberUpdate, SgdUpdate

tl: Any = None
_element: Any = None
rounded_weight: Any = None
hashed: Any = None
"""Set by `kernels`: Triton reads the names that a kernel uses from its module."""

ROWS = 4
"""Blocks of 256 elements of a program."""

WARPS = 4

ROUNDED_AT_ONCE = 1024


def numbers(update: MemberUpdate, step: int, epsilon: float) -> tuple[str, tuple[float, float, float, float]]:
    """The kernel's rule, and weight1, weight2, the factor, and what multiplies the rate; see the module.

    Example:
        >>> numbers(SgdUpdate(momentum=0.5), 3, 0.0)
        ('sgd', (0.5, 0.0, 0.0, 1.0))
    """
    if isinstance(update, SgdUpdate):
        return "sgd", (update.momentum, 0.0, 0.0, 1.0)
    assert isinstance(update, AdamUpdate | AdamAtan2Update)
    weights, ratio = (
        (1 - update.beta1, 1 - update.beta2),
        bias_ratio(float(step), (update.beta1, update.beta2)),
    )
    if isinstance(update, AdamUpdate):
        return "adam", (*weights, epsilon * root_correction(float(step), update.beta2), 1 / ratio)
    return "atan2", (*weights, 1 / (update.b * ratio), update.a)


def _bits(element, seed, index, step):
    """`rounding.random_bits`, as numbers in (0, 1)."""
    key = hashed(step.to(tl.uint32) * 0x9E3779B9 + seed.to(tl.uint32))
    key = hashed(key + index.to(tl.uint32) * 0x85EBCA6B)
    return ((hashed(element.to(tl.uint32) ^ key) & 0xFFFF).to(tl.float32) + 0.5) / 65536


def _decode(codes, scales, STEPS: tl.constexpr, LEVELS: tl.constexpr, SIGNED: tl.constexpr):
    """`LogCode.decode`."""
    code = codes.to(tl.int32)
    place = code & 127 if SIGNED else code
    size = tl.where(place == 0, 0.0, tl.exp2((place - LEVELS).to(tl.float32) / STEPS))
    if SIGNED:
        size = tl.where(code > 127, -size, size)
    return size * scales[:, None]


def _encode(
    value, chance, STEPS: tl.constexpr, LEVELS: tl.constexpr, SIGNED: tl.constexpr, SQUARE: tl.constexpr
):
    """`LogCode.encode`; NaN, which a maximum may pass over, makes a block's scale NaN."""
    size = tl.abs(value)
    scale = tl.max(size, axis=1)
    broken = tl.max((value - value != 0.0).to(tl.int32), axis=1) > 0
    ratio = tl.div_rn(size, tl.where(scale == 0.0, 1.0, scale)[:, None])
    # What is zero is coded as zero below, whatever is computed of it here.
    above = tl.floor(-STEPS * tl.log2(tl.where(ratio > 0.0, ratio, 1.0)))
    above = tl.minimum(tl.maximum(above, 0.0), LEVELS - 1.0)
    high = tl.exp2(-above / STEPS)
    low = tl.exp2(-(above + 1.0) / STEPS)
    if not SQUARE:
        low = tl.where(above < LEVELS - 1.0, low, 0.0)
        up = chance * (high - low) < ratio - low
    else:
        up = chance * (high * high - low * low) < ratio * ratio - low * low
    code = (LEVELS - above).to(tl.int32) - tl.where(up, 0, 1)
    if SQUARE:
        code = tl.maximum(code, 1)
    code = tl.where(ratio > 0.0, code, 0)
    if SIGNED:
        code = tl.where((value < 0.0) & (code > 0), code | 128, code)
    return code.to(tl.uint8), tl.where(broken, float("nan"), scale)


def _step(
    theta_at, g_at, m_at, m_scales, u_at, u_scales, numel, numbers, seed, index, step,
    RULE: tl.constexpr, STATE: tl.constexpr, STOCHASTIC: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """One step of ROWS blocks; without STATE, SGD without momentum."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    element = row[:, None] * 256 + tl.arange(0, 256)[None, :]
    inside = element < numel
    there = row * 256 < numel
    weight1 = tl.load(numbers)
    weight2 = tl.load(numbers + 1)
    factor = tl.load(numbers + 2)
    rate = tl.load(numbers + 3)
    theta = tl.load(theta_at + element, mask=inside, other=0.0)
    g = tl.load(g_at + element, mask=inside, other=0.0).to(tl.float32)
    m = g * 0.0
    u = m
    if STATE:
        m = _decode(
            tl.load(m_at + element, mask=there[:, None], other=0),
            tl.load(m_scales + row, mask=there, other=0.0),
            8, 127, True,
        )  # fmt: skip
        if RULE != "sgd":
            u = _decode(
                tl.load(u_at + element, mask=there[:, None], other=0),
                tl.load(u_scales + row, mask=there, other=0.0),
                16, 255, False,
            )  # fmt: skip
    moved, m, u = _element(theta.to(tl.float32), g, m, u, weight1, weight2, factor, rate, 0.0, RULE, True)
    rounded = rounded_weight(moved, element, seed, index, step, theta.dtype, STOCHASTIC)
    tl.store(theta_at + element, rounded.to(theta.dtype), mask=inside)
    if STATE:
        m = tl.where(inside, m, 0.0)
        codes, scales = _encode(m, _bits(element, seed, index + 1, step), 8, 127, True, False)
        tl.store(m_at + element, codes, mask=there[:, None])
        tl.store(m_scales + row, scales, mask=there)
        if RULE != "sgd":
            # The step's floor under zero would be coded as the lowest level beside elements that had gradients.
            u = tl.where(u < 1.1754943508222875e-38, 0.0, tl.where(inside, u, 0.0))
            codes, scales = _encode(u, _bits(element, seed, index + 2, step), 16, 255, False, True)
            tl.store(u_at + element, codes, mask=there[:, None])
            tl.store(u_scales + row, scales, mask=there)


def _round(value_at, theta_at, numel, first, seed, index, step, BLOCK: tl.constexpr):
    """Values in float32 to bfloat16 weights, stochastically; `first` is the number of the first element."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < numel
    value = tl.load(value_at + place, mask=inside, other=0.0)
    value = rounded_weight(value, place + first, seed, index, step, tl.bfloat16, True)
    tl.store(theta_at + place, value.to(tl.bfloat16), mask=inside)


_CALLED = (_bits, _decode, _encode)
"""What the kernels call, as Python functions."""


@dataclass(frozen=True)
class Kernels:
    """The launches, each indexed by its grid and called with its function's arguments."""

    step: Any
    round: Any


@cache
def kernels() -> Kernels:
    """The kernels, compiled for each device and dtype when they are first launched.

    Raises:
        ModuleNotFoundError: Triton is not installed.
    """
    import triton

    names = globals()
    names.update(kernel_math.compiled())
    names["rounded_weight"] = rounding_device.compiled()
    names["hashed"] = rounding_device.hashed
    names.update({function.__name__: triton.jit(function) for function in _CALLED})
    loose = [
        "seed",
        "index",
        "step",
    ]  # of the number of elements it matters whether 16 divides it: then loads are wide
    return Kernels(
        step=triton.jit(_step, do_not_specialize=loose),
        round=triton.jit(_round, do_not_specialize=["first", *loose]),
    )
