"""What an optimizer reports when a gradient or a moment became infinite or NaN."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class NonFinite:
    """One tensor whose moments are not all finite any more.

    An infinite or NaN gradient makes its moment so for good, and so does a square that overflows: the first step at
    which it happened stays on record until the optimizer is given another state.
    """

    group: int
    index: int
    name: str | None
    step: int

    def __str__(self) -> str:
        """For a log: `layers.0.weight: not finite since step 7`."""
        name = self.name or f"parameter {self.index} of group {self.group}"
        return f"{name}: not finite since step {self.step}"


def read_flags(flags: Sequence[Tensor]) -> list[int]:
    """The numbers of flags on any devices, with one wait for each device.

    Example:
        >>> read_flags([torch.tensor(0.0), torch.tensor(7.0)])
        [0, 7]
    """
    places: dict[torch.device, list[int]] = {}
    for i, flag in enumerate(flags):
        places.setdefault(flag.device, []).append(i)
    found = [0] * len(flags)
    for chosen in places.values():
        for i, value in zip(chosen, torch.stack([flags[i] for i in chosen]).tolist(), strict=True):
            found[i] = int(value)
    return found


def find_non_finite(
    groups: Sequence[Mapping[str, Any]], state: Mapping[Tensor, Mapping[str, Tensor]]
) -> tuple[NonFinite, ...]:
    """The tensors of an optimizer's groups whose state has a note in `non_finite_step`."""
    places: list[tuple[int, int]] = []
    flags: list[Tensor] = []
    for number, group in enumerate(groups):
        for i, parameter in enumerate(group["params"]):
            if parameter in state:
                places.append((number, i))
                flags.append(state[parameter]["non_finite_step"])
    found: list[NonFinite] = []
    for (number, i), step in zip(places, read_flags(flags), strict=True):
        names = groups[number].get("param_names")
        if step:
            found.append(NonFinite(number, i, names[i] if names else None, step))
    return tuple(found)
