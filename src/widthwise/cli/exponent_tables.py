"""The table of exponents in the terminal: a triple (embedding, hidden, readout) a cell, of the chain of three roles."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from widthwise.theory import ALIGNMENTS, LayerSolution, Solution

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 5
"""Columns that a number takes: a space and as much as `-1/2`."""


def fits(solutions: Sequence[Solution]) -> bool:
    """Whether names and numbers are as short as the paper's, so that the tables fit a terminal of 80 columns."""
    numbers = (
        str(number)
        for solution in solutions
        for layer in solution.layers.values()
        for number in (layer.a, layer.b, layer.c, layer.g)
    )
    return all(len(number) < WIDTH for number in numbers) and all(
        solution.alignment.name in ALIGNMENTS for solution in solutions
    )


def print_tables(solutions: Sequence[Solution]) -> None:
    """Two tables: what the parameterization fixes, and the rates."""
    from rich.console import Console

    console = Console()
    console.print(_fixed(solutions))
    console.print(_rates(solutions))


def _fixed(solutions: Sequence[Solution]) -> "Table":
    from rich.table import Table

    fixed = Table(
        "parameterization",
        *(f"{what} n^-{letter}" for what, letter in (("multiplier", "a"), ("init", "b"), ("gradient", "g"))),
        title="embedding, hidden, readout",
    )
    chosen = list({solution.parameterization.name: solution for solution in solutions}.values())
    columns = [_triples(chosen, pick) for pick in (lambda e: e.a, lambda e: e.b, lambda e: e.g)]
    for solution, *triples in zip(chosen, *columns, strict=True):
        fixed.add_row(solution.parameterization.name, *triples)
    return fixed


def _rates(solutions: Sequence[Solution]) -> "Table":
    from rich.table import Table

    rates = Table(
        "parameterization", "optimizer", "alignment", "rate n^-c", title="largest stable learning rates"
    )
    for solution, triple, after in zip(
        solutions, _triples(solutions, lambda e: e.c), (*solutions[1:], None), strict=True
    ):
        rates.add_row(
            solution.parameterization.name,
            solution.optimizer.name,
            solution.alignment.name,
            triple,
            end_section=after is None or after.parameterization is not solution.parameterization,
        )
    return rates


def _triples(solutions: Sequence[Solution], pick: Callable[[LayerSolution], object]) -> list[str]:
    return [
        "".join(f"{pick(layer)!s:>{WIDTH}}" for layer in solution.layers.values()) for solution in solutions
    ]
