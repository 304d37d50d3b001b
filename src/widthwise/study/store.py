"""The store's one writer.

A store is made whole, with every trial and every population's composition, under a temporary name and then moved into
place. While it is open for writing, a lock on `FILE.lock` keeps others out; write-ahead logging keeps every finished
population through a kill at any moment. Closing leaves one file.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from widthwise.records import (
    APPLICATION_ID,
    SCHEMA,
    SCHEMA_VERSION,
    ProposalRow,
    SweepRow,
    check_store,
    upgrade,
)
from widthwise.study.expand import StudyPlan
from widthwise.study.store_lock import only_writer
from widthwise.study.trial_result import TrialResult
from widthwise.study.write_plan import (
    next_population_id,
    now,
    write_composition,
    write_planned,
    write_proposals,
    write_study,
    write_sweeps,
)
from widthwise.study.write_results import retry_failed, write_results


def create_store(
    path: Path,
    *,
    name: str,
    spec: str,
    corpus: str,
    plan: StudyPlan,
    members: int | None = None,
    minutes: float | None = None,
) -> None:
    """Write a new store, whole or not at all.

    Args:
        spec: the specification's text.
        corpus: the hash of the text that trials train on.
        members, minutes: what was asked of the populations' size; kept for later rounds, if rates are planned.

    Raises:
        ValueError: the folder does not exist or cannot be written, or the store exists.
    """
    if not path.parent.is_dir():
        raise ValueError(f"folder {str(path.parent)!r} of the store does not exist; make it first")
    temporary = path.with_name(f".{path.name}.new")
    with only_writer(path):
        if path.exists():
            raise ValueError(
                f"store {str(path)!r} was made by another process meanwhile; run again to go on with it"
            )
        try:
            temporary.unlink(missing_ok=True)
            with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
                connection.executescript(
                    f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};{SCHEMA}"
                )
                connection.execute("BEGIN")
                write_study(connection, name=name, spec=spec, corpus=corpus, plan=plan)
                write_planned(connection, plan)
                if plan.sweeps:
                    write_sweeps(connection, plan.sweeps)
                    connection.execute("INSERT INTO round VALUES (1, ?, ?)", (members, minutes))
                connection.execute("COMMIT")
            # Left by a store that was killed and then removed: SQLite would replay it into the new one.
            for ending in ("-wal", "-shm"):
                path.with_name(path.name + ending).unlink(missing_ok=True)
            os.replace(temporary, path)
        except (OSError, sqlite3.OperationalError) as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise ValueError(
                f"store {str(path)!r} cannot be written: {error}; choose another folder"
            ) from error


class StoreWriter:
    """An open store, while this process is its writer. Made by `writing`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._host: int | None = None

    def register_host(self, facts: Mapping[str, str]) -> int:
        """Say on what machine and with what versions a process works; its id, which is taken until the next."""
        cursor = self._connection.execute(
            "INSERT INTO host (started, facts) VALUES (?, ?)", (now(), json.dumps(dict(facts)))
        )
        assert cursor.lastrowid is not None
        self._host = cursor.lastrowid
        return self._host

    def finish_population(
        self, population: int, results: Sequence[TrialResult], *, seconds: float, host: int | None = None
    ) -> None:
        """Record a population's results in one transaction: all of them or none.

        Args:
            host: the id of the process that trained it; None for the one registered last.
        """
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            write_results(self._connection, results)
            self._connection.execute(
                "UPDATE population SET status = 'completed', host = ?, seconds = ? WHERE id = ?",
                (self._host if host is None else host, seconds, population),
            )

    def retry_failed(self) -> int:
        """Let every failed trial that was trained alone wait again, in one transaction; how many there are.

        Where rates are planned, the searches are open again, since they took the failed ones for ended.
        """
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            return retry_failed(self._connection)

    def revise_population(self, population: int, *, from_step: int, trials: Sequence[int]) -> None:
        """Record who is trained from a step on; on the disk when this returns."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            (last,) = self._connection.execute(
                "SELECT max(revision) FROM composition WHERE population = ?", (population,)
            ).fetchone()
            write_composition(
                self._connection, population, revision=last + 1, from_step=from_step, trials=trials
            )

    def next_population(self) -> int:
        """The id of the next population that is made."""
        return next_population_id(self._connection)

    def add_round(self, plan: StudyPlan, sweeps: Sequence[SweepRow]) -> None:
        """Add the trials and populations of a round of planned rates, in one transaction, before they run.

        Args:
            sweeps: where the searches stand now.
        """
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            write_planned(self._connection, plan)
            write_sweeps(self._connection, sweeps)
            self._connection.execute(
                "INSERT INTO round SELECT (SELECT max(id) + 1 FROM round), members, minutes FROM round WHERE id = 1"
            )

    def add_proposals(self, plan: StudyPlan, proposals: Sequence[ProposalRow]) -> None:
        """Add proposed constants with their trials and populations, in one transaction, before they run.

        Args:
            plan: its cells are not kept: what stands for them is `proposals`.
        """
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            write_proposals(self._connection, plan, proposals)

    def record_sweeps(self, sweeps: Sequence[SweepRow]) -> None:
        """Say where the searches stand, in one transaction."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            write_sweeps(self._connection, sweeps)

    def split_population(
        self,
        population: int,
        parts: Sequence[Sequence[int]],
        *,
        from_step: int,
        results: Sequence[TrialResult],
    ) -> None:
        """Let a population's trials go on as populations of their own, in one transaction.

        Args:
            parts: the trials of each, in order; they get the ids from `next_population` on.
            from_step: how many steps they have behind them: 0, or those of a checkpoint.
            results: of the trials that are in no part, since they had ended by then.
        """
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for id_, trials in enumerate(parts, start=self.next_population()):
                self._connection.execute(
                    "INSERT INTO population SELECT ?, 'pending', NULL, NULL, id, micro_batches, recompute "
                    "FROM population WHERE id = ?",
                    (id_, population),
                )
                write_composition(self._connection, id_, revision=0, from_step=from_step, trials=trials)
            write_results(self._connection, results)
            self._connection.execute(
                "UPDATE population SET status = 'split', host = ? WHERE id = ?", (self._host, population)
            )


@contextmanager
def writing(path: Path) -> Iterator[StoreWriter]:
    """Open a store as its only writer.

    Raises:
        ValueError: not a store (see `records.check_store`), another process is writing it, or it cannot be written.
    """
    check_store(path)
    with only_writer(path), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            upgrade(connection)
        except sqlite3.OperationalError as error:
            raise ValueError(
                f"store {str(path)!r} cannot be written: {error}; copy it to another folder"
            ) from error
        try:
            yield StoreWriter(connection)
        finally:
            # Leaving the write-ahead log truncates it: what remains is one file. Not while somebody reads it; the log
            # is then as good, and the next writer truncates it.
            with contextlib.suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode = DELETE")
