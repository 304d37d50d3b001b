"""A training over two gloo processes that is killed goes on in one process and in four, as if it had never been."""

from pathlib import Path

import pytest

from torchrun import torchrun

SCRIPT = "sharded_training.py"

pytestmark = pytest.mark.slow  # three starts of processes that import torch


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trainings")
    torchrun(2, SCRIPT, folder, "train")
    return folder


def test_one_whole_checkpoint_is_left(killed: Path) -> None:
    left = sorted(path.name for path in (killed / "population-1").iterdir())
    assert left == ["latest.json", "step-20-of-2"]


@pytest.mark.parametrize("processes", [1, 4])
def test_it_goes_on_in_other_numbers_of_processes(killed: Path, processes: int) -> None:
    torchrun(processes, SCRIPT, killed, "resume")
