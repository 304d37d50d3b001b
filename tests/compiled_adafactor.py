"""Compiles Adafactor's kernels for an H200 on a machine that has none, and prints how each moves memory, as JSON.

Run by a test in a process of its own: Triton's interpreter, once chosen, is chosen for all of a process.
"""

import json
import re
import sys
from collections import Counter
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from widthwise.optim.adafactor_kernels import ORIGINALS, kernels
from widthwise.optim.adafactor_launch import CHUNK, DEEP, PREPARED_AT_ONCE, REDUCED_AT_ONCE
from widthwise.optim.adafactor_tables import TABLE_COLUMNS, Tile

H200 = GPUTarget("cuda", 90, 32)
POINTERS = {
    "table": "*i64", "blocks": "*i32", "slots": "*i32", "scratch": "*fp32", "numbers": "*fp32",
    "constants": "*fp64", "seeds": "*i64", "segments": "*i64", "count": "i32",
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "float32": {},
    "bfloat16": {"P": tl.bfloat16, "G": tl.bfloat16, "STOCHASTIC": True, "MOMENTUM": True},
    "unaligned": {"ALIGNED": False, "SCALED": False, "CLIPPED": False, "MAXIMIZE": True},
}


def compiled(name: str, variant: str) -> dict[str, int]:
    """How often each instruction that touches global memory is in a kernel."""
    tile = Tile()
    block = {"prepare": PREPARED_AT_ONCE, "reduce": REDUCED_AT_ONCE}.get(name, tile.flat)
    constants = {
        "P": tl.float32, "G": tl.float32, "SCALED": True, "CLIPPED": True, "MOMENTUM": False, "MAXIMIZE": False,
        "STOCHASTIC": False, "ALIGNED": True, "WIDTH": TABLE_COLUMNS, "ROWS": tile.rows, "COLUMNS": tile.columns,
        "STEPS": tile.steps, "CHUNK": CHUNK, "DEEP": DEEP, "BLOCK": block, **VARIANTS[variant],
    }  # fmt: skip
    function = getattr(kernels(), name)
    names = function.arg_names
    signature = {argument: POINTERS.get(argument, "constexpr") for argument in names}
    source = ASTSource(
        fn=function,
        signature=signature,
        constexprs={argument: constants[argument] for argument in names if argument not in POINTERS},
        attrs={
            (i,): [["tt.divisibility", 16]]
            for i, argument in enumerate(names)
            if signature[argument].startswith("*")
        },
    )
    found = triton.compile(source, target=H200, options={"num_warps": tile.warps, "enable_fp_fusion": False})
    return dict(Counter(re.findall(r"\b(?:ld|st|atom|red)\.global[\w.:]*", found.asm["ptx"])))


if __name__ == "__main__":
    sys.stdout.write(
        json.dumps(
            {f"{name}, {variant}": compiled(name, variant) for name in ORIGINALS for variant in VARIANTS}
        )
    )
