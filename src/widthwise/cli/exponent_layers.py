"""The table of exponents in the terminal, layer by layer: rates, what limits them, and the Pareto corners.

Neighbouring layers that differ in their names alone share a line, `hidden.1-98`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import TYPE_CHECKING

from widthwise.cli.exponent_corners import Corners, corners_of
from widthwise.cli.exponent_options import Shown
from widthwise.theory import Binding, Kind, LayerSolution, Solution

if TYPE_CHECKING:
    from rich.table import Table

SYMBOLS = {Kind.UPDATE: "alpha", Kind.CROSS: "u"}


@dataclass(frozen=True)
class Line:
    """What a layer's line says beside its name; layers of equal lines share one."""

    role: str
    a: str
    b: str
    c: str
    g: str
    r: str
    why: str


def print_layers(solutions: Sequence[Solution], shown: Shown) -> None:
    """One block a solution: its layers, with what limits them and the other corners where those are shown."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    for number, solution in enumerate(solutions):
        if number:
            console.print()
        console.print(_heading(solution))
        console.print(_layers(solution, explained=shown.explanation))
        if shown.explanation:
            console.print(_proof(solution))
        if shown.corners:
            corners = corners_of(solution)
            console.print(_corners(corners))
            if not corners.all:
                console.print("The search for corners was cut off: there may be more.")


def _heading(solution: Solution) -> str:
    names = (solution.parameterization.name, solution.optimizer.name, f"alignment {solution.alignment.name}")
    return f"{', '.join(names)}: total c = {solution.total}"


def _layers(solution: Solution, *, explained: bool) -> "Table":
    from rich.table import Table

    groups = list(_groups(solution, tuple(solution.layers.values()), explained=explained))
    slack = any(line.r for _, line in groups)
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("layer", no_wrap=True)
    for letter in ("a", "b", "c", "g", *("r" if slack else "")):
        table.add_column(letter, justify="right", no_wrap=True)
    if explained:
        table.add_column("why")
    for name, line in groups:
        numbers = (line.a, line.b, line.c, line.g, *([line.r] if slack else []))
        table.add_row(name, *numbers, *([line.why] if explained else []))
    return table


def _groups(
    solution: Solution, layers: Sequence[LayerSolution], *, explained: bool
) -> Iterator[tuple[str, Line]]:
    for line, group in groupby(layers, lambda layer: _line(solution, layer, explained=explained)):
        names = [layer.layer for layer in group]
        last = names[-1].rpartition(".")[2]
        yield names[0] if len(names) == 1 else f"{names[0]}-{last}", line


def _line(solution: Solution, layer: LayerSolution, *, explained: bool) -> Line:
    return Line(
        role=layer.role.value,
        a=str(layer.a),
        b=str(layer.b),
        c=_rate(layer),
        g=str(layer.g),
        r="" if not layer.r else str(layer.r),
        why=_why(solution, layer.layer) if explained else "",
    )


def _rate(layer: LayerSolution) -> str:
    return "unconstrained" if layer.c is None else str(layer.c)


def _why(solution: Solution, layer: str) -> str:
    """The sentence without the layer's name, its input called its input, and a line for every binding condition."""
    found = solution.binding(layer)
    sentence = solution.why(layer).removeprefix(f"{layer} ")
    for through in {binding.through for binding in found} - {None}:
        sentence = sentence.replace(f"the change of {through} (", "the change of its input (")
    return "\n".join((sentence, *map(_binding, found)))


def _binding(binding: Binding) -> str:
    symbol = None if binding.exponent is None else SYMBOLS.get(binding.kind)
    exponent = f" ({symbol} = {binding.exponent})" if symbol else ""
    return f"  {binding.kind.value}{exponent}: price {binding.price}"


def _proof(solution: Solution) -> str:
    solution.certificate.check()
    unique = "no other rates are as good" if solution.unique else "other rates are as good"
    return f"{unique}; proposed by {solution.certificate.source}, certified in exact arithmetic"


def _corners(corners: Corners) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("corner", justify="right", no_wrap=True)
    table.add_column("total", justify="right", no_wrap=True)
    table.add_column("c")
    for number, layers in enumerate(corners.layers, start=1):
        total = sum((layer.c for layer in layers if layer.c is not None), start=Fraction(0))
        table.add_row(str(number), str(total), _rates(layers))
    return table


def _rates(layers: Sequence[LayerSolution]) -> str:
    parts: list[str] = []
    for rate, group in groupby(layers, lambda layer: (layer.role, _rate(layer))):
        names = [layer.layer for layer in group]
        name = names[0] if len(names) == 1 else f"{names[0]}-{names[-1].rpartition('.')[2]}"
        parts.append(f"{name} {rate[1]}".replace(" ", "\N{NO-BREAK SPACE}"))
    return ", ".join(parts)
