"""Which of the three implementations a parameter group runs: one tensor at a time, foreach, or the fused kernels."""

import os
import warnings
from collections.abc import Mapping
from enum import Enum
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch


class Implementation(Enum):
    """The three, all of one meaning."""

    SINGLE = "single"
    FOREACH = "foreach"
    FUSED = "fused"


@cache
def has_triton() -> bool:
    """Whether Triton can be imported; says once if it cannot."""
    found = find_spec("triton") is not None
    if not found:
        warnings.warn(
            "Triton is not installed, so steps run through PyTorch's own operations, which move several times the "
            "memory of the fused kernels: install triton, or pass fused=False to say that it is meant",
            stacklevel=2,
        )
    return found


def interpreted() -> bool:
    """Whether Triton's interpreter runs kernels, which then work on the CPU, slowly."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def implementation(group: Mapping[str, Any], device: torch.device) -> Implementation:
    """The implementation for a group's parameters on a device.

    Asked for nothing, CUDA devices run the fused kernels and others one tensor at a time. Inside torch.compile, the
    compiler fuses the plain operations itself.

    Raises:
        ValueError: the fused kernels are asked for on a device that they do not run on.

    Example:
        >>> implementation({"foreach": None, "fused": None}, torch.device("cpu"))
        <Implementation.SINGLE: 'single'>
    """
    cuda = device.type == "cuda"
    if group["foreach"] or (torch.compiler.is_compiling() and cuda and group["foreach"] is None):
        return Implementation.FOREACH
    if torch.compiler.is_compiling():
        return Implementation.SINGLE
    if group["fused"] and not (cuda or interpreted()):
        raise ValueError(
            f"fused=True with parameters on {device}: the kernels need CUDA; leave fused at None"
        )
    if group["fused"] or (cuda and group["fused"] is None and group["foreach"] is None):
        return Implementation.FUSED if has_triton() else Implementation.FOREACH
    return Implementation.FOREACH if cuda and group["foreach"] is None else Implementation.SINGLE
