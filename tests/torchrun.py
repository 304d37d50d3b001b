"""Runs a script of the tests in several processes of this machine, as `torchrun` starts them."""

import os
import subprocess
import sys
from pathlib import Path

from house_rules import SOURCE

TESTS = Path(__file__).parent


def torchrun_command(processes: int) -> list[str]:
    """What comes before the script, or `-m` and a module."""
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]


def torchrun(processes: int, script: str, folder: Path, phase: str) -> None:
    """Run a phase of a script; every process has to say that it is done."""
    done = run_torchrun(processes, str(TESTS / script), str(folder), phase)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count(f"{phase} done") == processes


def run_torchrun(processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script or a module to its end."""
    environment = {**os.environ, "PYTHONPATH": f"{SOURCE.parent}:{TESTS}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*torchrun_command(processes), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment,
    )
