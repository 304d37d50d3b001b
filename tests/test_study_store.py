"""The one writer of a store: whole or not at all, one writer at a time, one file afterwards."""

import errno
import fcntl
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from study_example import DIGEST, command, ended, snapshot, tiny_plan, tiny_text, write_corpus
from widthwise.records import TrialStatus, check_store, read_curves, read_study
from widthwise.study.expand import StudyPlan
from widthwise.study.store import create_store, writing
from widthwise.study.store_lock import left_open
from widthwise.study.trial_result import TrialResult

PLAN = tiny_plan(population_size=8)


def create(path: Path, plan: StudyPlan = PLAN) -> Path:
    create_store(path, name="tiny", spec="text", corpus=DIGEST, plan=plan)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return create(tmp_path / "s.sqlite")


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[sqlite3.Connection]]:
    """Every connection that is opened from here on."""
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def keep(*args: object, **keywords: object) -> sqlite3.Connection:
        opened.append(connect(*args, **keywords))  # pyright: ignore[reportArgumentType, reportCallIssue]
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", keep)
    yield opened
    for connection in opened:
        connection.close()


def test_a_new_store_is_one_file_with_every_composition(store: Path) -> None:
    assert list(snapshot(store.parent)) == ["s.sqlite"]
    assert not left_open(store)
    study = read_study(store)
    assert [p.trials for p in study.populations] == list(PLAN.populations)
    assert {t.status for t in study.trials.values()} == {TrialStatus.PENDING}
    assert not any(p.completed for p in study.populations)
    assert study.hosts == ()
    with closing(sqlite3.connect(store)) as connection:
        rows = connection.execute("SELECT population, revision, position, from_step, trial FROM composition")
        assert rows.fetchall() == [
            (id_, 0, position, 0, trial)
            for id_, members in enumerate(PLAN.populations, start=1)
            for position, trial in enumerate(members)
        ]


def test_the_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"folder .*missing' of the store does not exist; make it first"):
        create(tmp_path / "missing" / "s.sqlite")
    assert snapshot(tmp_path) == {}


def test_a_store_is_never_replaced(store: Path) -> None:
    before = snapshot(store.parent)
    with pytest.raises(ValueError, match="was made by another process meanwhile; run again to go on with it"):
        create(store)
    assert snapshot(store.parent) == before


def test_what_was_left_of_an_interrupted_creation_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    (tmp_path / ".s.sqlite.new").write_bytes(b"half of it")
    (tmp_path / ".s.sqlite.new-journal").write_bytes(b"half of it")
    (tmp_path / "s.sqlite.lock").touch()
    create(path)
    assert list(snapshot(tmp_path)) == ["s.sqlite"]
    check_store(path)


def test_the_log_of_a_removed_store_is_not_replayed_into_a_new_one(tmp_path: Path) -> None:
    """A run is killed, its store removed by name, and the study begun again: the log that stayed is the old store's."""
    old, log = create(tmp_path / "s.sqlite"), tmp_path / "s.sqlite-wal"
    with writing(old) as writer:
        trials = read_study(old).populations[0].trials
        writer.register_host({"machine": "old"})
        writer.finish_population(1, [ended(trial, 1.0) for trial in trials], seconds=1.0)
        kept = log.read_bytes()
    old.unlink()
    log.write_bytes(kept)
    study = read_study(create(old))
    assert (study.hosts, {trial.status for trial in study.trials.values()}) == ((), {TrialStatus.PENDING})
    assert not log.exists()


def test_nothing_is_left_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ValueError, match=r"cannot be written: .*No space left.*; choose another folder"):
        create(tmp_path / "s.sqlite")
    assert snapshot(tmp_path) == {}


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*args: object, **keywords: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(
        ValueError, match=r"cannot be written: .*Read-only file system; choose another folder"
    ):
        create(tmp_path / "s.sqlite")
    assert snapshot(tmp_path) == {}


