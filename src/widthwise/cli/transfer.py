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

    from widthwise.analysis import read_table, transfer
    from widthwise.report import PageData, summary_line, verdict_table, write_report

    observations = read_table(table)
    analysis = transfer(observations, **given(base_width=base_width, margin=margin))
    console = Console()
    console.print(verdict_table(analysis, {}))
    console.print(summary_line(analysis))
    if out is not None:
        data = PageData(title=table.stem, observations=observations, analysis=analysis)
        for path in write_report(data, out):
            print(path)
