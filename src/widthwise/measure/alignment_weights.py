"""W and W_0 of a model's tensors while its products are repeated: gathered, under any name, one tensor at a time."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from widthwise.measure.alignment_reference import named_tensors, plain_model, whole
from widthwise.scaling.parameter_names import without_wrappers
from widthwise.scaling.shards import local_part

AT_ONCE = 2**26
"""Bytes that are held while numbers change places, where no tensor has more."""


def beside(ours: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The reference where the model's tensors are: what is elsewhere is copied there once, for both passes.

    To a CUDA device the copies are ordered and not waited for: from page-locked memory, as a `Snapshot` on the host is,
    the host goes on to start the first pass meanwhile. Entries that share their memory, as of tables that were tied and
    no longer are, get memory of their own: each has to hold another tensor's numbers.
    """
    found: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, part in reference.items():
        device = local_part(ours[name]).device
        part = part.to(device, non_blocking=device.type == "cuda")
        found[name] = part.clone() if part.data_ptr() in taken else part
        taken.add(part.data_ptr())
    return found


@contextmanager
def exchanged(ours: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> Generator[None]:
    """A block in which the model has the reference's numbers, and the reference the model's; then they change back.

    Buffers are copied from the reference and stay: a forward pass may change them, and `undisturbed` restores them.
    """
    pairs: list[tuple[Tensor, Tensor]] = []
    for name, theirs in reference.items():
        # .data: its version stays, and a gradient that is under way remains valid
        mine = local_part(ours[name]).data
        if not isinstance(ours[name], nn.Parameter):
            mine.copy_(theirs)
        elif mine.data_ptr() != theirs.data_ptr():
            pairs.append((mine, theirs.data))
    done: list[tuple[Tensor, Tensor]] = []
    try:
        for group in _groups(pairs):
            _exchange(group)
            done += group
        yield
    finally:
        for group in _groups(done):
            _exchange(group)


def _groups(pairs: Sequence[tuple[Tensor, Tensor]]) -> Generator[list[tuple[Tensor, Tensor]]]:
    """Pairs that are exchanged together: `AT_ONCE` bytes, or one tensor that is larger."""
    group: list[tuple[Tensor, Tensor]] = []
    for pair in pairs:
        if group and sum(mine.nbytes for mine, _ in group) + pair[0].nbytes > AT_ONCE:
            yield group
            group = []
        group.append(pair)
    if group:
        yield group


def _exchange(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    ones, twos = map(list, zip(*pairs, strict=True))
    held = [one.clone() for one in ones]
    torch._foreach_copy_(ones, twos)  # pyright: ignore[reportPrivateImportUsage]
    torch._foreach_copy_(twos, held)  # pyright: ignore[reportPrivateImportUsage]


def first_names(model: nn.Module) -> dict[str, str]:
    """Every name of every parameter -> the parameter's first name."""
    first: dict[int, str] = {}
    return {
        without_wrappers(name): first.setdefault(id(parameter), without_wrappers(name))
        for name, parameter in plain_model(model).named_parameters(remove_duplicate=False)
    }


class Owned(NamedTuple):
    """Where a parameter is found, whatever object it is at the time: `fully_shard` puts another one there."""

    owner: nn.Module
    key: str
    name: str


def parameters_under(model: nn.Module) -> dict[str, list[Owned]]:
    """Module's name -> its own and its descendants' parameters, as `named_parameters` orders and names them.

    Collected in one walk: asking every module would walk each branch once for every module above it.
    """
    found: dict[str, list[Owned]] = {}

    def visit(module: nn.Module, prefix: str) -> list[Owned]:
        start = f"{prefix}." if prefix else ""
        owned = [
            Owned(module, key, without_wrappers(start + key))
            for key, parameter in module._parameters.items()
            if parameter is not None
        ]
        for name, child in module.named_children():
            owned += visit(child, start + name)
        first: dict[int, Owned] = {}
        for one in owned:
            first.setdefault(id(one.owner._parameters[one.key]), one)
        found.setdefault(prefix, list(first.values()))
        return found[prefix]

    visit(model, "")
    return found


class Weights:
    """W and W_0 of every tensor, in the precision in which products are repeated.

    Args:
        model: whose tensors they are.
        reference: this process's part of W_0, by first names, where the model's tensors are.
        before: what parametrizations made of W_0, by name.
    """

    def __init__(
        self, model: nn.Module, reference: Mapping[str, Tensor], before: Mapping[str, Tensor]
    ) -> None:
        self.ours = named_tensors(model)
        self.first_names = first_names(model)
        self.effective: dict[str, Tensor] = {}
        """What parametrizations made of W, by name."""
        self._reference, self._before = reference, before
        self._held: tuple[str, Tensor, Tensor] | None = None

    def pair(self, name: str, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """W and W_0 of a tensor, under any of its names; every process must call this if it is sharded.

        Args:
            device: where to; left out, where the tensor is. Offloaded shards are not where products are made.
        """
        if self._held is None or self._held[0] != name:
            now, then = self._both(name)
            precision = torch.promote_types(now.dtype, torch.float32)
            where = now.device if device is None else device
            self._held = (name, now.to(where, precision), then.to(where, precision))
        return self._held[1:]

    def _both(self, name: str) -> tuple[Tensor, Tensor]:
        if name in self.effective:
            return self.effective[name], self._before[name]
        first = self.first_names[name]
        ours = self.ours[first]
        part = self._reference[first]
        if local_part(ours) is ours:
            return ours.detach(), part
        from torch.distributed.tensor import DTensor

        assert isinstance(ours, DTensor)
        theirs = DTensor.from_local(
            part, ours.device_mesh, ours.placements, run_check=False, shape=ours.shape, stride=ours.stride()
        )
        return whole(ours.detach()), whole(theirs)
