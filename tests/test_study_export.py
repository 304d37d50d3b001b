"""A study as a table: what stands in it, and that reading it gives the study's own numbers."""

import csv
import errno
import io
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from study_example import invented_store, snapshot, valley, wide
from widthwise.analysis import read_table, transfer
from widthwise.records import read_study
from widthwise.report.from_store import observations
from widthwise.study.export import COLUMNS, table_rows, to_csv, write_table

DRIFT = {"standard-global": -1.0, "mup-full": 0.0}


def diverging(arm: str, width: int, rate: float, seed: int) -> float | None:
    return None if rate > 2**-5 else valley(DRIFT)(arm, width, rate, seed)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "s.sqlite"
    invented_store(path, wide(), diverging)
    return path


def test_one_row_for_every_cell(store: Path) -> None:
    study = read_study(store)
    rows = list(csv.DictReader(io.StringIO(to_csv(study))))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(study.cells) == 2 * 3 * 9 * 2
    for row, cell in zip(rows, study.cells, strict=True):
        trial = study.trials[cell.trial]
        assert (row["prescription"], row["width"], row["seed"]) == (cell.arm, str(cell.width), str(cell.seed))
        assert float(row["rate"]) == cell.learning_rate
        assert row["run"] == trial.identity
        assert row["status"] == trial.status.value
        if trial.validation_loss is None:
            assert (row["loss"], row["reason"], row["diverged_step"]) == ("", "non-finite loss", "3")
        else:
            assert float(row["loss"]) == trial.validation_loss
            assert (row["reason"], row["diverged_step"]) == ("", "")
    assert {
        (r["prescription"], r["parameterization"], r["per_layer_rates"], r["optimizer"]) for r in rows
    } == {
        ("standard-global", "standard", "global", "adam"),
        ("mup-full", "mup", "full", "adam"),
    }


def test_reading_the_table_gives_the_same_bits_and_the_same_analysis(store: Path, tmp_path: Path) -> None:
    study = read_study(store)
    write_table(study, tmp_path / "t.csv", "csv")
    read = read_table(tmp_path / "t.csv")
    assert read == observations(study)
    assert transfer(read) == transfer(observations(study))
    assert any(row.loss is None for row in read)


def test_what_has_not_run_is_not_in_the_table(tmp_path: Path) -> None:
    """A row without a loss would count as a run that diverged."""
    path = tmp_path / "part.sqlite"
    plan = invented_store(path, wide(), diverging, populations=4)
    done = {id_ for members in plan.populations[:4] for id_ in members}
    study = read_study(path)
    rows = table_rows(study)
    assert len(rows) == sum(cell.trial in done for cell in plan.cells) < len(plan.cells)
    identities = {study.trials[id_].identity for id_ in done}
    assert {row[COLUMNS.index("run")] for row in rows} == identities


def test_nothing_run_is_a_header(tmp_path: Path) -> None:
    path = tmp_path / "none.sqlite"
    invented_store(path, wide(), diverging, populations=0)
    assert to_csv(read_study(path)) == ",".join(COLUMNS) + "\n"


def test_names_with_commas_and_quotes_survive(tmp_path: Path) -> None:
    name = 'ours, "new"'
    path = tmp_path / "s.sqlite"
    source = wide(arms=[{"parameterization": "mup", "rates": "full", "name": name}])
    invented_store(path, source, valley({name: 0.0}))
    study = read_study(path)
    write_table(study, tmp_path / "t.csv", "csv")
    assert read_table(tmp_path / "t.csv") == observations(study)


@pytest.mark.parametrize("loss", [0.1 + 0.2, 2 / 3, 5e-324, 1.7976931348623157e308])
def test_numbers_keep_their_bits(store: Path, loss: float) -> None:
    study = read_study(store)
    trials = {
        id_: replace(t, validation_loss=None if t.validation_loss is None else loss)
        for id_, t in study.trials.items()
    }
    rows = csv.DictReader(io.StringIO(to_csv(replace(study, trials=trials))))
    assert {float(row["loss"]) for row in rows if row["loss"]} == {loss}


def test_a_table_is_written_whole_or_not_at_all(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, path = read_study(store), tmp_path / "t.csv"
    path.write_text("old")
    before = snapshot(tmp_path)

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(
        ValueError, match=r"t.csv' cannot be written: No space left on device; choose another"
    ):
        write_table(study, path, "csv")
    assert snapshot(tmp_path) == before
    monkeypatch.undo()
    write_table(study, path, "csv")
    assert path.read_text() == to_csv(study)


def test_formats(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, before = read_study(store), snapshot(tmp_path)
    with pytest.raises(ValueError, match=r"format 'xlsx' is unknown; choose one of \['csv', 'parquet'\]"):
        write_table(study, tmp_path / "t.xlsx", "xlsx")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        ValueError, match=r"Parquet needs pyarrow: pip install 'widthwise\[parquet\]', or export csv"
    ):
        write_table(study, tmp_path / "t.parquet", "parquet")
    assert snapshot(tmp_path) == before


def test_parquet(store: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    study = read_study(store)
    write_table(study, tmp_path / "t.parquet", "parquet")
    table = parquet.read_table(tmp_path / "t.parquet")
    assert tuple(table.column_names) == COLUMNS
    assert [tuple(row.values()) for row in table.to_pylist()] == table_rows(study)
