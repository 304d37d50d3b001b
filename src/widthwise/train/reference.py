"""The weights that changes are counted from.

W_0 is not read off a training that has gone on: it is kept where there is room, or drawn again from the members' seeds,
which gives the same bits (`initial_tensor`). Members that begin alike share one start: those that differ in their rates
alone, say.

Shape legend: P members, R distinct starts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.train.member import Member, Recipe
from widthwise.train.placement import UNDIVIDED, Placement
from widthwise.train.population import initial_tensor


@dataclass(frozen=True)
class Reference:
    """R states of a model's weights, and which of them each member is compared with.

    Args:
        firsts: [R], for each state a member that it is the reference of; multipliers are that member's.
        rows: [P], which state is each member's.
        tensor: name -> [R, ...], whole, float32 on the members' device.
    """

    firsts: Tensor
    rows: Tensor
    tensor: Callable[[str], Tensor]

    def per_member(self, states_Rx: Tensor) -> Tensor:
        """[P, ...] from [R, ...]: each member's own; a view where all have the same one, or each the next."""
        states, members = len(self.firsts), len(self.rows)
        if states == 1:
            return states_Rx.expand(members, *states_Rx.shape[1:])
        return states_Rx if states == members else states_Rx.index_select(0, self.rows)


def distinct_starts(members: Sequence[Member]) -> tuple[tuple[int, ...], list[int]]:
    """The first member of every distinct start, in order, and the start of each member.

    A start is a seed and each tensor's init and multiplier.
    """
    starts: dict[object, int] = {}
    firsts: list[int] = []
    rows: list[int] = []
    for position, member in enumerate(members):
        own = tuple((name, n.init, n.multiplier) for name, n in sorted(member.numbers.items()))
        if (key := (member.init_seed, own)) not in starts:
            starts[key] = len(firsts)
            firsts.append(position)
        rows.append(starts[key])
    return tuple(firsts), rows


def initial_reference(
    recipe: Recipe,
    members: Sequence[Member],
    initial: Mapping[str, Tensor],
    *,
    device_bytes: int | None = None,
    host_bytes: int | None = None,
    placement: Placement = UNDIVIDED,
) -> Reference:
    """The members' weights at step 0.

    Args:
        initial: these weights, or this process's parts of them, [P, ...]; copied from, not kept.
        device_bytes: the most that the copy may take on the device; None for no bound.
        host_bytes: else on the host; beyond that nothing is kept, and tensors are drawn again when asked for.
        placement: where the other parts are; parts are kept as parts, and what is asked for is whole.
    """
    positions, states = distinct_starts(members)
    device = next(iter(initial.values())).device
    size = 4 * sum(tensor[0].numel() for tensor in initial.values()) * len(positions)
    firsts, rows = torch.tensor(positions, device=device), torch.tensor(states, device=device)
    if device_bytes is None or size <= device_bytes:
        kept = {name: tensor.detach().index_select(0, firsts) for name, tensor in initial.items()}
        return Reference(firsts, rows, lambda name: placement.whole(name, kept[name]))
    if host_bytes is None or size <= host_bytes:
        held = {name: _on_host(tensor, positions) for name, tensor in initial.items()}
        return Reference(
            firsts, rows, lambda name: placement.whole(name, held[name].to(device, non_blocking=True))
        )
    tensors, beginners = recipe.model.tensors(), [members[position] for position in positions]
    return Reference(firsts, rows, lambda name: initial_tensor(tensors[name], name, beginners, device))


def current_reference(parameters: Mapping[str, Tensor], *, placement: Placement = UNDIVIDED) -> Reference:
    """The weights as they are now, each member its own; a copy on the device, of this process's parts."""
    kept = {name: tensor.detach().clone() for name, tensor in parameters.items()}
    first = next(iter(kept.values()))
    everyone_P = torch.arange(len(first), device=first.device)
    return Reference(everyone_P, everyone_P, lambda name: placement.whole(name, kept[name]))


def _on_host(tensor: Tensor, rows: Sequence[int]) -> Tensor:
    """Some members' tensors in the host's memory, pinned for a CUDA device, one member at a time on the way."""
    held = torch.empty(
        len(rows), *tensor.shape[1:], dtype=tensor.dtype, pin_memory=tensor.device.type == "cuda"
    )
    for row, position in enumerate(rows):
        held[row].copy_(tensor.detach()[position])
    return held
