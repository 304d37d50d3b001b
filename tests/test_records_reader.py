"""Reading a store: everything that was written, nothing that is no store, and never a byte changed."""

import hashlib
import json
import os
import shutil
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from study_example import DIGEST, ended, invented_store, snapshot, tiny_plan, tiny_source, valley
from widthwise.records import ArmRow, CellRow, TrialStatus, check_store, read_curves, read_study
from widthwise.study.store import create_store, writing

DRIFT = {"standard-global": -1.0, "mup-full": 0.0}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "s.sqlite"
    invented_store(path, tiny_source(), valley(DRIFT), populations=2)
    return path


def test_reads_what_was_written(store: Path) -> None:
    source = tiny_source()
    plan = tiny_plan(population_size=8)
    study = read_study(store)
    assert (study.name, study.spec, study.corpus, study.base_width) == ("tiny", source.text, DIGEST, 8)
    assert study.hosts == ({"machine": "invented"},)
    arms = {arm.name: arm for arm in study.arms}
    assert study.arms == (
        ArmRow("standard-global", "standard", "global", "adam", "-1", "-1/2"),
        ArmRow("mup-full", "mup", "full", "adam", "0", "0"),
    )
    assert [(t.id, t.identity, json.loads(t.recipe)) for t in study.trials.values()] == [
        (t.id, t.identity, t.recipe) for t in plan.trials
    ]
    assert sorted(study.cells, key=repr) == sorted(plan.cells, key=repr)
    order = [
        (study.arms.index(arms[cell.arm]), cell.width, cell.learning_rate, cell.seed) for cell in study.cells
    ]
    assert order == sorted(order)
    assert study.cells[0] == CellRow("standard-global", 8, 2**-8, 0, 1)
    assert [p.trials for p in study.populations] == list(plan.populations)
    assert [(p.id, p.completed, p.seconds) for p in study.populations] == [
        (1, True, 0.5), (2, True, 0.5), (3, False, None),
    ]  # fmt: skip


def test_a_study_says_what_it_is_in_one_line(store: Path) -> None:
    """At a prompt; its rows would be thousands of lines."""
    says = "<StoredStudy 'tiny': 2 prescriptions, widths 8 to 16; trials: 8 pending, 16 completed>"
    assert repr(read_study(store)) == says


def test_a_path_may_be_text(store: Path) -> None:
    assert read_study(str(store)) == read_study(store)
    assert read_curves(str(store)) == read_curves(store)


def test_results_and_curves(store: Path) -> None:
    study, curves = read_study(store), read_curves(store)
    done = {trial for population in study.populations[:2] for trial in population.trials}
    assert set(curves) == done
    for id_, trial in study.trials.items():
        if id_ in done:
            assert (trial.status, trial.reason, trial.step) == (TrialStatus.COMPLETED, None, None)
            assert trial.validation_loss is not None
            assert curves[id_] == ((2, trial.validation_loss + 1), (4, trial.validation_loss))
        else:
            assert (trial.status, trial.validation_loss) == (TrialStatus.PENDING, None)


def test_members_stand_in_the_order_in_which_they_run(tmp_path: Path) -> None:
    plan = tiny_plan(population_size=8)
    turned = replace(plan, populations=tuple(p[::-1] for p in plan.populations))
    path = tmp_path / "s.sqlite"
    create_store(path, name="n", spec="s", corpus=DIGEST, plan=turned)
    assert [p.trials for p in read_study(path).populations] == list(turned.populations)


def test_arms_stand_in_the_order_of_the_specification(tmp_path: Path) -> None:
    arms = [{"parameterization": p, "rates": "full"} for p in ("standard", "mup", "mean-field", "ntk")]
    path = tmp_path / "s.sqlite"
    create_store(path, name="n", spec="s", corpus=DIGEST, plan=tiny_plan(arms=arms))
    names = ["standard-full", "mup-full", "mean-field-full", "ntk-full"]
    study = read_study(path)
    assert [arm.name for arm in study.arms] == names
    assert list(dict.fromkeys(cell.arm for cell in study.cells)) == names


