"""The Triton kernel of `draws.normal_draws`: one number an element, times a tensor's init, written once.

The draws are `normal_draws`' up to the last places of a logarithm and a cosine.
"""

# Triton may be absent, and its kernels are not typed Python.
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportCallIssue=false

from __future__ import annotations

from functools import cache
from typing import Any

from widthwise.optim import rounding_device

tl: Any = None
hashed: Any = None
"""Set by `kernel`: Triton reads the names that a kernel uses from its module."""

AT_ONCE = 2048
"""Elements of a program."""


def _uniform(low, high, key_high, key_low):
    """`draws._uniform` of an element's number, two words, under a key, two words."""
    word = hashed(hashed(low + key_high) ^ high ^ key_low)
    return (word.to(tl.float32) + 0.5) * 2.3283064365386963e-10


def _normal(out, count, first, init, keys, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    element = place + first
    low, high = (element & 0xFFFFFFFF).to(tl.uint32), (element >> 32).to(tl.uint32)
    one, two = tl.load(keys).to(tl.uint32), tl.load(keys + 1).to(tl.uint32)
    three, four = tl.load(keys + 2).to(tl.uint32), tl.load(keys + 3).to(tl.uint32)
    radius = tl.sqrt(tl.maximum(-2.0 * tl.log(_uniform(low, high, one, two)), 0.0))
    angle = 6.283185307179586 * _uniform(low, high, three, four)
    z = radius * tl.cos(angle) * init
    tl.store(out + place, z.to(out.dtype.element_ty), mask=place < count)


@cache
def kernel() -> Any:
    """Triton's form of `_normal`.

    Raises:
        ModuleNotFoundError: Triton is not installed.
    """
    import triton
    import triton.language as language

    rounding_device.compiled()
    names = globals()
    names["tl"], names["hashed"] = language, rounding_device.hashed
    names["_uniform"] = triton.jit(_uniform)
    return triton.jit(_normal)
