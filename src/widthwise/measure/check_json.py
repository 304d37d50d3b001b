"""A check as JSON: everything that was measured, so that figures and verdicts can be made again elsewhere."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from widthwise.files import document, load_document, replace_text
from widthwise.measure.check_result import CoordinateCheck
from widthwise.measure.run_once import Key, Quantity
from widthwise.measure.slope import SlopeInterval
from widthwise.measure.verdict import CheckRow, Verdict

KIND, VERSION = "widthwise coordinate check", 1
FACTS = (
    "widths",
    "seeds",
    "steps",
    "base_width",
    "parameterization",
    "optimizer",
    "alignment",
    "learning_rate",
)


def check_to_json(check: CoordinateCheck) -> dict[str, Any]:
    """The check as values that JSON has; numbers that are not finite as null."""
    return {
        "kind": KIND,
        "version": VERSION,
        **{name: getattr(check, name) for name in FACTS},
        "verdict": check.verdict.value,
        "rows": [_finite(asdict(row)) for row in check.rows],
        "measurements": [
            {"quantity": key.quantity.value, "name": key.name, "step": key.step, "values": _finite(values)}
            for key, values in check.measurements.items()
        ],
    }


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {name: _finite(item) for name, item in value.items()}
        case tuple() | list():
            return [_finite(item) for item in value]
        case _:
            return value


def check_from_json(values: object) -> CoordinateCheck:
    """The check that `check_to_json` wrote.

    Raises:
        ValueError: anything else.
    """
    value = document(values, kind=KIND, version=VERSION, name="a coordinate check")
    try:
        return CoordinateCheck(
            **{name: value[name] for name in FACTS if name != "widths"},
            widths=tuple(value["widths"]),
            rows=tuple(map(_row, value["rows"])),
            measurements={
                Key(Quantity(item["quantity"]), item["name"], item["step"]): _numbers(item["values"])
                for item in value["measurements"]
            },
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a coordinate check: {type(error).__name__} {error}") from error


def _row(value: dict[str, Any]) -> CheckRow:
    slope = value["slope"]
    return CheckRow(
        **{
            **value,
            "quantity": Quantity(value["quantity"]),
            "slope": None if slope is None else SlopeInterval(**slope),
            "values": _numbers(value["values"]),
            "verdict": Verdict(value["verdict"]),
        }
    )


def _numbers(rows: list[list[float | None]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(math.nan if x is None else x for x in row) for row in rows)


def save_check(check: CoordinateCheck, path: Path) -> None:
    """Write a check: the file is replaced at once or left as it was."""
    text = json.dumps(check_to_json(check), separators=(",", ":"), allow_nan=False)
    replace_text(path, text + "\n")


def load_check(path: Path) -> CoordinateCheck:
    """Read a check.

    Raises:
        ValueError: a file that is not one.
        OSError: a file that cannot be read.
    """
    return load_document(path, check_from_json)
