"""Adafactor's kernels, compiled by Triton, which is imported when they are first asked for."""

# Triton may be absent.
# pyright: reportMissingImports=false

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from widthwise.optim import adafactor_device, adafactor_flat_kernel, adafactor_kernel, rounding_device

CONSTANTS = (
    "decay_rate", "step_offset", "eps", "threshold", "floor", "momentum", "decay_per_rate", "decay_per_step"
)  # fmt: skip
"""The order of the kernels' `constants`, float64 [8]."""

NUMBERS = ("weight", "rate", "decay", "step")
"""The order of their `numbers`, float32 [slots, 4], which `prepare` writes."""

FACTORED, FLAT = adafactor_kernel, adafactor_flat_kernel
ORIGINALS: dict[str, Any] = {
    function.__name__: function
    for function in (
        FLAT.prepare, FACTORED.sums, FACTORED.finish, FACTORED.squares, FLAT.flat, FLAT.reduce, FACTORED.update,
        FLAT.update_flat,
    )
}  # fmt: skip
"""The kernels, as Python functions."""


@dataclass(frozen=True)
class Kernels:
    """The launches, each indexed by its grid and called with its function's arguments, and the dtypes' names."""

    prepare: Any
    sums: Any
    finish: Any
    squares: Any
    flat: Any
    reduce: Any
    update: Any
    update_flat: Any
    dtypes: dict[torch.dtype, Any]


@cache
def kernels() -> Kernels:
    """The kernels, compiled for each device and dtype when they are first launched.

    Raises:
        ModuleNotFoundError: Triton is not installed.
    """
    import triton
    import triton.language as language

    modules = (adafactor_device, FACTORED, FLAT)
    for module in modules:
        vars(module).update(tl=language, rounded_weight=rounding_device.compiled())
    for function in adafactor_device.CALLED:
        jitted = triton.jit(function)
        for module in modules:
            vars(module)[function.__name__] = jitted
    if (
        os.environ.get("TRITON_INTERPRET") == "1"
    ):  # it knows this sum and adds arrays; others element by element
        adafactor_device.added = language.standard._sum_combine
    return Kernels(
        **{
            name: triton.jit(do_not_specialize=["count"] if name == "prepare" else None)(function)
            for name, function in ORIGINALS.items()
        },
        dtypes={
            torch.float32: language.float32,
            torch.bfloat16: language.bfloat16,
            torch.float16: language.float16,
        },
    )
