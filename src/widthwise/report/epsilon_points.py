"""The lines of an epsilon figure: plain rows brought together over repetitions, and what theory expects of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

ONE_RUN = ""
"""The run of rows that name none."""


@dataclass(frozen=True)
class Point:
    """One place of one line: its run, its line's name and role, its x, and the means over repetitions.

    Args:
        fraction: below epsilon, the mean; None if undefined.
        ratio: median sqrt(v_hat) / epsilon, the geometric mean; None if undefined.
        expected: of the ratio, from the smallest width on, by the plan's exponent; None without one.
    """

    run: str
    line: str
    role: str
    x: int
    fraction: float | None
    ratio: float | None
    expected: float | None = None


def drawn_rows(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of roles if there are any, else of tensors; only what is defined."""
    roles = [row for row in rows if row["kind"] == "role"]
    return [row for row in roles or rows if row["fraction"] is not None or row["median_ratio"] is not None]


def repetitions(rows: Sequence[Mapping[str, Any]]) -> str:
    """A sentence on how many seeds the means are over; empty for one."""
    count = len({row.get("seed") for row in rows})
    return f"Means over {count} seeds." if count > 1 else ""


def points_of(rows: Sequence[Mapping[str, Any]], x: str) -> list[Point]:
    """The places of every line, ascending in `x`, which is `step` or `width`."""
    places: dict[tuple[str, str, str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        places.setdefault((row.get("run", ONE_RUN), row["name"], row["role"], row[x]), []).append(row)
    return [
        Point(
            *place,
            fraction=_mean([row["fraction"] for row in found]),
            ratio=_geometric_mean([row["median_ratio"] for row in found]),
        )
        for place, found in sorted(places.items(), key=lambda item: item[0][3])
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _geometric_mean(values: Sequence[float | None]) -> float | None:
    """Of positive numbers: a ratio of 0, where the second moment itself has underflowed, has no place on its axis."""
    known = [math.log(value) for value in values if value]
    return math.exp(math.fsum(known) / len(known)) if known else None


def with_theory(points: Sequence[Point], rows: Sequence[Mapping[str, Any]]) -> list[Point]:
    """The gradient's power law (n / n_0)^(-g) over that of the epsilon in use, through the smallest width's point."""
    facts = {
        (row.get("run", ONE_RUN), row["name"], row["width"]): (row.get("exponent"), row["epsilon"])
        for row in rows
    }
    first: dict[tuple[str, str], Point] = {}
    found: list[Point] = []
    for point in points:
        start = first.setdefault((point.run, point.line), point)
        exponent, epsilon = facts[point.run, point.line, point.x]
        _, before = facts[point.run, point.line, start.x]
        expected: float | None = None
        if exponent is not None and epsilon and before is not None and start.ratio is not None:
            law = (point.x / start.x) ** -float(Fraction(exponent))
            expected = start.ratio * law * before / epsilon
        found.append(replace(point, expected=expected))
    return found
