"""Read what a store holds of its tensors' sizes; nothing where its version 3 began without the tables of them."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from widthwise.records.reader import by_trial, reading
from widthwise.records.sizes import Magnitude, SizePoint, Spread, TensorRow


def read_tensors(path: Path | str) -> tuple[TensorRow, ...]:
    """The tensors whose sizes are measured, by width, in the order of the forward pass; none where none are."""
    with reading(path) as connection:
        rows = _rows(connection, "SELECT width, name, role FROM tensor ORDER BY width, id")
        return tuple(TensorRow(*row) for row in rows)


def read_sizes(path: Path | str) -> Mapping[int, tuple[SizePoint, ...]]:
    """Trial id -> its tensors' sizes by step, in the order of the forward pass; a trial without any is absent."""
    with reading(path) as connection:
        rows = _rows(
            connection,
            "SELECT trial, step, name, gradient, weight, change, input, input_change, output, output_change "
            "FROM size JOIN tensor ON tensor.id = tensor ORDER BY trial, step, tensor",
        )
        return by_trial(rows, SizePoint)


def read_spreads(path: Path | str) -> Mapping[int, tuple[Spread, ...]]:
    """Trial id -> how its tensors' entries are spread, in the same order."""
    with reading(path) as connection:
        rows = _rows(
            connection,
            "SELECT trial, step, name, magnitude, scale, zeros, first, counts FROM spread "
            "JOIN tensor ON tensor.id = tensor ORDER BY trial, step, tensor, magnitude",
        )
        return by_trial(rows, _spread)


def _spread(
    step: int, name: str, magnitude: str, scale: float, zeros: int, first: int, counts: str
) -> Spread:
    return Spread(step, name, Magnitude(magnitude), scale, zeros, first, tuple(json.loads(counts)))


def _rows(connection: sqlite3.Connection, query: str) -> Iterable[tuple[Any, ...]]:
    """What a query finds; nothing where the store has not the tables that version 3 did not begin with."""
    found = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE name IN ('tensor', 'size', 'spread')"
    )
    return connection.execute(query) if found.fetchone()[0] == 3 else ()
