"""Pareto corners as layers, each with its c and with the r that follows from all of them."""

from dataclasses import dataclass, replace

from widthwise.theory import LayerSolution, Solution


@dataclass(frozen=True)
class Corners:
    """The layers' exponents at every corner, the preferred corner first.

    Args:
        all: whether there are no others.
    """

    layers: tuple[tuple[LayerSolution, ...], ...]
    all: bool


def corners_of(solution: Solution) -> Corners:
    """The corners of the problem that a solution belongs to.

    Example:
        >>> from widthwise.theory import MUP, NONE, SGD, solve
        >>> [[str(layer.c) for layer in layers] for layers in corners_of(solve(MUP, SGD, NONE)).layers]
        [['0', '-1/2', '0'], ['1/2', '0', '-1/2']]
    """
    from widthwise.theory import pareto_corners
    from widthwise.theory.forward import changes

    found = pareto_corners(solution)
    corners: list[tuple[LayerSolution, ...]] = []
    for rates in found.corners:
        moved = changes(solution.conditions, solution.network, rates)
        corners.append(
            tuple(replace(layer, c=rates.get(name), r=moved[name]) for name, layer in solution.layers.items())
        )
    return Corners(tuple(corners), all=found.complete)
