"""The wheel, not the source tree, is what users get: it holds every data file, and its command runs."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from house_rules import SOURCE

ROOT = SOURCE.parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    command = [*pip, "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("widthwise-*.whl")
    return built


def test_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    files = {path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    expected = {path.relative_to(SOURCE.parent).as_posix() for path in files}
    assert "widthwise/py.typed" in expected
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == expected


def test_wheel_command_runs_away_from_the_source(wheel: Path, tmp_path: Path) -> None:
    unpacked = tmp_path / "unpacked"
    zipfile.ZipFile(wheel).extractall(unpacked)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert Path(run("-c", "import widthwise; print(widthwise.__file__)").strip()).is_relative_to(unpacked)
    rows = json.loads(run("-m", "widthwise", "exponents", "--format", "json"))
    assert len(rows) == 72
    assert {"parameterization", "optimizer", "alignment", "role", "a", "b", "c", "g"} == set(rows[0])
