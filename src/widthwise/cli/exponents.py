"""`widthwise exponents`: the table of largest stable learning-rate exponents."""

import json
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated

import typer

from widthwise.theory import ExponentRow, RoleExponents, exponent_table


class TableFormat(StrEnum):
    """How a table is printed."""

    TABLE = "table"
    JSON = "json"


def exponents(
    output: Annotated[TableFormat, typer.Option("--format", help="How to print.")] = TableFormat.TABLE,
) -> None:
    """Print the exponents of each layer: multiplier n^-a, init n^-b, largest stable rate n^-c, gradient n^-g."""
    table = exponent_table()
    if output is TableFormat.JSON:
        print(json.dumps([as_json(row) for row in table], indent=1))
    else:
        _print_tables(table)


def as_json(row: ExponentRow) -> dict[str, str]:
    """One cell with its names, exponents as exact fractions such as "1/2"."""
    return {
        "parameterization": row.parameterization.name,
        "optimizer": row.optimizer.name,
        "alignment": row.alignment.name,
        "role": row.role.value,
        "a": str(row.exponents.a),
        "b": str(row.exponents.b),
        "c": str(row.exponents.c),
        "g": str(row.exponents.g),
    }


def _print_tables(table: Sequence[ExponentRow]) -> None:
    """Two tables, a triple (embedding, hidden, readout) a cell: what the parameterization fixes, and the rates."""
    from rich.console import Console
    from rich.table import Table

    triples = [table[i : i + 3] for i in range(0, len(table), 3)]
    fixed = Table(
        "parameterization",
        *(f"{what} n^-{letter}" for what, letter in (("multiplier", "a"), ("init", "b"), ("gradient", "g"))),
        title="embedding, hidden, readout",
    )
    for row in {t[0].parameterization.name: t for t in triples}.values():
        fixed.add_row(
            row[0].parameterization.name,
            _triple(row, lambda e: e.a),
            _triple(row, lambda e: e.b),
            _triple(row, lambda e: e.g),
        )
    rates = Table(
        "parameterization", "optimizer", "alignment", "rate n^-c", title="largest stable learning rates"
    )
    for row in triples:
        first = row[0]
        last_of_block = first.optimizer is table[-1].optimizer and first.alignment is table[-1].alignment
        rates.add_row(
            first.parameterization.name,
            first.optimizer.name,
            first.alignment.name,
            _triple(row, lambda e: e.c),
            end_section=last_of_block,
        )
    console = Console()
    console.print(fixed)
    console.print(rates)


def _triple(rows: Sequence[ExponentRow], pick: Callable[[RoleExponents], object]) -> str:
    return "".join(f"{pick(row.exponents)!s:>5}" for row in rows)
