"""Coordinates of a population: root mean squares of weights, of what layers make of a probe, and of their changes.

The layers' are `alignment.layer_sums`', of whole tensors; all other tensors' are sums of squares over parts, added up
before the root is taken.

Shape legend: P members.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from widthwise.records import SizePoint
from widthwise.train.alignment import layer_sums
from widthwise.train.alignment_plan import matrix_layers
from widthwise.train.placement import WholeTensors
from widthwise.train.reference import Reference
from widthwise.train.trainable import Trainable


@torch.no_grad()
def coordinates(
    population: Trainable,
    reference: Reference,
    *,
    step: int,
    probe_BxT: Tensor,
    gradients: Mapping[str, Tensor] | None = None,
) -> tuple[tuple[SizePoint, ...], ...]:
    """Of every member, a point for each tensor; where tensors are in parts, every process has the same numbers.

    Args:
        reference: what changes are counted from.
        step: how many steps were done.
        probe_BxT: token ids, all of them on every process.
        gradients: of the whole batch, by name, this process's parts; None leaves them out.

    Multipliers are folded in, as `SizePoint` has it.
    """
    layers = matrix_layers(population.recipe.model)
    sums = layer_sums(
        population.recipe.model,
        WholeTensors(population.parameters, population.placement),
        reference,
        multipliers=population.multipliers,
        probe_BxT=probe_BxT,
        layers=layers,
        changes=True,
    )
    members = len(next(iter(population.parameters.values())))
    points: list[list[SizePoint]] = [[] for _ in range(members)]
    for name, part in population.parameters.items():
        m_P = torch.ones(members) if population.multipliers is None else population.multipliers[name]
        m_P = m_P.double().to(part.device)
        squares: dict[str, Tensor] = {}
        if gradients is not None:
            squares["gradient"] = _mean_square(population, gradients[name]) / m_P.square()
        if name in layers:
            sizes = sums.sizes(name)
            squares |= {"input": sizes.input, "input_change": sizes.input_change}
            for field in ("weight", "change", "output", "output_change"):
                squares[field] = getattr(sizes, field) * m_P.square()
        else:
            squares |= {
                field: mean_square_P * m_P.square()
                for field, mean_square_P in _weight_and_change(population, reference, name, part).items()
            }
        found = {field: mean_square_P.sqrt().tolist() for field, mean_square_P in squares.items()}
        for member in range(members):
            own = {field: values[member] for field, values in found.items()}
            points[member].append(SizePoint(step, name, **own))
    return tuple(tuple(of_member) for of_member in points)


def _weight_and_change(
    population: Trainable, reference: Reference, name: str, part: Tensor
) -> dict[str, Tensor]:
    change = population.placement.part(name, reference.per_member(reference.tensor(name)))
    return {
        "weight": _mean_square(population, part),
        "change": _mean_square(population, part - change),
    }


def _mean_square(population: Trainable, part: Tensor) -> Tensor:
    """Of each member's tensor, [P] float64, from this process's part of it."""
    sums_2xP = torch.stack(
        [
            part.double().square().flatten(1).sum(1),
            torch.full_like(part.flatten(1)[:, 0], part[0].numel()).double(),
        ]
    )
    total_P, count_P = population.placement.summed(sums_2xP)
    return total_P / count_P
