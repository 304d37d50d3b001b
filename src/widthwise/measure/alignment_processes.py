"""Sums of one report added up over the processes that share a model, before any logarithm is taken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from widthwise.measure.alignment_passes import Layer, Passes
from widthwise.measure.alignment_reference import named_tensors
from widthwise.measure.alignment_sizes import ProductSizes
from widthwise.measure.alignment_sums import NUMBERS, QUANTITIES, PassSums, sizes_of
from widthwise.theory import AlignmentQuantity

FACTS = 5


def groups_of(model: nn.Module) -> list[Any]:
    """The process groups that a model is spread over: DDP's own, or one for each axis of its tensors' mesh."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return []
    for module in model.modules():
        if isinstance(module, nn.parallel.DistributedDataParallel):
            return [module.process_group]
    from torch.distributed.tensor import DTensor

    for tensor in named_tensors(model).values():
        if isinstance(tensor, DTensor):
            return list(tensor.device_mesh.get_all_groups())
    return []


def packed(layers: Mapping[str, Layer], sums: PassSums, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """All sums [names, quantities, NUMBERS] and all facts [names, FACTS], in an order that processes share."""
    found = sums.on_host()
    none = torch.zeros(len(QUANTITIES), NUMBERS, dtype=torch.float64, device="cpu")
    facts = [
        [layer.fan_in, layer.fan_out, int(layer.convolved), layer.calls, int(bool(layer.note))]
        if (layer := layers.get(name)) is not None
        else [0] * FACTS
        for name in names
    ]
    numbers = torch.stack([found.get(name, none) for name in names]) if names else none[None][:0]
    return numbers, torch.tensor(facts, device="cpu").reshape(len(names), FACTS)


@dataclass(frozen=True)
class SummedLayer:
    """A layer with its sums over all processes, on the host.

    Args:
        facts: of one process that used it.
        sizes: of every product; of the whole one alone where calls cannot be compared with the reference.
    """

    facts: Layer
    sizes: Mapping[AlignmentQuantity, ProductSizes]


def summed(passes: Passes, names: Sequence[str], groups: Sequence[Any]) -> dict[str, SummedLayer]:
    """The layers' sums on the host, added up over the processes of every group: one transfer, and one sum a group.

    A layer that some process did not use is measured by the others. One that cannot be compared with the reference on
    some process is not on any.

    Args:
        passes: of this process.
        names: every name that any process may have, in one order.
        groups: each must be called by all of its processes.
    """
    layers = passes.layers
    sums, facts = packed(layers, passes.sums, names)
    if groups:
        sums, facts = sums.to(passes.sums.device), facts.to(passes.sums.device)
    for group in groups:
        torch.distributed.all_reduce(sums, group=group)
        torch.distributed.all_reduce(facts, op=torch.distributed.ReduceOp.MAX, group=group)
    sums, facts = sums.cpu(), facts.cpu()
    notes = {name: layer.note for name, layer in layers.items()}
    found: dict[str, SummedLayer] = {}
    for name, numbers, sizes in zip(names, facts.tolist(), sizes_of(sums), strict=True):
        fan_in, fan_out, convolved, calls, noted = numbers
        if not calls:
            continue
        note = notes.get(name) or ("not comparable with the reference on another process" if noted else "")
        kept = (AlignmentQuantity.PRODUCT,) if note else QUANTITIES
        found[name] = SummedLayer(
            Layer(fan_in, fan_out, bool(convolved), calls, note),
            {q: one for q, one in zip(QUANTITIES, sizes, strict=True) if q in kept},
        )
    return found
