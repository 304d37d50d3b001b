"""Whole trainings over two gloo processes are those of one; killed, they go on in one process and in four."""

from pathlib import Path

import pytest

from torchrun import torchrun

SCRIPT = "sharded_training.py"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trainings")
    torchrun(2, SCRIPT, folder, "train")
    return folder


def test_two_processes_train_and_measure_as_one(killed: Path) -> None:
    """Losses, statuses, dropped members, alignment; and of the killed training one whole checkpoint is left."""
    left = sorted(path.name for path in (killed / "population-1").iterdir())
    assert left == ["latest.json", "step-20-of-2"]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 4])
def test_a_killed_training_goes_on_in_other_numbers_of_processes(killed: Path, processes: int) -> None:
    torchrun(processes, SCRIPT, killed, "resume")
