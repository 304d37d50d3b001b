"""The table of exponents as JSON: one object a layer, exponents as exact fractions such as "1/2"."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from widthwise.cli.exponent_corners import Corners, corners_of
from widthwise.cli.exponent_options import Shown
from widthwise.theory import LayerSolution, Solution


def records(solution: Solution, shown: Shown) -> Iterator[dict[str, Any]]:
    """The layers of a solution, and after them the layers of its other Pareto corners where those are shown.

    Layers that are shown one by one carry `layer`, `r` (null where nothing changes or limits it) and `unconstrained`
    (c is null then); corners `corner`, counted from 1, the preferred one, and `all_corners`, whether these are all;
    explanations `why` and `binding`, and of the whole solution `total`, `unique`, `proposed_by` and `certified`: null
    at corners that are not preferred.
    """
    corners = corners_of(solution) if shown.corners else Corners((tuple(solution.layers.values()),), all=True)
    for number, layers in enumerate(corners.layers, start=1):
        for layer in layers:
            record = _cell(solution, layer)
            if shown.layers:
                record |= {"layer": layer.layer, "r": _text(layer.r), "unconstrained": layer.unconstrained}
            if shown.corners:
                record |= {"corner": number, "all_corners": corners.all}
            if shown.explanation:
                explained = _explanation(solution, layer.layer)
                record |= explained if number == 1 else dict.fromkeys(explained)
            yield record


def _cell(solution: Solution, layer: LayerSolution) -> dict[str, Any]:
    return {
        "parameterization": solution.parameterization.name,
        "optimizer": solution.optimizer.name,
        "alignment": solution.alignment.name,
        "role": layer.role.value,
        "a": str(layer.a),
        "b": str(layer.b),
        "c": _text(layer.c),
        "g": str(layer.g),
    }


def _text(exponent: Fraction | None) -> str | None:
    return None if exponent is None else str(exponent)


def _explanation(solution: Solution, layer: str) -> dict[str, Any]:
    return {
        "why": solution.why(layer),
        "binding": [
            {
                "condition": binding.kind.value,
                "exponent": _text(binding.exponent),
                "through": binding.through,
                "price": str(binding.price),
            }
            for binding in solution.binding(layer)
        ],
        "total": str(solution.total),
        "unique": solution.unique,
        "proposed_by": solution.certificate.source,
        "certified": solution.certificate.check() is solution.certificate,
    }
