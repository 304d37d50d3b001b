"""A study that is killed within a population goes on from there, to the same results and by the same record."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from study_example import command, one_thread, snapshot, tiny_source, tiny_text, train, write_corpus
from widthwise.records import PopulationStatus, RevisionRow, StoredStudy, TrialStatus, read_curves, read_study
from widthwise.study import RunState, resume_study, run_study
from widthwise.study.checkpoints import checkpoint_path, remove_checkpoints
from widthwise.study.store import writing
from widthwise.train import checkpoint

STEPS = 90
DEAD = 2.0**100
"""A rate at which SGD diverges at once."""
SPEC: dict[str, Any] = {
    "model": {"kind": "mlp", "depth": 1, "window": 2, "context": 8},
    "widths": [8],
    "arms": [{"parameterization": "standard", "rates": "global"}],
    "optimizer": {"kind": "sgd"},
    "learning_rates": [2.0**-8, 2.0**-7, 2.0**-6, DEAD, 2 * DEAD, 4 * DEAD],
    "seeds": [0],
    "training": {"steps": STEPS, "batch": 2},
}
"""Six trials in one population, of which half die at once: the other three go on alone after step 20."""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store" / "s.sqlite"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[StoredStudy, Path]:
    """The study that no test has stopped, and its store."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = folder / "whole.sqlite"
    return run(write_corpus(folder), path), path


def run(corpus: Path, store: Path, listener: Any = None, **changes: Any) -> Any:
    with one_thread():
        return run_study(
            tiny_source(corpus, **{**SPEC, **changes}),
            store,
            device="cpu",
            population_size=6,
            listener=listener,
            checkpoint_seconds=0.0,
        )


def stop_at(step: int, population: int = 1) -> Any:
    def listen(state: RunState) -> None:
        if (state.population, state.step) == (population, step):
            raise KeyboardInterrupt

    return listen


def resume(store: Path, listener: Any = None) -> Any:
    with one_thread():
        return resume_study(store, device="cpu", listener=listener)


def test_a_compaction_is_in_the_store_before_training_goes_on(corpus: Path, store: Path) -> None:
    seen: list[tuple[int, int]] = []

    def listen(state: RunState) -> None:
        seen.append((state.step, len(read_study(store).populations[0].revisions)))

    study = run(corpus, store, listen)
    # The listener is told of a step before anything is decided there.
    assert seen[:4] == [(0, 1), (20, 1), (40, 2), (60, 2)]
    (population,) = study.populations
    dead = {c.trial for c in study.cells if c.learning_rate > 1}
    living = tuple(t for t in population.trials if t not in dead)
    assert population.revisions == (RevisionRow(0, population.trials), RevisionRow(20, living))
    assert {t.id for t in study.trials.values() if t.status is TrialStatus.DIVERGED} == dead
    assert list(snapshot(store.parent)) == ["s.sqlite"]


def test_a_population_is_gone_on_with_from_its_checkpoint(
    corpus: Path, store: Path, undisturbed: tuple[StoredStudy, Path]
) -> None:
    whole, whole_store = undisturbed
    with pytest.raises(KeyboardInterrupt):
        run(corpus, store, stop_at(60))
    assert checkpoint_path(store, 1).is_file()
    states: list[RunState] = []
    after = resume(store, states.append)
    told = [(s.step, s.resumed_step) for s in states]
    resumed = told[1][0]
    assert resumed in (20, 40)  # how often, depends on what writing costs
    assert told[:2] == [(0, 0), (resumed, resumed)]
    assert told[2][0] == resumed + 20
    assert states[1].work_before == states[1].work_done == resumed / STEPS * states[1].work
    assert states[1].tokens_per_second is None
    assert states[-1].work_done == states[-1].work
    assert after.trials == whole.trials
    assert after.populations[0].revisions == whole.populations[0].revisions
    assert read_curves(store) == read_curves(whole_store)
    assert list(snapshot(store.parent)) == ["s.sqlite"]


@pytest.mark.parametrize("damage", ["cut", "gone", "folder"])
def test_without_its_checkpoint_it_begins_again_and_ends_the_same(
    corpus: Path, store: Path, undisturbed: tuple[StoredStudy, Path], damage: str
) -> None:
    """By the record: nothing is decided anew, and nothing is recorded again."""
    whole, _ = undisturbed
    with pytest.raises(KeyboardInterrupt):
        run(corpus, store, stop_at(60))
    path = checkpoint_path(store, 1)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.warns(UserWarning, match=r"population-1' is not used: .*cut short or damaged"):
            after = resume(store)
    else:
        path.unlink()
        if damage == "folder":
            path.parent.rmdir()
        after = resume(store)
    assert after.trials == whole.trials
    assert after.populations[0].revisions == whole.populations[0].revisions
    assert list(snapshot(store.parent)) == ["s.sqlite"]


def test_a_checkpoint_of_another_store_is_left_aside(corpus: Path, store: Path, tmp_path: Path) -> None:
    """Of the same name, with other trials."""
    with pytest.raises(KeyboardInterrupt):
        run(corpus, store, stop_at(60))
    store.unlink()
    with pytest.warns(UserWarning, match="belongs to another recipe"):
        found = run(corpus, store, seeds=[1])
    assert found.trials == run(corpus, tmp_path / "whole.sqlite", seeds=[1]).trials


