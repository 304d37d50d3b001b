"""Read what a store holds of its tensors' sizes."""

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from widthwise.records.reader import reading
from widthwise.records.sizes import Magnitude, SizePoint, Spread, TensorRow


def read_tensors(path: Path) -> tuple[TensorRow, ...]:
    """The tensors whose sizes are measured, by width, in the order of the forward pass; none where none are."""
    with reading(path) as connection:
        if not _has_sizes(connection):
            return ()
        rows = connection.execute("SELECT width, name, role FROM tensor ORDER BY width, id")
        return tuple(TensorRow(*row) for row in rows)


def read_sizes(path: Path) -> Mapping[int, tuple[SizePoint, ...]]:
    """Trial id -> its tensors' sizes by step, in the order of the forward pass; a trial without any is absent."""
    points: dict[int, list[SizePoint]] = {}
    with reading(path) as connection:
        if not _has_sizes(connection):
            return {}
        rows = connection.execute(
            "SELECT trial, step, name, gradient, weight, change, input, input_change, output, output_change "
            "FROM size JOIN tensor ON tensor.id = tensor ORDER BY trial, step, tensor"
        )
        for trial, *values in rows:
            points.setdefault(trial, []).append(SizePoint(*values))
    return {trial: tuple(found) for trial, found in points.items()}


def read_spreads(path: Path) -> Mapping[int, tuple[Spread, ...]]:
    """Trial id -> how its tensors' entries are spread, in the same order."""
    spreads: dict[int, list[Spread]] = {}
    with reading(path) as connection:
        if not _has_sizes(connection):
            return {}
        rows = connection.execute(
            "SELECT trial, step, name, magnitude, scale, zeros, first, counts FROM spread "
            "JOIN tensor ON tensor.id = tensor ORDER BY trial, step, tensor, magnitude"
        )
        for trial, step, name, magnitude, scale, zeros, first, counts in rows:
            found = Spread(step, name, Magnitude(magnitude), scale, zeros, first, tuple(json.loads(counts)))
            spreads.setdefault(trial, []).append(found)
    return {trial: tuple(found) for trial, found in spreads.items()}


def _has_sizes(connection: sqlite3.Connection) -> bool:
    """Whether the store has the tables that version 3 did not begin with."""
    found = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE name IN ('tensor', 'size', 'spread')"
    )
    return found.fetchone()[0] == 3
