"""Two gloo processes do what one does, and their checkpoint goes on in one and in four."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from house_rules import SOURCE
from widthwise.wide.sharded_module import shard_dimension
from widthwise.wide.split_members import members_of

SCRIPT = Path(__file__).with_name("wide_processes.py")


def torchrun(processes: int, folder: Path, phase: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(SCRIPT), str(folder), phase],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count(f"{phase} done") == processes


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    torchrun(2, folder, "two")
    return folder


def test_two_processes_are_one(two: Path) -> None:
    """Losses, sizes, members over processes; and one whole checkpoint is left."""
    assert sorted(path.name for path in (two / "adam").iterdir()) == ["latest.json", "step-10-of-2"]


@pytest.mark.slow
def test_other_optimizers_recomputation_and_other_numbers_of_processes(two: Path) -> None:
    torchrun(2, two, "more")
    for processes in (1, 4):
        torchrun(processes, two, "load")


def test_what_does_not_divide() -> None:
    with pytest.raises(
        ValueError,
        match=r"readout of shape \[9, 33\] has no dimension that 4 processes divide; use 3 processes or fewer",
    ):
        shard_dimension("readout", (5, 9, 33), 4)
    with pytest.raises(ValueError, match="3 members over 8 processes: 5 would have none; start at most 3"):
        members_of(0, 8, 3)
    assert [len(members_of(rank, 3, 8)) for rank in range(3)] == [3, 3, 2]
