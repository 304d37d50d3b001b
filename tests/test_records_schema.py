"""The schema of a store, as SQLite itself reports it, and what its constraints refuse."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from study_example import invented_store, tiny_source, valley
from widthwise.records import APPLICATION_ID, SCHEMA_VERSION

TABLES = {
    "study": ["id", "name", "spec", "corpus", "base_width", "created"],
    "host": ["id", "started", "facts"],
    "arm": [
        "name",
        "position",
        "parameterization",
        "prescription",
        "optimizer",
        "predicted_full",
        "predicted_none",
    ],
    "trial": ["id", "identity", "recipe", "status", "reason", "step", "validation_loss"],
    "cell": ["arm", "width", "learning_rate", "seed", "trial"],
    "population": ["id", "status", "host", "seconds", "split_from", "micro_batches", "recompute"],
    "composition": ["population", "revision", "position", "from_step", "trial"],
    "sweep": ["arm", "width", "outcome", "best", "reason", "done"],
    "proposal": [
        *("arm", "number", "phase", "embedding", "hidden", "readout", "learning_rate", "trial"),
    ],
    "round": ["id", "members", "minutes"],
    "curve": ["trial", "step", "loss"],
    "layer": ["id", "width", "name", "role", "fan_in"],
    "alignment": ["trial", "layer", "since", "step", "alpha", "omega", "u", "product"],
    "tensor": ["id", "width", "name", "role"],
    "size": [
        *("trial", "tensor", "step", "gradient", "weight", "change"),
        *("input", "input_change", "output", "output_change"),
    ],
    "spread": ["trial", "tensor", "step", "magnitude", "scale", "zeros", "first", "counts"],
}
DRIFT = {"standard-global": -1.0, "mup-full": 0.0}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "s.sqlite"
    invented_store(path, tiny_source(), valley(DRIFT))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        yield connection


def test_marks(store: sqlite3.Connection) -> None:
    assert store.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert int.from_bytes(b"wwse", "big") == APPLICATION_ID
    assert store.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    assert SCHEMA_VERSION == 3


def test_every_table_is_strict_and_has_these_columns(store: sqlite3.Connection) -> None:
    listed = [
        row
        for row in store.execute("SELECT name, type, strict FROM pragma_table_list WHERE schema = 'main'")
        if not row[0].startswith("sqlite_")
    ]
    assert {name: (kind, strict) for name, kind, strict in listed} == dict.fromkeys(TABLES, ("table", 1))
    for table, columns in TABLES.items():
        found = [name for (name,) in store.execute("SELECT name FROM pragma_table_info(?)", (table,))]
        assert found == columns


def test_references_hold_and_the_file_is_sound(store: sqlite3.Connection) -> None:
    assert store.execute("PRAGMA foreign_key_check").fetchall() == []
    assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert store.execute("PRAGMA journal_mode").fetchone() == ("delete",)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE trial SET validation_loss = 'low' WHERE id = 1", "cannot store TEXT value in REAL column"),
        ("UPDATE trial SET step = 1.5 WHERE id = 1", "cannot store REAL value in INTEGER column"),
        ("UPDATE trial SET status = 'done' WHERE id = 1", "CHECK constraint failed"),
        ("UPDATE trial SET validation_loss = NULL WHERE id = 1", "CHECK constraint failed"),
        ("UPDATE trial SET reason = 'why' WHERE id = 1", "CHECK constraint failed"),
        ("UPDATE trial SET status = 'diverged' WHERE id = 1", "CHECK constraint failed"),
        (
            "UPDATE trial SET status = 'failed', validation_loss = NULL WHERE id = 1",
            "CHECK constraint failed",
        ),
        (
            "UPDATE trial SET identity = (SELECT identity FROM trial WHERE id = 2) WHERE id = 1",
            "UNIQUE constraint failed: trial.identity",
        ),
        ("UPDATE population SET seconds = NULL WHERE id = 1", "CHECK constraint failed"),
        ("UPDATE population SET status = 'pending' WHERE id = 1", "CHECK constraint failed"),
        ("UPDATE population SET status = 'halved' WHERE id = 1", "CHECK constraint failed"),
        (
            "UPDATE population SET status = 'split' WHERE id = 1",
            "CHECK constraint failed",
        ),  # it has its seconds
        ("UPDATE population SET split_from = 1 WHERE id = 1", "CHECK constraint failed"),
        ("UPDATE population SET split_from = 0 WHERE id = 1", "FOREIGN KEY constraint failed"),
        ("UPDATE population SET host = 99 WHERE id = 1", "FOREIGN KEY constraint failed"),
        ("INSERT INTO study VALUES (2, 'a', 'b', 'c', 1, 'd')", "CHECK constraint failed"),
        ("INSERT INTO curve VALUES (1, 2, 0.5)", "UNIQUE constraint failed"),
        ("INSERT INTO curve VALUES (99, 2, 0.5)", "FOREIGN KEY constraint failed"),
        ("INSERT INTO curve VALUES (1, 3, NULL)", "NOT NULL constraint failed"),
        ("INSERT INTO composition VALUES (1, 0, 0, 0, 1)", "UNIQUE constraint failed"),
        ("INSERT INTO composition VALUES (99, 0, 0, 0, 1)", "FOREIGN KEY constraint failed"),
        ("INSERT INTO cell VALUES ('nobody', 8, 0.1, 0, 1)", "FOREIGN KEY constraint failed"),
        ("INSERT INTO cell VALUES ('mup-full', 8, 0.00390625, 0, 1)", "UNIQUE constraint failed"),
        (
            "INSERT INTO alignment VALUES (1, 99, 'start', 2, 1.0, NULL, NULL, 1.0)",
            "FOREIGN KEY constraint failed",
        ),
        (
            "INSERT INTO alignment VALUES (1, 1, 'now', 2, 1.0, NULL, NULL, 1.0)",
            "CHECK constraint failed",
        ),
        ("DELETE FROM trial WHERE id = 1", "FOREIGN KEY constraint failed"),
    ],
)
def test_constraints(store: sqlite3.Connection, statement: str, says: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match=says):
        store.execute(statement)
