"""Read a study's store. Nothing but SQLite is needed, and nothing is ever written.

A store of an older schema is read through a copy in memory that is brought up to date (`UPGRADES`).
"""

import gc
import json
import os
import sqlite3
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from widthwise.records.rows import (
    AlignmentPoint,
    ArmRow,
    CellRow,
    LayerRow,
    PopulationRow,
    PopulationStatus,
    ProposalRow,
    RevisionRow,
    RoundRow,
    Since,
    StoredStudy,
    SweepRow,
    TrialRow,
    TrialStatus,
)
from widthwise.records.schema import APPLICATION_ID, SCHEMA_VERSION, UPGRADES

Point = TypeVar("Point")
_HEADER_BYTES = 100  # of every SQLite file
_NOT_SQLITE = "store {!r} is not an SQLite file; give another name, it was left as it is"


def check_store(path: Path | str) -> None:
    """Check that a file is a store that this version reads.

    Raises:
        ValueError: nothing there, not a file, not SQLite, not a store, or a store of another schema version.
    """
    if not os.path.exists(path):
        raise ValueError(
            f"store {str(path)!r} does not exist; `widthwise study run SPEC --store {path}` makes one"
        )
    if os.path.isdir(path):
        raise ValueError(f"store {str(path)!r} cannot be read: it is a folder; give a store's file")
    if os.path.getsize(path) < _HEADER_BYTES:
        raise ValueError(_NOT_SQLITE.format(str(path)))
    # The file is never opened but by SQLite: its locks are the process's, and closing any other handle of the file
    # gives them up. A writer in this process would lose its own, and the next program that looks in would take the
    # log away from under it.
    try:
        with closing(_connect(path)) as connection:
            application = _pragma(connection, "application_id")
            version = _pragma(connection, "user_version")
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise ValueError(_NOT_SQLITE.format(str(path))) from error
        raise ValueError(f"store {str(path)!r} cannot be read: {error}; it was left as it is") from error
    if application != APPLICATION_ID:
        raise ValueError(f"{str(path)!r} is an SQLite file but not a study's store; it was left as it is")
    if version != SCHEMA_VERSION and version not in UPGRADES:
        raise ValueError(
            f"store {str(path)!r} has schema version {version}; this widthwise reads the versions "
            f"{', '.join(map(str, [*UPGRADES, SCHEMA_VERSION]))}: use the widthwise that wrote it, or another store"
        )


def read_study(path: Path | str) -> StoredStudy:
    """Everything but curves and what was measured.

    Raises:
        ValueError: see `check_store`.
    """
    with reading(path) as connection, _no_collection():
        row = connection.execute("SELECT name, spec, corpus, base_width FROM study").fetchone()
        name, spec, corpus, base_width = row
        hosts = connection.execute("SELECT facts FROM host ORDER BY id")
        arms = connection.execute(
            "SELECT name, parameterization, prescription, optimizer, predicted_full, predicted_none "
            "FROM arm ORDER BY position"
        )
        trials = connection.execute(
            "SELECT id, identity, recipe, status, reason, step, validation_loss FROM trial ORDER BY id"
        )
        cells = connection.execute(
            "SELECT cell.arm, width, learning_rate, seed, trial FROM cell JOIN arm ON arm.name = cell.arm "
            "ORDER BY arm.position, width, learning_rate, seed"
        )
        sweeps = connection.execute(
            "SELECT sweep.arm, width, outcome, best, reason, done FROM sweep JOIN arm ON arm.name = sweep.arm "
            "ORDER BY arm.position, width"
        )
        proposals = connection.execute(
            "SELECT arm, number, phase, embedding, hidden, readout, learning_rate, trial FROM proposal "
            "JOIN arm AS a ON a.name = proposal.arm ORDER BY a.position, number"
        )
        rounds = connection.execute("SELECT id, members, minutes FROM round ORDER BY id")
        return StoredStudy(
            name=name,
            spec=spec,
            corpus=corpus,
            base_width=base_width,
            hosts=tuple(json.loads(facts) for (facts,) in hosts),
            arms=tuple(ArmRow(*row) for row in arms),
            trials={
                id_: TrialRow(id_, identity, recipe, TrialStatus(status), *rest)
                for id_, identity, recipe, status, *rest in trials
            },
            cells=tuple(CellRow(*row) for row in cells),
            populations=tuple(_populations(connection)),
            sweeps=tuple(SweepRow(*row, done=bool(done)) for *row, done in sweeps),
            rounds=tuple(RoundRow(*row) for row in rounds),
            proposals=tuple(ProposalRow(*row) for row in proposals),
        )


def read_spec(path: Path | str) -> str:
    """The study's specification alone.

    Raises:
        ValueError: see `check_store`.
    """
    with reading(path) as connection:
        return connection.execute("SELECT spec FROM study").fetchone()[0]


