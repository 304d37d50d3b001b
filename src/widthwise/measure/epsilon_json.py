"""An epsilon report as plain rows and as JSON: what figures and tables are made of, without torch."""

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from widthwise.files import document, load_document, save_document
from widthwise.measure.epsilon_report import EpsilonReport, EpsilonRow

KIND, VERSION = "widthwise epsilon report", 1
FACTS = ("optimizer", "step", "width", "base_width", "parameterization", "base_epsilon")
NUMBERS = ("low", "median", "median_ratio")
STORED = (
    "name", "role", "tensors", "epsilon", "step", "coordinates", "untouched", "non_finite", "zeros", "below",
    "sampled", *NUMBERS, "exponent", "planned", "largest_fine",
)  # fmt: skip
"""The fields of a row, in its order; `fraction`, `counted` and `verdict` follow from them."""


def plain_row(row: EpsilonRow, *, kind: str, width: int | None) -> dict[str, Any]:
    """A row as values that CSV and JSON have: numbers that are undefined or infinite as None.

    Args:
        kind: `tensor`, or `role` for the row of all tensors of a role.
        width: of the plan.
    """
    values = {name: getattr(row, name) for name in STORED}
    return {
        "kind": kind,
        "width": width,
        **values,
        **{name: _finite(values[name]) for name in NUMBERS},
        "exponent": None if row.exponent is None else str(row.exponent),
        "counted": row.counted,
        "fraction": _finite(row.fraction),
        "verdict": row.verdict.value,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def plain_rows(report: EpsilonReport) -> list[dict[str, Any]]:
    """Every row: of tensors, then of roles."""
    kinds = (("tensor", report.rows), ("role", report.roles))
    return [plain_row(row, kind=kind, width=report.width) for kind, rows in kinds for row in rows]


def report_to_json(report: EpsilonReport) -> dict[str, Any]:
    """The report as values that JSON has."""
    facts = {name: getattr(report, name) for name in FACTS}
    rows = plain_rows(report)
    return {"kind": KIND, "version": VERSION, **facts, "verdict": report.verdict.value, "rows": rows}


def report_from_json(values: object) -> EpsilonReport:
    """The report that `report_to_json` wrote; an infinite median ratio comes back as undefined.

    Raises:
        ValueError: anything else.
    """
    value = document(values, kind=KIND, version=VERSION, name="an epsilon report")
    try:
        rows = [(row["kind"], _row(row)) for row in value["rows"]]
        return EpsilonReport(
            **{name: value[name] for name in FACTS},
            rows=tuple(row for kind, row in rows if kind == "tensor"),
            roles=tuple(row for kind, row in rows if kind == "role"),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an epsilon report: {type(error).__name__} {error}") from error


def _row(value: Mapping[str, Any]) -> EpsilonRow:
    fields: dict[str, Any] = {name: value[name] for name in STORED}
    fields |= {name: math.nan if value[name] is None else value[name] for name in NUMBERS}
    fields["exponent"] = None if value["exponent"] is None else Fraction(value["exponent"])
    return EpsilonRow(**fields)


def save_report(report: EpsilonReport, path: Path) -> None:
    """Write a report: the file is replaced at once or left as it was."""
    save_document(path, report_to_json(report))


def load_report(path: Path) -> EpsilonReport:
    """Read a report.

    Raises:
        ValueError: a file that is not one.
        OSError: a file that cannot be read.
    """
    return load_document(path, report_from_json)
