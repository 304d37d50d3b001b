"""How trials ended, written into an open store: status, loss, curve, and what was measured; or that they wait again."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import astuple

from widthwise.records import AlignmentPoint, SizePoint, Spread
from widthwise.study.trial_result import TrialResult


def write_results(connection: sqlite3.Connection, results: Sequence[TrialResult]) -> None:
    """Every trial's end."""
    for r in results:
        connection.execute(
            "UPDATE trial SET status = ?, reason = ?, step = ?, validation_loss = ? WHERE id = ?",
            (r.status.value, r.reason, r.step, r.validation_loss, r.trial),
        )
        connection.executemany(
            "INSERT INTO curve VALUES (?, ?, ?)", [(r.trial, step, loss) for step, loss in r.curve]
        )
        if r.alignment:
            _write_alignment(connection, r.trial, r.alignment)
        if r.sizes or r.spreads:
            _write_sizes(connection, r.trial, r.sizes, r.spreads)


_ALONE = """
SELECT composition.population, trial.id FROM trial
JOIN composition ON composition.trial = trial.id AND composition.revision = 0
JOIN population ON population.id = composition.population AND population.status = 'completed'
WHERE trial.status = 'failed'
  AND (SELECT count(*) FROM composition AS c WHERE c.population = population.id AND c.revision = 0) = 1
"""
"""Failed trials that were their population alone: each of a training function of one's own is, and so is a model that
did not fit on the device."""
_RECORDED = ("curve", "alignment", "size", "spread")


def retry_failed(connection: sqlite3.Connection) -> int:
    """Let failed trials that were trained alone wait again, as if they had not run; how many there are."""
    found = connection.execute(_ALONE).fetchall()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    for population, trial in found:
        for table in tables.intersection(_RECORDED):  # a store may be older than a table
            connection.execute(f"DELETE FROM {table} WHERE trial = ?", (trial,))
        connection.execute(
            "UPDATE trial SET status = 'pending', reason = NULL, step = NULL WHERE id = ?", (trial,)
        )
        connection.execute(
            "UPDATE population SET status = 'pending', host = NULL, seconds = NULL WHERE id = ?",
            (population,),
        )
    if found:
        connection.execute("UPDATE sweep SET outcome = NULL, best = NULL, reason = '', done = 0")
    return len(found)


def _ids(connection: sqlite3.Connection, table: str, trial: int) -> dict[str, int]:
    """The layers or tensors of a trial's width, name -> id."""
    return dict(
        connection.execute(
            f"SELECT name, id FROM {table} WHERE width = (SELECT width FROM cell WHERE trial = ? LIMIT 1)",
            (trial,),
        )
    )


def _write_sizes(
    connection: sqlite3.Connection, trial: int, sizes: Sequence[SizePoint], spreads: Sequence[Spread]
) -> None:
    tensors = _ids(connection, "tensor", trial)
    connection.executemany(
        "INSERT INTO size VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(trial, tensors[p.tensor], p.step, *astuple(p)[2:]) for p in sizes],
    )
    connection.executemany(
        "INSERT INTO spread VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                *(trial, tensors[s.tensor], s.step, s.magnitude.value),
                *(s.scale, s.zeros, s.first, json.dumps(s.counts, separators=(",", ":"))),
            )
            for s in spreads
        ],
    )


def _write_alignment(connection: sqlite3.Connection, trial: int, points: Sequence[AlignmentPoint]) -> None:
    layers = _ids(connection, "layer", trial)
    connection.executemany(
        "INSERT INTO alignment VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(trial, layers[p.layer], p.since.value, p.step, p.alpha, p.omega, p.u, p.product) for p in points],
    )
