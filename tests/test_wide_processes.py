"""Two gloo processes do what one does, and their checkpoint goes on in one and in four."""

import re
from pathlib import Path

import pytest
import torch

from forked import as_torchrun
from torchrun import TESTS, torchrun
from widthwise.wide.processes import process_group
from widthwise.wide.shards import shard_dimension
from widthwise.wide.split_members import members_of

SCRIPT = "wide_processes.py"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    as_torchrun(2, TESTS / SCRIPT, str(folder), "two")
    return folder


def test_two_processes_are_one(two: Path) -> None:
    """Losses, sizes, members over processes, whole trainings, what is measured; and one whole checkpoint is left."""
    assert sorted(path.name for path in (two / "adam").iterdir()) == ["latest.json", "step-10-of-2"]


@pytest.mark.slow
def test_other_optimizers_recomputation_and_other_numbers_of_processes(two: Path) -> None:
    torchrun(2, SCRIPT, two, "more")
    for processes in (1, 4):
        torchrun(processes, SCRIPT, two, "load")


def test_more_processes_than_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    message = re.escape(
        "4 processes on a host with 2 CUDA devices; start one a device (torchrun --nproc-per-node 2)"
    )
    with pytest.raises(ValueError, match=message), process_group():
        raise AssertionError("it was not refused")


def test_what_does_not_divide() -> None:
    with pytest.raises(
        ValueError,
        match=r"readout of shape \[9, 33\] has no dimension that 4 processes divide; use 3 processes or fewer",
    ):
        shard_dimension("readout", (5, 9, 33), 4)
    with pytest.raises(ValueError, match="3 members over 8 processes: 5 would have none; start at most 3"):
        members_of(0, 8, 3)
    assert [len(members_of(rank, 3, 8)) for rank in range(3)] == [3, 3, 2]
