"""How the optimizers' Triton kernels round a weight: to nearest or stochastically, on a bfloat16 number already.

The functions below are ordinary Python until `compiled` makes Triton's of them.
"""

# Triton may be absent, and its kernels are not typed Python.
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportCallIssue=false

from __future__ import annotations

from functools import cache
from typing import Any

tl: Any = None
"""triton.language, once `compiled` has imported it: Triton reads the names that a kernel uses from its module."""


def hashed(word):
    """`rounding.mixed` for uint32 words."""
    word = word ^ (word >> 16)
    word = word * 0x7FEB352D
    word = word ^ (word >> 15)
    word = word * 0x846CA68B
    return word ^ (word >> 16)


def rounded_weight(theta, element, seed, index, step, dtype: tl.constexpr, STOCHASTIC: tl.constexpr):
    """The float32 weight; for bfloat16 weights, on a bfloat16 number already, so that no cast decides how to round."""
    if dtype == tl.bfloat16:
        bits = theta.to(tl.uint32, bitcast=True)
        if STOCHASTIC:  # as `StochasticRounding.round`
            key = hashed(step.to(tl.int64).to(tl.uint32) * 0x9E3779B9 + seed)
            key = hashed(key + index.to(tl.uint32) * 0x85EBCA6B)
            bits += hashed(element.to(tl.uint32) ^ key) & 0xFFFF
        else:  # to nearest, ties to even
            bits += 0x7FFF + ((bits >> 16) & 1)
        rounded = (bits & 0xFFFF0000).to(tl.float32, bitcast=True)
        theta = tl.where(theta - theta == 0.0, rounded, theta)
    return theta


_CALLED = (hashed, rounded_weight)
"""The functions above, as Python's."""


@cache
def compiled() -> Any:
    """Triton's form of `rounded_weight`, one for all kernels.

    Raises:
        ModuleNotFoundError: Triton is not installed.
    """
    import triton
    import triton.language as language

    names = globals()
    names["tl"] = language
    names.update({function.__name__: triton.jit(function) for function in _CALLED})
    return names["rounded_weight"]
