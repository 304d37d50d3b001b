"""Sums of one report added up over the processes that share a model, before any logarithm is taken."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from widthwise.measure.alignment_passes import Layer
from widthwise.measure.alignment_reference import named_tensors
from widthwise.measure.alignment_sizes import ProductSizes, Tally
from widthwise.theory import AlignmentQuantity

PARTS = ("output", "matrix", "vector", "tokens")
NUMBERS = 2 * len(PARTS)
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


def packed(layers: Mapping[str, Layer], names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """All sums [names, quantities, numbers] and all facts [names, FACTS], in an order that processes share."""
    first = next((sizes.output.total for layer in layers.values() for sizes in layer.sizes.values()), None)
    device = torch.device("cpu") if first is None else first.device
    sums = torch.zeros(len(names), len(AlignmentQuantity), NUMBERS, dtype=torch.float64, device=device)
    facts = [[0] * FACTS for _ in names]
    for row, name in enumerate(names):
        layer = layers.get(name)
        if layer is None:
            continue
        facts[row] = [layer.fan_in, layer.fan_out, int(layer.convolved), layer.calls, int(bool(layer.note))]
        for column, quantity in enumerate(AlignmentQuantity):
            if quantity in layer.sizes:
                sums[row, column] = torch.stack(list(_numbers(layer.sizes[quantity], device)))
    return sums, torch.tensor(facts, device=device).reshape(len(names), FACTS)


def _numbers(sizes: ProductSizes, device: torch.device) -> Iterable[Tensor]:
    for part in PARTS:
        tally = getattr(sizes, part)
        yield tally.total.to(device)
        yield torch.as_tensor(tally.count, dtype=torch.float64, device=device)


def summed(layers: Mapping[str, Layer], names: Sequence[str], groups: Sequence[Any]) -> dict[str, Layer]:
    """The layers' sums on the host, added up over the processes of every group: one transfer, and one sum a group.

    A layer that some process did not use is measured by the others. One that cannot be compared with the reference on
    some process is not on any.

    Args:
        layers: of this process.
        names: every name that any process may have, in one order.
        groups: each must be called by all of its processes.
    """
    sums, facts = packed(layers, names)
    for group in groups:
        torch.distributed.all_reduce(sums, group=group)
        torch.distributed.all_reduce(facts, op=torch.distributed.ReduceOp.MAX, group=group)
    sums, facts = sums.cpu(), facts.cpu()
    notes = {name: layer.note for name, layer in layers.items()}
    found: dict[str, Layer] = {}
    for row, name in enumerate(names):
        fan_in, fan_out, convolved, calls, noted = (int(number) for number in facts[row])
        if not calls:
            continue
        note = notes.get(name) or ("not comparable with the reference on another process" if noted else "")
        kept = (AlignmentQuantity.PRODUCT,) if note else tuple(AlignmentQuantity)
        found[name] = Layer(
            fan_in,
            fan_out,
            bool(convolved),
            calls,
            {q: _sizes(sums[row, place]) for place, q in enumerate(AlignmentQuantity) if q in kept},
            note,
        )
    return found


def _sizes(numbers: Tensor) -> ProductSizes:
    tallies = {
        part: Tally(numbers[2 * place], int(numbers[2 * place + 1])) for place, part in enumerate(PARTS)
    }
    return ProductSizes(**tallies)
