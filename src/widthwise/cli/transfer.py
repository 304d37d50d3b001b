"""`widthwise transfer`: the analysis of anybody's table of results."""

from pathlib import Path
from typing import Annotated

import typer

from widthwise.cli.errors import user_errors
from widthwise.cli.options import Margin, given


@user_errors
def transfer_table(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE.csv", help="Columns width, prescription, rate, seed, loss.")
    ],
    out: Annotated[Path | None, typer.Option(help="The folder for report.html and the figures.")] = None,
    base_width: Annotated[
        int | None, typer.Option(help="The width whose best rate is kept; the smallest by default.")
    ] = None,
    margin: Margin = None,
) -> None:
    """Say whether the best learning rate transfers, from a table of results."""
    from rich.console import Console

    from widthwise.analysis import read_table
    from widthwise.report import summary_line, table_page_data, verdict_table, write_report

    data = table_page_data(read_table(table), title=table.stem, **given(base_width=base_width, margin=margin))
    console = Console()
    console.print(verdict_table(data.analysis, {}))
    console.print(summary_line(data.analysis))
    if out is not None:
        for path in write_report(data, out):
            print(path)
