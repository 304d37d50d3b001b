"""Studies on worker processes: what one process would have trained, whatever becomes of a worker or the writer."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from study_example import command, snapshot, tiny_text, write_corpus
from study_workers import KILLS
from test_study_kills import ONE_THREAD, check_history, results
from test_study_own import fields, source
from widthwise.study import Processes, run_study
from widthwise.study.processes import ended, visible_gpus

DEAD = 2.0**100
RATES = [2.0**-9, 2.0**-8, 2.0**-7, 2.0**-6, 2.0**-5, DEAD, 2 * DEAD, 4 * DEAD]
SPEC: dict[str, Any] = {
    "model": {"kind": "mlp", "depth": 1, "window": 2, "context": 8},
    "widths": [8, 16],
    "arms": [{"parameterization": "standard", "rates": "global"}],
    "optimizer": {"kind": "sgd"},
    "learning_rates": RATES,
    "seeds": [0],
    "training": {"steps": 90, "batch": 2},
}
"""Eight trials of each width, in populations of four; of the second only one survives, and goes on alone.

So many steps that none ends before a stop is heard on a loaded machine.
"""
SCENARIOS = (
    "local",
    "killed",
    "interrupted",
    "stopped",
    "broken",
    "bad input",
    "small device",
    "own function",
    "deadly",
    "writer killed",
)
Found = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What `study_workers` found: all its processes are forks of one."""
    folder = tmp_path_factory.mktemp("workers")
    for name in SCENARIOS:
        (folder / name).mkdir()
        if name == "own function":
            (folder / name / "spec.yaml").write_text(yaml.safe_dump(fields(widths=[16, 32])))
            continue
        changes = {"training": {"steps": 20, "batch": 2}} if name == "writer killed" else SPEC
        spec = tiny_text(write_corpus(folder), **changes)
        (folder / name / "spec.yaml").write_text(spec)
    driver = Path(__file__).with_name("study_workers.py")
    done = subprocess.run(
        [sys.executable, driver, folder], env=ONE_THREAD, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, json.loads((folder / "found.json").read_text())


def test_a_killed_worker_changes_nothing(found: Found) -> None:
    """It is killed between its population's steps; another goes on with that, to the same bits and the same record."""
    folder, seen = found
    killed = seen["killed"]
    assert killed["raised"] is None
    assert killed["side by side"] == 2
    (warned,) = killed["warned"]
    assert "its worker was lost (killed by signal 9); it is trained again" in warned
    assert killed["done"][-1] == 16
    assert killed["last work"][0] == killed["last work"][1]
    assert killed["left"] == []
    whole = results(folder / "local" / "s.sqlite")
    assert results(folder / "killed" / "s.sqlite") == whole
    assert {row[3] for row in whole["trial"]} == {"completed", "diverged"}
    assert sorted(row[:2] for row in whole["composition"] if row[1]) == [(2, 1), (4, 1)]
    with closing(sqlite3.connect(folder / "killed" / "s.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM host").fetchone() == (3,)
        trained_by = connection.execute("SELECT DISTINCT host FROM population ORDER BY host").fetchall()
    assert (3,) in trained_by
    assert "s.sqlite.checkpoints" not in snapshot(folder / "killed")


def test_an_interrupted_run_leaves_no_worker_and_goes_on(found: Found) -> None:
    folder, seen = found
    first, then = seen["interrupted"]["first"], seen["interrupted"]["then"]
    assert first["raised"][0] == "KeyboardInterrupt"
    assert first["left"] == []
    assert then["raised"] is None
    assert results(folder / "interrupted" / "s.sqlite") == results(folder / "local" / "s.sqlite")


def test_a_stopped_run_keeps_all_that_its_workers_have_done(found: Found) -> None:
    """No checkpoint was due: both populations at work have one of where they were told to stop."""
    folder, seen = found
    first, kept, then = (seen["stopped"][name] for name in ("first", "kept", "then"))
    assert first["raised"][0] == "KeyboardInterrupt"
    assert (first["warned"], first["left"], first["done"][-1]) == ([], [], 0)
    assert len(kept) == 2
    assert [f"population-{id_}" for id_, step in then["resumed"] if step >= 20] == kept
    assert then["raised"] is None
    assert results(folder / "stopped" / "s.sqlite") == results(folder / "local" / "s.sqlite")


@pytest.mark.parametrize(
    ("scenario", "kind", "says"),
    [
        ("broken", "TrainingError", "RuntimeError: a wire is loose\nTraceback"),
        ("bad input", "ValueError", "a number is wrong"),
    ],
)
def test_an_error_names_the_population_and_its_trials(
    found: Found, scenario: str, kind: str, says: str
) -> None:
    _, seen = found
    assert seen[scenario]["raised"][0] == kind
    assert seen[scenario]["raised"][1].startswith("population 2 (trials 5 to 8): " + says)
    assert seen[scenario]["left"] == []


def test_after_an_error_the_rest_is_trained(found: Found) -> None:
    folder, seen = found
    assert seen["mended"]["raised"] is None
    assert results(folder / "broken" / "s.sqlite") == results(folder / "local" / "s.sqlite")


def test_a_population_that_does_not_fit_on_a_workers_device_is_split(found: Found) -> None:
    folder, seen = found
    assert seen["small device"]["raised"] is None
    assert all("do not fit on the device together" in text for text in seen["small device"]["warned"])
    whole, parts = (results(folder / name / "s.sqlite") for name in ("local", "small device"))
    assert parts["trial"] == whole["trial"]
    assert parts["curve"] == whole["curve"]
    assert [status for _, status in parts["population"]].count("split") == 4
    assert len(parts["population"]) == 12


def test_workers_train_a_users_own_function(found: Found) -> None:
    folder, seen = found
    assert seen["own function"]["raised"] is None
    assert seen["own function"]["side by side"] == 2
    run_study(source(widths=[16, 32]), folder / "own.sqlite", device="cpu")
    assert results(folder / "own function" / "s.sqlite")["trial"] == results(folder / "own.sqlite")["trial"]


def test_a_population_that_no_worker_survives_ends_the_run(found: Found) -> None:
    """The rest of the store stands."""
    _, seen = found
    kind, says = seen["deadly"]["raised"]
    assert kind == "TrainingError"
    assert says.startswith(
        "population 2 (trials 5 to 8): 3 workers were lost over it, the last one killed by"
    )
    assert seen["deadly"]["left"] == []


def test_a_killed_writer_loses_nothing_and_leaves_no_worker(found: Found) -> None:
    _, seen = found
    stores = seen["writer killed"]["stores"]
    histories = list(stores.items())
    whole = results(Path(histories[0][0]))
    assert [status for _, status in whole["population"]] == ["completed"] * 6
    for store, history in histories:
        check_history(Path(store), history, whole, in_order=False)
    assert sum(state["killed"] for _, history in histories for state in history) == KILLS
    assert seen["writer killed"]["left"] == []


def test_gpus_are_named_as_cuda_would_see_them_alone() -> None:
    assert visible_gpus("2,3", 2) == ["2", "3"]
    assert visible_gpus("2,3,7", 2) == ["2", "3"]
    assert visible_gpus(None, 3) == ["0", "1", "2"]
    assert ended(0) == "ended with exit code 0"


@pytest.mark.parametrize("workers", [0, -1])
def test_at_least_one_worker(workers: int) -> None:
    with pytest.raises(ValueError, match=f"workers {workers} must be at least 1"):
        Processes(workers).open("cpu")


def test_more_workers_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    with Processes().open("cuda") as crew:
        assert [slot["CUDA_VISIBLE_DEVICES"] for slot in crew.slots] == ["4", "6"]
        assert crew.sharing == 1
    with pytest.raises(ValueError, match="workers 3 are more than the 2 GPUs"):
        Processes(3).open("cuda")


def test_workers_without_their_executor_are_refused(tmp_path: Path) -> None:
    result = command("study", "run", "quickstart", "--store", tmp_path / "s.sqlite", "--workers", 2)
    assert result.exit_code == 2
    assert "--workers 2 needs --executor processes" in result.stderr
    assert snapshot(tmp_path) == {}


@pytest.mark.slow
def test_the_command_with_workers_of_its_own(tmp_path: Path) -> None:
    """No fork: two interpreters, as a user's."""
    (tmp_path / "spec.yaml").write_text(tiny_text(write_corpus(tmp_path), **SPEC))
    program = [sys.executable, "-c", "from widthwise.cli import main; main()"]
    run = [*program, "study", "run", tmp_path / "spec.yaml", "--device", "cpu", "--population-size", "4"]
    for store, options in (("a", []), ("b", ["--executor", "processes", "--workers", "2"])):
        (tmp_path / store).mkdir()
        subprocess.run([*run, "--store", tmp_path / store / "s.sqlite", *options], env=ONE_THREAD, check=True)
    assert results(tmp_path / "a" / "s.sqlite") == results(tmp_path / "b" / "s.sqlite")
    assert list(snapshot(tmp_path / "b")) == ["s.sqlite"]
