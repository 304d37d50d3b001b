"""The installed command itself, as a process."""

import os
import subprocess
import sys
from pathlib import Path

from study_example import snapshot, tiny_text, write_corpus

WIDTHWISE = Path(sys.executable).with_name("widthwise")


def run(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(WIDTHWISE), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_study_runs_in_one_line(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    (tmp_path / "s.yaml").write_text(tiny_text("text.txt"))
    done = run("study", "run", "s.yaml", "--store", "s.sqlite", "--device", "cpu", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].startswith("24/24 models")
    assert "mup-full" in done.stdout
    assert list(snapshot(tmp_path)) == ["s.sqlite", "s.yaml", "text.txt"]


def test_bad_input_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(tiny_text("missing.txt"))
    before = snapshot(tmp_path)
    done = run("study", "run", "s.yaml", "--store", "s.sqlite", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"widthwise: corpus 'missing.txt' does not exist in {tmp_path}; "
        "give 'python-stdlib', a text file or a folder\n"
    )
    assert snapshot(tmp_path) == before
