"""The rows of a report from what the passes found: every parameter is in one list, with a reason if unmeasured."""

import math
from collections.abc import Generator, Mapping

import torch
from torch import Tensor

from widthwise.measure.alignment_passes import Passes
from widthwise.measure.alignment_processes import SummedLayer
from widthwise.measure.alignment_report import AlignmentReport, LayerAlignment, LookedUp, Unmeasured
from widthwise.measure.recorder import PARAMETRIZED, rms
from widthwise.measure.spectral_norm import spectral_norm
from widthwise.theory import MATRIX_ROLES, Role

REASONS = {
    "convolution": "a transposed convolution: how many entries an output sums over depends on where it lies",
    "_trilinear": "a bilinear layer: it meets two inputs at once",
    "_grouped_mm": "experts in one grouped product: which tokens meet which of them, a router decides anew",
}
"""Operation -> why a tensor that meets its input there is not measured."""


def report_of(
    passes: Passes, layers: Mapping[str, SummedLayer], roles: Mapping[str, Role], *, spectral_iterations: int
) -> AlignmentReport:
    """The report.

    Args:
        passes: of this process.
        layers: its layers, added up over processes.
        roles: tensor name -> role, of those that are known.
        spectral_iterations: 0 leaves the spectral norm out.
    """
    return AlignmentReport(
        layers=tuple(
            LayerAlignment(
                layer=name,
                role=_role(name, roles, passes),
                fan_in=layer.facts.fan_in,
                fan_out=layer.facts.fan_out,
                calls=layer.facts.calls,
                sizes=layer.sizes,
                spectral_norm=stretch,
                note=layer.facts.note,
            )
            for (name, layer), stretch in zip(
                layers.items(), _stretches(passes, layers, spectral_iterations), strict=True
            )
        ),
        looked_up=tuple(_looked_up(name, roles, passes) for name in passes.looked_up),
        unmeasured=tuple(_unmeasured(passes, layers)),
    )


def _role(name: str, roles: Mapping[str, Role], passes: Passes) -> Role | None:
    """The role of a tensor as it is used: an embedding that is multiplied, too, is a readout where it is."""
    first_names = passes.weights.first_names
    first = first_names.get(name, name)
    tied = any(first_names[other] == first for other in passes.looked_up)
    found = roles.get(name, roles.get(first))
    if found is None and name in passes.weights.effective:
        owner, _, tensor = name.rpartition(".")
        inside = f"{owner}.{PARAMETRIZED}.{tensor}.".removeprefix(".")
        found = next(
            (roles[one] for one in roles if one.startswith(inside) and roles[one] in MATRIX_ROLES), None
        )
    return Role.READOUT if tied and found is Role.EMBEDDING else found


def _stretches(passes: Passes, layers: Mapping[str, SummedLayer], iterations: int) -> list[float]:
    """The spectral norm of each layer's dW, or the largest of a stack of matrices; one transfer for all."""
    if not iterations or not layers:
        return [math.nan] * len(layers)
    found: list[Tensor] = []
    for name, layer in layers.items():
        now, then = passes.weights.pair(name)
        change = (now - then).flatten(1) if layer.facts.convolved else torch.atleast_2d(now - then)
        found.append(spectral_norm(change, iterations=iterations).max().double())
    return torch.stack([one.to(found[0].device) for one in found]).tolist()


def _looked_up(name: str, roles: Mapping[str, Role], passes: Passes) -> LookedUp:
    now, then = passes.weights.pair(name)
    role = roles.get(name, roles.get(passes.weights.first_names[name]))
    return LookedUp(name, role, weights=rms(now), change=rms(now - then))


def _unmeasured(passes: Passes, layers: Mapping[str, SummedLayer]) -> Generator[Unmeasured]:
    first_names = passes.weights.first_names
    measured = {first_names.get(name, name): name for name in (*passes.looked_up, *layers)}
    for name, first in first_names.items():
        if first not in measured:
            yield Unmeasured(name, _reason(name, passes, layers))


def _reason(name: str, passes: Passes, layers: Mapping[str, SummedLayer]) -> str:
    owner, _, rest = name.rpartition(f"{PARAMETRIZED}.")
    effective = owner + rest.partition(".")[0]
    if PARAMETRIZED in name and effective in layers:
        return f"measured as {effective}, which its parametrization makes of it"
    met = sorted(passes.met.get(name, ()))
    if not met:
        return "not used on this probe, or by code that cannot be seen"
    known = next((REASONS[operation] for operation in met if operation in REASONS), None)
    dimensions = passes.weights.ours[passes.weights.first_names[name]].dim()
    if known is not None and dimensions > 1:
        return known
    if dimensions < 2:
        return f"a vector, which sums over nothing ({', '.join(met)})"
    return f"in no matrix product of its own ({', '.join(met)})"