def read_curves(
    path: Path | str, *, trials: Collection[int] | None = None
) -> Mapping[int, tuple[tuple[int, float], ...]]:
    """Trial id -> (step, training loss) in order; a trial without a curve is absent.

    Args:
        trials: those that are read; None for all.
    """
    which, values = _of(trials)
    with reading(path) as connection:
        rows = connection.execute(
            f"SELECT trial, step, loss FROM curve WHERE {which} ORDER BY trial, step", values
        )
        return by_trial(rows, _curve_point)


def read_layers(path: Path | str) -> tuple[LayerRow, ...]:
    """The layers that are measured, by width, in the order of the forward pass; none where nothing is measured."""
    with reading(path) as connection:
        rows = connection.execute("SELECT width, name, role, fan_in FROM layer ORDER BY width, id")
        return tuple(LayerRow(*row) for row in rows)


def read_alignment(
    path: Path | str, *, since: Since = Since.START, trials: Collection[int] | None = None
) -> Mapping[int, tuple[AlignmentPoint, ...]]:
    """Trial id -> its points by step, in the order of the forward pass; a trial without any is absent.

    Args:
        since: what changes are counted from.
        trials: those that are read; None for all.
    """
    which, values = _of(trials)
    with reading(path) as connection:
        rows = connection.execute(
            "SELECT trial, step, name, alpha, omega, u, product FROM alignment JOIN layer ON layer.id = layer "
            f"WHERE since = ? AND {which} ORDER BY trial, step, layer",
            (since.value, *values),
        )

        def point(step: int, name: str, *gains: float) -> AlignmentPoint:
            return AlignmentPoint(step, name, since, *gains)

        return by_trial(rows, point)


def _curve_point(step: int, loss: float) -> tuple[int, float]:
    return step, loss


def by_trial(rows: Iterable[Sequence[Any]], make: Callable[..., Point]) -> Mapping[int, tuple[Point, ...]]:
    """Trial id -> what is made of its rows, in their order; a trial without a row is absent.

    Args:
        rows: a trial's id, and what `make` takes.
        make: a value of the rest of a row.

    Example:
        >>> by_trial([(7, 1, 2.5), (7, 2, 2.25), (9, 1, 3.0)], lambda step, loss: (step, loss))
        {7: ((1, 2.5), (2, 2.25)), 9: ((1, 3.0),)}
    """
    found: dict[int, list[Point]] = {}
    for trial, *values in rows:
        found.setdefault(trial, []).append(make(*values))
    return {trial: tuple(points) for trial, points in found.items()}


def _of(trials: Collection[int] | None) -> tuple[str, tuple[str, ...]]:
    """A condition on the column `trial`, and its values."""
    if trials is None:
        return "TRUE", ()
    return "trial IN (SELECT value FROM json_each(?))", (json.dumps(sorted(trials)),)


def _populations(connection: sqlite3.Connection) -> Iterator[PopulationRow]:
    members: dict[int, dict[int, tuple[int, list[int]]]] = {}
    rows = connection.execute(
        "SELECT population, revision, from_step, trial FROM composition ORDER BY population, revision, position"
    )
    for population, revision, from_step, trial in rows:
        members.setdefault(population, {}).setdefault(revision, (from_step, []))[1].append(trial)
    rows = connection.execute(
        "SELECT id, status, seconds, split_from, micro_batches, recompute, host FROM population ORDER BY id"
    )
    for id_, status, seconds, split_from, pieces, again, host in rows:
        revisions = tuple(RevisionRow(step, tuple(trials)) for step, trials in members[id_].values())
        yield PopulationRow(
            id_, PopulationStatus(status), seconds, revisions, split_from, pieces, bool(again), host
        )


@contextmanager
def _no_collection() -> Generator[None]:
    """Python's search for cycles is put off: over hundreds of thousands of rows, without one, it takes a third more."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def reading(path: Path | str) -> Generator[sqlite3.Connection]:
    """A store's tables, as they are or brought up to date in memory.

    Raises:
        ValueError: see `check_store`; a damaged store.
    """
    check_store(path)
    try:
        with closing(_connect(path)) as connection:
            if _pragma(connection, "user_version") == SCHEMA_VERSION:
                connection.execute("BEGIN")
                yield connection
                return
            with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
                connection.backup(copy)
                upgrade(copy)
                yield copy
    except sqlite3.DatabaseError as error:
        raise ValueError(f"store {str(path)!r} cannot be read: {error}; it was left as it is") from error
    except Exception as error:
        if damage := _damage(path):
            raise ValueError(
                f"store {str(path)!r} is damaged ({damage}); it was left as it is: restore it from a copy"
            ) from error
        raise


def _damage(path: Path | str) -> str:
    """What SQLite finds wrong with a file whose rows made no sense; empty if nothing."""
    with closing(_connect(path)) as connection:
        try:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            return str(error)
    return "" if found == "ok" else " ".join(found.replace("***", "").split())


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring a store of an older schema up to date, in one transaction."""
    while (version := _pragma(connection, "user_version")) in UPGRADES:
        connection.executescript(f"BEGIN IMMEDIATE; {UPGRADES[version]} COMMIT;")


def _connect(path: Path | str) -> sqlite3.Connection:
    return sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]
