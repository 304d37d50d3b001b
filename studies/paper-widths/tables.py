"""What a store of `paper-widths` says, as the Markdown tables of docs/paper-widths.md.

PYTHONPATH=src python studies/paper-widths/tables.py STORE [--formats STORE]

STORE         of `widthwise study run paper-widths`
--formats     of the same at some of its widths with float32 state: medians of sqrt(v_hat) beside those in 8 bits
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from widthwise.records import Magnitude, read_study
from widthwise.report.epsilon_shares import EpsilonShares, epsilon_shares
from widthwise.report.measured_sizes import ROLES, measured_sizes
from widthwise.report.page_table import PageTable
from widthwise.report.widths_page import widths_page

SHOWN = ("gradients", "epsilon", "changes", "alignment", "cost")


def markdown(table: PageTable) -> Iterator[str]:
    """A page's table, its title and how to read it."""
    yield f"**{table.title}.** {table.caption}"
    yield ""
    yield from _rows(table.columns, [(row.head, *row.entries) for row in table.rows])


def _rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (columns, ["---"] * len(columns), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def format_rows(eight_bit: Sequence[EpsilonShares], exact: Sequence[EpsilonShares]) -> list[tuple[str, ...]]:
    """Medians of sqrt(v_hat) in 8 bits over those in float32, of what both have: a row an arm and width."""
    known = {
        (one.optimizer, one.parameterization, one.role, one.width): one.median
        for one in eight_bit
        if one.magnitude is Magnitude.SECOND_MOMENT
    }
    ratios: dict[tuple[str, str, int], dict[str, float]] = {}
    for one in exact:
        if one.magnitude is not Magnitude.SECOND_MOMENT:
            continue
        median = known.get((one.optimizer, one.parameterization, one.role, one.width), math.nan)
        ratios.setdefault((one.optimizer, one.parameterization, one.width), {})[one.role] = (
            median / one.median
        )
    return [
        (optimizer, parameterization, str(width), *(f"{of.get(role, math.nan):.3f}" for role in ROLES))
        for (optimizer, parameterization, width), of in ratios.items()
    ]


def largest_difference(store: Path, exact: Path) -> tuple[float, int]:
    """Of final losses, over the trials that both stores have completed, and how many these are."""
    ends: list[dict[tuple[str, int, float, int], float]] = []
    for path in (store, exact):
        study = read_study(path)
        losses = {
            (c.arm, c.width, c.learning_rate, c.seed): study.trials[c.trial].validation_loss
            for c in study.cells
        }
        ends.append({key: loss for key, loss in losses.items() if loss is not None})
    shared = ends[0].keys() & ends[1].keys()
    return max((abs(ends[0][key] - ends[1][key]) for key in shared), default=math.nan), len(shared)


def document(store: Path) -> Iterator[str]:
    """The lines that docs/paper-widths.md holds."""
    page = widths_page(store)
    for sentence in page.head:
        yield from (sentence, "")
    for table in page.tables:
        if table.name in SHOWN:
            yield from markdown(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--formats", type=Path, default=None)
    asked = parser.parse_args(argv)
    print("\n".join(document(asked.store)))
    if asked.formats is not None:
        rows = format_rows(*(epsilon_shares(measured_sizes(path)) for path in (asked.store, asked.formats)))
        difference, count = largest_difference(asked.store, asked.formats)
        print("**8-bit state over float32 state**: the median of √v̂ after the last step.\n")
        print("\n".join(_rows(("optimizer", "parameterization", "width", *ROLES), rows)))
        print(f"The largest difference of {count} final losses is {difference:.2g} nats.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
