"""How much memory a device has left for a population."""

import os
from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


KEPT_SHARE = 1 / 8
"""The share of a CUDA device's memory that weights may take which are kept to compare with."""


def free_bytes(device: torch.device) -> int:
    """What is free now: of a CUDA device with what torch holds without using it, of the machine or its container."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return host_bytes(_MEMINFO, _GROUP)


def total_bytes(device: torch.device) -> int | None:
    """All the memory that a CUDA device has; None for a CPU, which has its host's."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def device_bytes(device: torch.device) -> int:
    """All that a CUDA device has; what is free of the machine's, or its container's."""
    total = total_bytes(device)
    return free_bytes(device) if total is None else total


def kept_bytes(device: torch.device) -> tuple[int, int]:
    """How much of a device's memory, and else of its host's, may be taken up by weights that are kept to compare with.

    `KEPT_SHARE` of all that a CUDA device has or a quarter of what is free of a CPU's, and half of what the host has.
    """
    free, total = host_bytes(_MEMINFO, _GROUP), total_bytes(device)
    if total is not None:
        return int(total * KEPT_SHARE), free // 2
    return free // 4, free // 2


def host_bytes(meminfo: Path, group: Path) -> int:
    """The free memory of a Linux machine, no more than its control group is allowed; elsewhere half of all there is.

    Args:
        meminfo: the kernel's account, `/proc/meminfo`.
        group: the control group's folder, with `memory.max` and `memory.current`.
    """
    try:
        lines = (line.split() for line in meminfo.read_text().splitlines())
        free = next(int(kib) * 1024 for name, kib, *_ in lines if name == "MemAvailable:")
    except (OSError, StopIteration):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    try:
        allowed = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no such group, or no limit, which reads "max"
        return free
    return max(0, min(free, allowed))
