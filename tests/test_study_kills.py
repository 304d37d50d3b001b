"""A study that is killed at any moment goes on where it stood, to the same bits."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from study_example import snapshot, tiny_text, write_corpus
from study_kills import KILLS, kill_until_done, random_moments

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
COMMAND = [sys.executable, "-c", "from widthwise.cli import main; main()"]
RESULTS = {
    "trial": "SELECT id, identity, recipe, status, reason, step, validation_loss FROM trial ORDER BY id",
    "curve": "SELECT trial, step, loss FROM curve ORDER BY trial, step",
    "cell": "SELECT * FROM cell ORDER BY arm, width, learning_rate, seed",
    "composition": "SELECT * FROM composition ORDER BY population, revision, position",
    "population": "SELECT id, status FROM population ORDER BY id",
    "study": "SELECT id, name, spec, corpus FROM study",
}


def folder_with_spec(folder: Path, steps: int) -> Path:
    """Write the specification of six populations of four, and its corpus."""
    spec = tiny_text(write_corpus(folder), training={"steps": steps, "batch": 2})
    (folder / "spec.yaml").write_text(spec)
    return folder


def results(store: Path) -> dict[str, list[Any]]:
    """All that must not depend on when a study was killed."""
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return {table: connection.execute(query).fetchall() for table, query in RESULTS.items()}


def check_history(
    store: Path, seen: list[dict[str, Any]], whole: dict[str, list[Any]], *, in_order: bool = True
) -> None:
    """What stood, stands; what was reported, stood; the end is that of an undisturbed run, in one file.

    Args:
        in_order: whether populations end in the order of their ids, as those that one process trains do.
    """
    for before, after in pairwise(seen):
        # Host and seconds of a completed population stay: it was neither lost nor trained again.
        assert before["completed"].items() <= after["completed"].items()
    for state in seen:
        assert state["ended"] == 4 * len(state["completed"])
        assert state["said"] <= state["ended"]
        if in_order:
            assert sorted(state["completed"], key=int) == [str(i + 1) for i in range(len(state["completed"]))]
    assert seen[-1]["killed"] is False
    assert len(seen[-1]["completed"]) == 6
    assert list(snapshot(store.parent)) == ["s.sqlite"]
    assert results(store) == whole


def test_ten_kills_at_random_moments_and_ten_between_statements_change_nothing(tmp_path: Path) -> None:
    """All attempts are forks of one process that `study_kills` runs as, so that none has to import torch."""
    folder = folder_with_spec(tmp_path, steps=30)
    driver = Path(__file__).with_name("study_kills.py")
    done = subprocess.run(
        [sys.executable, driver, folder], env=ONE_THREAD, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    whole = results(folder / "whole.sqlite")
    assert [status for _, status in whole["population"]] == ["completed"] * 6
    assert len(whole["trial"]) == 24
    assert all(row[3] == "completed" and row[6] > 0 for row in whole["trial"])
    assert len(whole["curve"]) == 24 * 30
    found = json.loads((folder / "found.json").read_text())
    for stores in (found["by time"]["stores"], found["by statement"]["stores"]):
        for store, seen in stores.items():
            check_history(Path(store), seen, whole)
    kills = [state for seen in found["by time"]["stores"].values() for state in seen if state["killed"]]
    assert len(kills) == KILLS
    # The moments were spread; how far depends on what else the machine does.
    assert len({len(state["completed"]) for state in kills}) >= 2
    ((_, seen),) = found["by statement"]["stores"].items()
    assert sum(state["killed"] for state in seen) == KILLS


@pytest.mark.slow
def test_kills_of_the_whole_command(tmp_path: Path) -> None:
    """As above, each attempt a new interpreter."""
    folder_with_spec(tmp_path, steps=100)

    def start(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as file:
            return subprocess.Popen([*COMMAND, *arguments], stdout=file, stderr=file, env=ONE_THREAD)

    store = tmp_path / "whole" / "s.sqlite"
    store.parent.mkdir()
    began = time.monotonic()
    arguments = ["study", "run", str(tmp_path / "spec.yaml"), "--store", str(store), "--device", "cpu"]
    assert start([*arguments, "--population-size", "4"], tmp_path / "whole.txt").wait() == 0
    moments = random_moments(time.monotonic() - began, KILLS)
    stores = kill_until_done(tmp_path, start, moments)["stores"]
    whole = results(store)
    for path, seen in stores.items():
        check_history(Path(path), seen, whole)
    assert sum(state["killed"] for seen in stores.values() for state in seen) == KILLS
