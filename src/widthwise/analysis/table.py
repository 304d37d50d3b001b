"""Reading a table of results that anybody may have written: one CSV row per training run."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from widthwise.analysis.observation import Observation
from widthwise.analysis.validate import require_one_group, validate

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "width": ("d_model", "hidden_size", "model_width"),
    "prescription": ("method", "parameterization"),
    "rate": ("learning_rate", "lr", "base_rate", "base_lr", "eta"),
    "seed": ("random_seed",),
    "loss": ("final_loss", "validation_loss", "val_loss", "eval_loss"),
    "run": ("run_id", "trial"),
    "group": ("optimizer",),
}
"""Other names under which a column is accepted, case and surrounding spaces aside; its own name wins."""

OPTIONAL = frozenset({"run", "group"})

NO_LOSS = frozenset({"", "nan", "na", "n/a", "none", "null", "diverged", "failed"})
"""What a run without a loss may say instead of a number; an infinite loss counts too."""


def read_table(path: str | Path) -> tuple[Observation, ...]:
    """Read and validate a comma-separated table with the columns width, prescription, rate, seed and loss.

    Columns may stand in any order and under the names in `SYNONYMS`; others are ignored. `run` and `group`
    are optional. A loss that is empty, `nan`, infinite or `diverged` becomes None.

    Args:
        path: a CSV file, UTF-8, with a header row.

    Raises:
        ValueError: the file cannot be read, or a row is unusable; the message names file, row, column and value.

    Example:
        >>> read_table("no-such-file.csv")
        Traceback (most recent call last):
        ValueError: no-such-file.csv: there is no such file; give the path of a CSV table
    """
    path = Path(path)
    lines = _read_lines(path)
    header, rows = lines[0][1], lines[1:]
    columns = _columns(path, header)
    if not rows:
        raise ValueError(f"{path}: the table has a header and no rows; add one row per training run")
    observations: list[Observation] = []
    first_row: dict[tuple[str, int, float, int], int] = {}
    for number, fields in rows:
        if len(fields) != len(header):
            raise ValueError(
                f"{path}, row {number}: {len(fields)} fields where the header has {len(header)}; "
                "quote values that contain a comma"
            )
        cells = {column: fields[index].strip() for column, index in columns.items()}
        observation = _observation(f"{path}, row {number}", cells)
        key = (observation.prescription, observation.width, observation.rate, observation.seed)
        if key in first_row:
            raise ValueError(
                f"{path}, row {number}: prescription {key[0]!r}, width {key[1]}, rate {key[2]:g}, seed {key[3]} "
                f"is already in row {first_row[key]}; keep one of them, or give repeats different seeds"
            )
        first_row[key] = number
        observations.append(observation)
    try:
        validate(observations)
        require_one_group(observations)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return tuple(observations)


def _read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """The file's non-blank rows with their line numbers, the header first."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, fields) for fields in reader if any(field.strip() for field in fields)]
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file; give the path of a CSV table") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: this is a directory; give the path of a CSV table") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8; save the table as UTF-8 CSV") from None
    except csv.Error as error:
        raise ValueError(f"{path}: not a CSV table ({error}); save it as comma-separated text") from None
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); check the file and its permissions"
        ) from None
    if not lines:
        raise ValueError(f"{path}: the file is empty; its first row must name the columns {_names()}")
    return lines


def _names() -> str:
    return ", ".join(name for name in SYNONYMS if name not in OPTIONAL)


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Where each column stands in the header."""
    found = [name.strip().lower() for name in header]
    columns: dict[str, int] = {}
    for column, synonyms in SYNONYMS.items():
        names = [column] if column in found else [name for name in synonyms if name in found]
        positions = [index for index, name in enumerate(found) if name in names]
        if len(positions) > 1:
            raise ValueError(
                f"{path}: columns {', '.join(repr(header[index]) for index in positions)} could all be {column!r}; "
                f"name exactly one of them {column!r}"
            )
        if positions:
            columns[column] = positions[0]
    missing = [column for column in SYNONYMS if column not in columns and column not in OPTIONAL]
    if missing:
        accepted = "; ".join(f"{column!r} may be called {', '.join(SYNONYMS[column])}" for column in missing)
        raise ValueError(
            f"{path}: no column {', '.join(map(repr, missing))} among {', '.join(map(repr, header))}; "
            f"the table is comma-separated with the columns {_names()} ({accepted})"
        )
    return columns


def _observation(where: str, cells: Mapping[str, str]) -> Observation:
    """One row as a value; `where` opens every message."""
    if not cells["prescription"]:
        raise ValueError(
            f"{where}: column 'prescription' is empty; give every run a label, the same if only one"
        )
    width, rate = _whole(where, "width", cells["width"]), _number(where, "rate", cells["rate"])
    if width < 1:
        raise ValueError(
            f"{where}: column 'width' is {cells['width']!r}; a width is a whole number of at least 1"
        )
    if not (rate > 0 and math.isfinite(rate)):
        raise ValueError(
            f"{where}: column 'rate' is {cells['rate']!r}; a learning rate is positive and finite"
        )
    loss = None if cells["loss"].lower() in NO_LOSS else _number(where, "loss", cells["loss"])
    return Observation(
        prescription=cells["prescription"],
        width=width,
        rate=rate,
        seed=_whole(where, "seed", cells["seed"]),
        loss=loss if loss is not None and math.isfinite(loss) else None,
        run=cells.get("run") or None,
        group=cells.get("group", ""),
    )


def _number(where: str, column: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        extra = "; leave it empty for a run that diverged" if column == "loss" else ""
        raise ValueError(f"{where}: column {column!r} is {text!r}; it must be a number{extra}") from None


def _whole(where: str, column: str, text: str) -> int:
    number = _number(where, column, text)
    if not number.is_integer():
        raise ValueError(f"{where}: column {column!r} is {text!r}; it must be a whole number")
    return int(number)
