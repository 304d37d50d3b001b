"""How trials ended, written into an open store: status, loss, curve, and what was measured."""

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
