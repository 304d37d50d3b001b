"""The processes that `torchrun` starts: their group, and numbers that all of them get from all of them.

Nothing is pickled: numbers travel as tensors, texts as bytes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist


@contextmanager
def process_group(device: str = "auto") -> Iterator[torch.device]:
    """The group of `torchrun`'s processes, and this one's device; a group of one where torchrun did not start it.

    Args:
        device: `cpu` (gloo), `cuda` (NCCL), or `auto`.

    Raises:
        ValueError: more processes on this host than it has CUDA devices.
    """
    cuda = torch.cuda.is_available() if device == "auto" else device == "cuda"
    local, here = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if cuda and here > torch.cuda.device_count():
        raise ValueError(
            f"{here} processes on a host with {torch.cuda.device_count()} CUDA devices; start one a device "
            f"(torchrun --nproc-per-node {torch.cuda.device_count()})"
        )
    mine = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(mine)
    backend = "nccl" if cuda else "gloo"
    if "RANK" in os.environ:
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)  # pyright: ignore[reportPrivateImportUsage]
    try:
        yield mine
    finally:
        dist.destroy_process_group()


def gathered_texts(text: str, device: torch.device) -> list[str]:
    """Every process's text, by rank."""
    data = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).to(device)
    lengths = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(dist.get_world_size())]
    dist.all_gather(lengths, torch.tensor([len(data)], device=device))
    sizes = [int(length) for length in lengths]
    padded = torch.zeros(max(sizes), dtype=torch.uint8, device=device)
    padded[: len(data)] = data
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return [bytes(part[:size].tolist()).decode() for part, size in zip(parts, sizes, strict=True)]