def test_what_a_kill_leaves_of_ended_populations_goes(corpus: Path, store: Path) -> None:
    """Killed between recording the results and removing the state that is not needed any more."""
    study = run(corpus, store)
    path = checkpoint_path(store, 1)
    path.parent.mkdir()
    path.write_bytes(b"state")
    path.with_name(path.name + ".new").write_bytes(b"half a state")
    assert resume(store) == study
    assert list(snapshot(store.parent)) == ["s.sqlite"]


def test_other_files_in_the_folder_stay(store: Path) -> None:
    path = checkpoint_path(store, 1)
    path.parent.mkdir()
    path.write_bytes(b"state")
    (path.parent / "notes.txt").write_text("mine")
    remove_checkpoints(store)
    assert [p.name for p in path.parent.iterdir()] == ["notes.txt"]


def test_revisions_and_splits_are_rows(corpus: Path, store: Path) -> None:
    """Parts stand where the population stood; a part may begin late; who had ended has its result."""
    with pytest.raises(KeyboardInterrupt):
        run(corpus, store, stop_at(0), seeds=[0, 1], training={"steps": 2, "batch": 1})
    first, second = read_study(store).populations
    trials = first.trials
    with writing(store) as writer:
        writer.revise_population(1, from_step=20, trials=trials[:4])
        assert writer.next_population() == 3
        from study_example import ended

        results = [ended(trial, None) for trial in trials[4:]]
        writer.split_population(1, [trials[:2], trials[2:4]], from_step=20, results=results)
        writer.split_population(3, [trials[:1], trials[1:2]], from_step=20, results=[])
    study = read_study(store)
    assert [p.status.value for p in study.populations] == [
        "split",
        "pending",
        "split",
        "pending",
        "pending",
        "pending",
    ]
    assert [p.split_from for p in study.populations] == [None, None, 1, 1, 3, 3]
    assert study.populations[0].revisions == (RevisionRow(0, trials), RevisionRow(20, trials[:4]))
    assert study.populations[3].revisions == (RevisionRow(20, trials[2:4]),)
    assert [p.id for p in study.pending_populations()] == [5, 6, 4, second.id]
    assert {study.trials[t].status for t in trials[4:]} == {TrialStatus.DIVERGED}
    assert {study.trials[t].status for t in trials[:4]} == {TrialStatus.PENDING}


def test_a_split_is_recorded_in_one_transaction(corpus: Path, store: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(corpus, store, stop_at(0), training={"steps": 2, "batch": 1})
    before = read_study(store)
    with writing(store) as writer, pytest.raises(sqlite3.IntegrityError):
        writer.split_population(1, [[1], [999]], from_step=0, results=[])
    assert read_study(store) == before
    assert before.populations[0].status is PopulationStatus.PENDING


KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from pathlib import Path
from widthwise.study import load_spec, run_study

def listen(state):
    if (state.population, state.step) == (int(sys.argv[3]), int(sys.argv[4])):
        os.kill(os.getpid(), signal.SIGKILL)

source = load_spec(sys.argv[1])
run_study(
    source, Path(sys.argv[2]), device="cpu", population_size=6, listener=listen, checkpoint_seconds=0.0
)
"""


def test_a_kill_in_the_middle_of_a_population(corpus: Path, store: Path, tmp_path: Path) -> None:
    """SIGKILL, in the second of two populations, at step 40 and then at step 80; then the command goes on."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(tiny_text(corpus, **{**SPEC, "widths": [8, 16]}))
    whole = run(corpus, tmp_path / "whole.sqlite", widths=[8, 16])
    for step in ("40", "80"):
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, spec, store, "2", step],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
            capture_output=True,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert checkpoint_path(store, 2).is_file()
        assert [p.completed for p in read_study(store).populations] == [True, False]
    result = command("study", "resume", store, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert "gone on with from step" in result.stderr
    after = read_study(store)
    assert after.trials == whole.trials
    assert [p.revisions for p in after.populations] == [p.revisions for p in whole.populations]
    assert read_curves(store) == read_curves(tmp_path / "whole.sqlite")
    assert list(snapshot(store.parent)) == ["s.sqlite"]
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_short_study_keeps_no_state(corpus: Path, store: Path) -> None:
    """Unless asked otherwise, every minute."""
    seen: set[str] = set()
    train(tiny_source(corpus, **SPEC), store, listener=lambda _: seen.update(snapshot(store.parent)))
    assert not any("checkpoints" in name for name in seen)


@pytest.mark.parametrize(("minutes", "kept"), [("0", True), ("never", False), (None, False)])
def test_the_command_says_how_often(
    minutes: str | None, kept: bool, corpus: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a training of some milliseconds: at each look, not at all, and not before a minute is over."""
    written: list[Path] = []
    monkeypatch.setattr(checkpoint, "save_checkpoint", lambda path, kept: written.append(path))
    spec = store.with_name("spec.yaml")
    spec.write_text(tiny_text(corpus, **{**SPEC, "learning_rates": [2.0**-8]}))
    options = () if minutes is None else ("--checkpoint-minutes", minutes)
    assert command("study", "run", spec, "--store", store, "--device", "cpu", *options).exit_code == 0
    assert bool(written) is kept
