"""`widthwise exponents`: the largest stable learning-rate exponents, of the paper's table or of any chain of layers."""

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from widthwise.cli.errors import user_errors
from widthwise.cli.options import given
from widthwise.theory import Logits, Solution


class TableFormat(StrEnum):
    """How a table is printed."""

    TABLE = "table"
    JSON = "json"


Parameterizations = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="standard, ntk, mup or mean-field; may be repeated; all by default."),
]
Optimizers = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="sgd, adam, adafactor, adam-atan2, rmsprop, lion, adam-ps or muon; may be repeated; the first three by "
        "default.",
    ),
]
Alignments = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME|ALPHA,OMEGA,U",
        help="full, mid, none, or three exponents of the width, read exactly (1,1/2,0.75); may be repeated; full and "
        "none by default.",
    ),
]
EmbeddingPair = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="The embedding's multiplier n^-A and init n^-B, read exactly (-1/2,0.5), with --hidden and --readout, in "
        "place of a named parameterization; none by default.",
    ),
]
HiddenPair = Annotated[
    str | None, typer.Option(metavar="A,B", help="The same of hidden layers; none by default.")
]
ReadoutPair = Annotated[
    str | None, typer.Option(metavar="A,B", help="The same of the readout; none by default.")
]
Depth = Annotated[
    int | None,
    typer.Option(
        metavar="L",
        min=0,
        help="How many hidden layers the chain has, 0 or more; by default one, called hidden.",
    ),
]
LogitsOption = Annotated[
    Logits | None,
    typer.Option(
        help="At most constant in the width, or free to grow, as cross-entropy allows; bounded by default."
    ),
]
Prefer = Annotated[
    str | None,
    typer.Option(
        metavar="total|pareto|ROLE,...",
        help="Where rates trade off: the smallest sum of c; that, with no rate below its value for full alignment; or "
        "the smallest sum of one role's c, then of the next one's; total by default.",
    ),
]
Slack = Annotated[
    str | None,
    typer.Option(
        metavar="X",
        help="A power of the width, read exactly, 0 or more: every layer's features must change by at least n^-X; no "
        "bound by default.",
    ),
]
Corners = Annotated[
    bool,
    typer.Option(
        "--corners",
        help="List the Pareto corners, the preferred one first: rates none of which can be raised without lowering "
        "another; off by default.",
    ),
]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain", help="Say what limits every rate, at what price, with the proof; off by default."
    ),
]
Output = Annotated[TableFormat, typer.Option("--format", help="How to print.")]


@user_errors
def exponents(
    parameterization: Parameterizations = None,
    optimizer: Optimizers = None,
    alignment: Alignments = None,
    embedding: EmbeddingPair = None,
    hidden: HiddenPair = None,
    readout: ReadoutPair = None,
    depth: Depth = None,
    logits: LogitsOption = None,
    prefer: Prefer = None,
    slack: Slack = None,
    corners: Corners = False,
    explain: Explain = False,
    output: Output = TableFormat.TABLE,
) -> None:
    """Print the exponents of each layer: multiplier n^-a, init n^-b, largest stable rate n^-c, gradient n^-g."""
    from widthwise.cli.exponent_options import (
        Shown,
        cells,
        read_number,
        read_parameterizations,
        read_preference,
    )
    from widthwise.theory import chain, solve

    options: dict[str, Any] = given(
        network=None if depth is None else chain(depth),
        logits=logits,
        prefer=None if prefer is None else read_preference(prefer),
        slack=None if slack is None else read_number("--slack", slack),
    )
    asked = cells(
        read_parameterizations(parameterization or (), embedding, hidden, readout),
        optimizer or (),
        alignment or (),
    )
    solutions: list[Solution] = []
    for cell in asked:
        try:
            solutions.append(solve(cell.parameterization, cell.optimizer, cell.alignment, **options))
        except ValueError as error:
            raise ValueError(f"{cell}: {error}") from error
    shown = Shown(layers=bool(options) or corners or explain, corners=corners, explanation=explain)
    if output is TableFormat.JSON:
        from widthwise.cli.exponent_records import records

        print(json.dumps([record for s in solutions for record in records(s, shown)], indent=1))
    else:
        from widthwise.cli.exponent_tables import fits, print_tables

        if not shown.layers and fits(solutions):
            print_tables(solutions)
        else:
            from widthwise.cli.exponent_layers import print_layers

            print_layers(solutions, shown)
