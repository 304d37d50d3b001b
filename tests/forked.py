"""Processes that are forks of one, which has loaded torch: none has to import it again.

The one is Python's fork server. The first call starts it; it ends with the tests. It loads no module of this package,
so that the processes see the sources that the tests see.
"""

import multiprocessing
import os
import runpy
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.multiprocessing as mp

multiprocessing.set_forkserver_preload(
    ["torch._dynamo", "torch.distributed.fsdp", "torch.distributed.tensor.parallel", "numpy", "scipy.stats"]
)


def in_forks(work: Callable[..., None], arguments: tuple[Any, ...], processes: int) -> None:
    """Run `work(rank, *arguments)` in so many processes; what one of them raises is raised."""
    mp.start_processes(work, arguments, nprocs=processes, start_method="forkserver")  # pyright: ignore[reportPrivateImportUsage]


def as_torchrun(processes: int, script: Path, *arguments: str) -> None:
    """Run a script in processes whose environment is that of `torchrun`'s."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    in_forks(_be_script, (processes, port, list(sys.path), [str(script), *arguments]), processes)


def _be_script(rank: int, processes: int, port: int, path: list[str], argv: list[str]) -> None:
    here = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    os.environ.update({name: str(value) for name, value in here.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    sys.path[:], sys.argv[:] = path, argv
    runpy.run_path(argv[0], run_name="__main__")
