"""A plan's rows, written into an open store: arms, trials, cells, layers, populations, sweeps."""

import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, replace
from datetime import UTC, datetime

from widthwise.records import ProposalRow, SweepRow, TensorRow
from widthwise.study.expand import StudyPlan


def write_study(
    connection: sqlite3.Connection, *, name: str, spec: str, corpus: str, plan: StudyPlan
) -> None:
    """What was asked for, and its arms."""
    connection.execute(
        "INSERT INTO study VALUES (1, ?, ?, ?, ?, ?)", (name, spec, corpus, plan.base_width, now())
    )
    rows = [arm.row() for arm in plan.arms]
    connection.executemany(
        "INSERT INTO arm VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (r.name, i, r.parameterization, r.prescription, r.optimizer, r.predicted_full, r.predicted_none)
            for i, r in enumerate(rows)
        ],
    )


def write_planned(connection: sqlite3.Connection, plan: StudyPlan) -> None:
    """Add a plan's trials, cells and populations; populations get the next ids."""
    connection.executemany(
        "INSERT INTO trial VALUES (?, ?, ?, 'pending', NULL, NULL, NULL)",
        [(trial.id, trial.identity, trial.text) for trial in plan.trials],
    )
    connection.executemany(
        "INSERT INTO cell VALUES (?, ?, ?, ?, ?)",
        [(c.arm, c.width, c.learning_rate, c.seed, c.trial) for c in plan.cells],
    )
    connection.executemany(
        "INSERT OR IGNORE INTO layer (width, name, role, fan_in) VALUES (?, ?, ?, ?)",
        [(layer.width, layer.name, layer.role, layer.fan_in) for layer in plan.layers],
    )
    if plan.tensors:  # else the store may be older than the table
        _write_tensors(connection, plan.tensors)
    first = next_population_id(connection)
    for id_, (trials, size) in enumerate(zip(plan.populations, plan.sizes, strict=True), start=first):
        connection.execute(
            "INSERT INTO population VALUES (?, 'pending', NULL, NULL, NULL, ?, ?)",
            (id_, size.micro_batches, size.recompute),
        )
        write_composition(connection, id_, revision=0, from_step=0, trials=trials)


def _write_tensors(connection: sqlite3.Connection, rows: Sequence[TensorRow]) -> None:
    connection.executemany(
        "INSERT OR IGNORE INTO tensor (width, name, role) VALUES (?, ?, ?)",
        [(row.width, row.name, row.role) for row in rows],
    )


def write_sweeps(connection: sqlite3.Connection, rows: Sequence[SweepRow]) -> None:
    """Say where searches stand, in the place of what stood there."""
    connection.executemany(
        "INSERT OR REPLACE INTO sweep VALUES (?, ?, ?, ?, ?, ?)",
        [(r.arm, r.width, r.outcome, r.best, r.reason, r.done) for r in rows],
    )


def write_proposals(
    connection: sqlite3.Connection, plan: StudyPlan, proposals: Sequence[ProposalRow]
) -> None:
    """Add proposed constants, with a plan's trials and populations in the place of its cells."""
    write_planned(connection, replace(plan, cells=()))
    connection.executemany(
        "INSERT INTO proposal VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [astuple(row) for row in proposals]
    )


def next_population_id(connection: sqlite3.Connection) -> int:
    """The id of the next population that is made."""
    return connection.execute("SELECT coalesce(max(id), 0) + 1 FROM population").fetchone()[0]


def write_composition(
    connection: sqlite3.Connection, population: int, *, revision: int, from_step: int, trials: Sequence[int]
) -> None:
    """Who is trained from a step on."""
    connection.executemany(
        "INSERT INTO composition VALUES (?, ?, ?, ?, ?)",
        [(population, revision, position, from_step, trial) for position, trial in enumerate(trials)],
    )


def now() -> str:
    """The time, as stores hold it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
