"""How trials ended, written into an open store: status, loss, curve, and what was measured."""

import sqlite3
from collections.abc import Sequence

from widthwise.records import AlignmentPoint
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


def _write_alignment(connection: sqlite3.Connection, trial: int, points: Sequence[AlignmentPoint]) -> None:
    layers = dict(
        connection.execute(
            "SELECT name, id FROM layer WHERE width = (SELECT width FROM cell WHERE trial = ? LIMIT 1)",
            (trial,),
        )
    )
    connection.executemany(
        "INSERT INTO alignment VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(trial, layers[p.layer], p.since.value, p.step, p.alpha, p.omega, p.u, p.product) for p in points],
    )
