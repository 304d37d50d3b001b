"""A table of a page as text: its head, and rows that a reader's choice of prescriptions and widths may hide."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PageRow:
    """One row.

    Args:
        head: the entry that names it.
        entries: the others.
        prescription: it is hidden with this one; empty for a row that always stands.
        width: it is hidden with this width; None likewise.
        quiet: whether it is set back, such as what others measured.
    """

    head: str
    entries: tuple[str, ...]
    prescription: str = ""
    width: int | None = None
    quiet: bool = False


@dataclass(frozen=True)
class PageTable:
    """One table.

    Args:
        name: of its place on the page.
        title: what it shows.
        caption: how to read it.
        columns: their heads, the row's own first.
        folded: whether it is opened by a click.
    """

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[PageRow, ...]
    folded: bool = False


def as_page_table(
    name: str,
    title: str,
    caption: str,
    columns: Sequence[str],
    rows: Sequence[PageRow],
    *,
    folded: bool = False,
) -> PageTable | None:
    """The table, its empty columns left out; None without a row."""
    if not rows:
        return None
    full = [k for k in range(len(columns) - 1) if any(row.entries[k] for row in rows)]
    kept = tuple(
        PageRow(r.head, tuple(r.entries[k] for k in full), r.prescription, r.width, r.quiet) for r in rows
    )
    return PageTable(name, title, caption, (columns[0], *(columns[k + 1] for k in full)), kept, folded)
