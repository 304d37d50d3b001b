"""A figure's rows as compact columns, for a page: every text once, a number in as many digits as can be seen.

Rows with the same fields form a table. A column whose values repeat is {"of": [distinct values], "at": [indices]}, any
other the list of its values, floats rounded to six digits. The page builds rows again, and only those it shows.
"""

from collections.abc import Hashable, Sequence
from typing import Any

from widthwise.report.figure import Row

Table = dict[str, Any]
_REPEATED = 0.5  # distinct values per value up to which a column is kept by index
_DIGITS = 6


def compact(rows: Sequence[Row]) -> list[Table]:
    """The tables of some rows, in order of appearance; rows keep their order within a table.

    Example:
        >>> compact([{"kind": "point", "loss": 2.12345678}, {"kind": "point", "loss": 3.5}])
        [{'kind': {'of': ['point'], 'at': [0, 0]}, 'loss': [2.12346, 3.5]}]
    """
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row), []).append(row)
    return [
        {name: _column([row[name] for row in group]) for name in names} for names, group in groups.items()
    ]


def _column(values: list[Any]) -> Any:
    if all(isinstance(value, Hashable) for value in values):
        # True == 1 == 1.0 in a dictionary, so the type is part of the key
        distinct = dict.fromkeys((type(value), value) for value in values)
        if len(distinct) <= max(1, _REPEATED * len(values)):
            index = {key: k for k, key in enumerate(distinct)}
            return {
                "of": [value for _, value in distinct],
                "at": [index[type(value), value] for value in values],
            }
    return [_rounded(value) for value in values]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    return [_rounded(item) for item in value] if isinstance(value, list) else value