def test_a_store_that_cannot_be_written(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without write permission, as SQLite opens it for those who do not own the machine."""
    connect = sqlite3.connect
    before = snapshot(store.parent)

    def read_only(path: Path | str, **keywords: object) -> sqlite3.Connection:
        address = path if isinstance(path, str) else f"{path.as_uri()}?mode=ro"
        return connect(address, uri=True, isolation_level=None)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    with (
        pytest.raises(ValueError, match="attempt to write a readonly database; copy it to another folder"),
        writing(store),
    ):
        pass
    monkeypatch.undo()
    assert snapshot(store.parent) == before


def test_a_population_is_recorded_whole(store: Path) -> None:
    members = PLAN.populations[0]
    results = [ended(trial, 2.0 + trial / 10 if trial % 2 else None) for trial in members]
    with writing(store) as writer:
        writer.register_host({"machine": "one"})
        writer.register_host({"machine": "two"})
        writer.finish_population(1, results, seconds=1.5)
    study, curves = read_study(store), read_curves(store)
    assert [(p.completed, p.seconds) for p in study.populations[:2]] == [(True, 1.5), (False, None)]
    for result in results:
        trial = study.trials[result.trial]
        found = (trial.status, trial.reason, trial.step, trial.validation_loss)
        assert found == (result.status, result.reason, result.step, result.validation_loss)
        assert curves[result.trial] == result.curve
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("SELECT host FROM population WHERE id = 1").fetchone() == (2,)


@pytest.mark.parametrize(
    "bad",
    [
        TrialResult(PLAN.populations[0][-1], TrialStatus.COMPLETED, None, None, None, ()),
        TrialResult(PLAN.populations[0][-1], TrialStatus.COMPLETED, None, None, float("nan"), ()),
        TrialResult(PLAN.populations[0][-1], TrialStatus.COMPLETED, None, None, 2.0, ((2, float("nan")),)),
        TrialResult(999, TrialStatus.COMPLETED, None, None, 2.0, ((2, 3.0),)),
    ],
    ids=["no loss", "NaN", "NaN in the curve", "no such trial"],
)
def test_a_population_is_recorded_in_one_transaction(store: Path, bad: TrialResult) -> None:
    before = read_study(store)
    results = [*(ended(trial, 2.0) for trial in PLAN.populations[0][:-1]), bad]
    with writing(store) as writer:
        with pytest.raises(sqlite3.IntegrityError):
            writer.finish_population(1, results, seconds=1.0)
        assert read_study(store) == before
        assert read_curves(store) == {}
        writer.finish_population(2, [ended(t, 2.0) for t in PLAN.populations[1]], seconds=1.0)
    assert [p.completed for p in read_study(store).populations] == [False, True, False]
    assert set(read_curves(store)) == set(PLAN.populations[1])


def test_no_reader_sees_part_of_a_population(store: Path) -> None:
    """A reader that looks while the results are being handed over sees none of them."""
    seen: list[int] = []

    class Watched(list[TrialResult]):
        def __iter__(self) -> Iterator[TrialResult]:
            for result in super().__iter__():
                yield result
                seen.append(len(read_curves(store)))

    with writing(store) as writer:
        writer.finish_population(1, Watched(ended(t, 2.0) for t in PLAN.populations[0]), seconds=1.0)
    assert seen == [0] * len(PLAN.populations[0])
    assert len(read_curves(store)) == len(PLAN.populations[0])


def test_what_is_recorded_survives_a_power_cut(store: Path, connections: list[sqlite3.Connection]) -> None:
    """Write-ahead log, synchronized at every commit (2 is FULL), references enforced."""
    with writing(store):
        found = {
            name: connections[-1].execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_closing_leaves_one_file(store: Path) -> None:
    with writing(store) as writer:
        writer.register_host({})
        assert {"s.sqlite", "s.sqlite-wal", "s.sqlite.lock"} <= set(snapshot(store.parent))
        assert left_open(store)
    assert list(snapshot(store.parent)) == ["s.sqlite"]


def test_an_error_leaves_one_file(store: Path) -> None:
    def interrupted() -> None:
        with writing(store) as writer:
            writer.register_host({})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(snapshot(store.parent)) == ["s.sqlite"]
    assert len(read_study(store).hosts) == 1


def test_a_reader_that_stays_does_not_disturb_the_writers_end(store: Path) -> None:
    """The log cannot be removed under a reader; nothing is lost, and the next writer removes it."""
    with closing(sqlite3.connect(store, isolation_level=None)) as reader:
        with writing(store) as writer:
            writer.register_host({"machine": "one"})
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM host").fetchall()
            connection = writer._connection
            connection.execute("PRAGMA busy_timeout = 1")
        assert left_open(store)
    assert len(read_study(store).hosts) == 1
    with writing(store):
        pass
    assert list(snapshot(store.parent)) == ["s.sqlite"]


def test_nothing_but_sqlite_opens_a_store(tmp_path: Path) -> None:
    """From its plan to its page, a sweep of rates between: SQLite opens files without Python's hearing of it."""
    store, opened, watching = tmp_path / "s.sqlite", list[str](), [True]

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        # A hook cannot be removed again.
        if watching and event == "open":
            opened.append(str(arguments[0]))

    sys.addaudithook(hear)
    spec = tmp_path / "spec.yaml"
    sweep = {"sweep": {"lowest": "2^-8", "highest": "2^-5"}}
    few = {"widths": [8], "seeds": [0], "training": {"steps": 1, "batch": 1}}
    spec.write_text(tiny_text(write_corpus(tmp_path), **few, learning_rates=sweep))
    assert command("study", "run", spec, "--store", store, "--device", "cpu").exit_code == 0
    assert command("study", "resume", store, "--device", "cpu").exit_code == 0
    watching.clear()
    assert len(read_study(store).rounds) > 1
    assert f"{store}.lock" in opened
    assert not {str(store), f"{store}-wal", f"{store}-shm"} & set(opened)


def test_a_program_that_looks_in_takes_nothing_away(store: Path) -> None:
    """The last connection that closes removes the log: the writer's own lock must outlive its reading of the store."""
    look = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
        "print(*c.execute('SELECT count(*) FROM host').fetchone()); c.close()"
    )

    def hosts() -> str:
        return subprocess.run(
            [sys.executable, "-c", look, str(store)], check=True, capture_output=True, text=True
        ).stdout.strip()

    with writing(store) as writer:
        writer.register_host({"machine": "before"})
        read_study(store)
        assert hosts() == "1"
        assert left_open(store)
        writer.register_host({"machine": "after"})
        assert hosts() == "2"


