"""Text that a terminal shows: columns aligned by spaces, and sentences folded at words; standard library alone."""

from collections.abc import Sequence
from textwrap import wrap

LEAST_COLUMNS = 40
"""Sentences are not folded to fewer."""


def aligned(rows: Sequence[Sequence[str]], *, right: bool = False) -> list[str]:
    """A line for each row, its columns as wide as their widest cell and two spaces apart.

    Args:
        rows: equally many cells each.
        right: whether cells end, rather than begin, below each other.

    Raises:
        ValueError: the rows differ in length.

    Example:
        >>> aligned([("role", "c"), ("hidden", "1")])
        ['role    c', 'hidden  1']
        >>> aligned([("trials", "GiB"), ("12", "7.0")], right=True)
        ['trials  GiB', '    12  7.0']
    """
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    justify = str.rjust if right else str.ljust
    return ["  ".join(map(justify, row, sizes)).rstrip() for row in rows]


def folded(line: str, columns: int | None, *, indent: str = "") -> list[str]:
    """A line in parts of so many columns at most, broken between words alone; an empty one stays.

    Args:
        line: without a line break.
        columns: of the terminal; None for no limit.
        indent: of every part but the first.

    Example:
        >>> folded("a sentence that is longer than forty columns", 40, indent="  ")
        ['a sentence that is longer than forty', '  columns']
    """
    if columns is None:
        return [line]
    return wrap(line, max(columns, LEAST_COLUMNS), subsequent_indent=indent, break_on_hyphens=False) or [""]