def test_a_diverged_trial_has_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    invented_store(path, tiny_source(), lambda arm, width, rate, seed: None)
    study = read_study(path)
    for trial in study.trials.values():
        assert (trial.status, trial.reason, trial.step) == (TrialStatus.DIVERGED, "non-finite loss", 3)
        assert trial.validation_loss is None


def test_reading_changes_nothing(store: Path) -> None:
    store.chmod(stat.S_IRUSR)
    before = (snapshot(store.parent), os.stat(store).st_mtime_ns)
    check_store(store)
    read_study(store)
    read_curves(store)
    assert (snapshot(store.parent), os.stat(store).st_mtime_ns) == before


def test_a_store_whose_writer_was_killed_is_read_with_its_log(store: Path, tmp_path: Path) -> None:
    plan = tiny_plan(population_size=8)
    copy = tmp_path / "copy"
    copy.mkdir()
    with writing(store) as writer:
        writer.finish_population(3, [ended(t, 2.0) for t in plan.populations[2]], seconds=0.25)
        for file in store.parent.glob("s.sqlite*"):
            shutil.copy(file, copy / file.name)
    found = copy / "s.sqlite"
    assert (copy / "s.sqlite-wal").stat().st_size > 0
    before = hashlib.sha256(found.read_bytes()).hexdigest()
    study = read_study(found)
    assert [p.completed for p in study.populations] == [True, True, True]
    assert {study.trials[t].validation_loss for t in plan.populations[2]} == {2.0}
    assert hashlib.sha256(found.read_bytes()).hexdigest() == before
    assert (copy / "s.sqlite-wal").stat().st_size > 0


def test_reading_while_it_is_written_sees_whole_populations(store: Path) -> None:
    with writing(store) as writer:
        assert [p.completed for p in read_study(store).populations] == [True, True, False]
        members = read_study(store).populations[2].trials
        writer.finish_population(3, [ended(t, 2.0) for t in members], seconds=0.25)
        assert [p.completed for p in read_study(store).populations] == [True, True, True]


def test_names_that_are_special_in_addresses(store: Path) -> None:
    odd = store.with_name("a ?mode=rw&#%41.sqlite")
    store.rename(odd)
    before = snapshot(odd.parent)
    assert read_study(odd).name == "tiny"
    assert snapshot(odd.parent) == before


def pragma(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA {statement}")
        connection.commit()


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing.sqlite' does not exist; .*study run SPEC --store"):
        read_study(tmp_path / "missing.sqlite")
    with pytest.raises(ValueError, match="does not exist"):
        check_store(tmp_path / ("x" * 400))


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: it is a folder; give a store's file"):
        read_study(tmp_path)


@pytest.mark.parametrize("content", [b"", b"width,rate\n", b"SQLite format 3"])
def test_not_sqlite(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not an SQLite file; give another name, it was left as it is"):
        read_study(path)
    assert path.read_bytes() == content


def test_another_programs_database(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE study (id)")
    with pytest.raises(ValueError, match="is an SQLite file but not a study's store; it was left as it is"):
        read_study(path)


@pytest.mark.parametrize("version", [0, 1, 4])
def test_another_schema_version(store: Path, version: int) -> None:
    pragma(store, f"user_version = {version}")
    before = snapshot(store.parent)
    with pytest.raises(
        ValueError, match=f"has schema version {version}; this widthwise reads the versions 2, 3: use"
    ):
        read_study(store)
    assert snapshot(store.parent) == before


def test_a_damaged_store(store: Path) -> None:
    data = store.read_bytes()
    store.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    for read in (read_study, read_curves):
        with pytest.raises(ValueError, match=r"cannot be read: .*malformed; it was left as it is"):
            read(store)
    store.write_bytes(data[:100] + b"\xff" * (len(data) - 100))
    with pytest.raises(ValueError, match=r"cannot be read: .*it was left as it is"):
        read_study(store)


def test_a_store_without_its_tables(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "PRAGMA application_id = 0x77777365; PRAGMA user_version = 3; CREATE TABLE t (a)"
        )
    with pytest.raises(ValueError, match="cannot be read: no such table: study"):
        read_study(path)