def without_index(folder: Path) -> dict[str, str]:
    """What a store's folder holds, but for SQLite's index of the log, in which every reader signs."""
    return {name: content for name, content in snapshot(folder).items() if not name.endswith("-shm")}


def test_a_second_writer_is_refused(store: Path) -> None:
    with writing(store) as writer:
        writer.register_host({"machine": "first"})
        before = without_index(store.parent)
        with (
            pytest.raises(ValueError, match="is being written by another process; wait for it"),
            writing(store),
        ):
            pass
        with pytest.raises(ValueError, match="is being written by another process; wait for it"):
            create(store)
        assert without_index(store.parent) == before
        writer.register_host({"machine": "still the first"})
    assert [host["machine"] for host in read_study(store).hosts] == ["first", "still the first"]
    with writing(store):
        pass


@pytest.mark.parametrize("made_again", [False, True])
def test_a_lock_that_its_holder_removes_excludes_nobody(
    store: Path, monkeypatch: pytest.MonkeyPatch, made_again: bool
) -> None:
    """Another process may close the store between our opening of the lock file and our lock, and a third make a new
    one: then we open it anew."""
    lock_path = store.with_name("s.sqlite.lock")
    flock, calls = fcntl.flock, []

    def removed_meanwhile(descriptor: int, operation: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            lock_path.unlink()
            if made_again:
                lock_path.touch()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    with writing(store):
        assert len(calls) == 2
        assert lock_path.exists()
        with pytest.raises(ValueError, match="another process"), writing(store):
            pass


def test_of_many_creators_one_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    outcomes: list[str] = []
    start = threading.Barrier(4)

    def attempt() -> None:
        start.wait()
        try:
            create(path)
        except ValueError:
            outcomes.append("refused")
        else:
            outcomes.append("made")

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["made", "refused", "refused", "refused"]
    assert list(snapshot(tmp_path)) == ["s.sqlite"]
    assert len(read_study(path).trials) == len(PLAN.trials)


def test_writing_checks_the_store_first(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("notes")
    with pytest.raises(ValueError, match="is not an SQLite file"), writing(path):
        pass
    assert list(snapshot(tmp_path)) == ["notes.txt"]
