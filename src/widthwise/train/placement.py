"""Where a population's tensors are: whole in this process, or a part of each in every process of a group.

Whatever is computed of whole tensors goes through here, so that sums are taken over all parts before any root or
logarithm, and every process of a group has the same numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Placement(Protocol):
    """Where tensors are. All processes of a group call the same methods in the same order."""

    def whole(self, name: str, part: Tensor) -> Tensor:
        """All of a tensor [P, ...], from this process's part of it.

        Args:
            name: of the model's tensor whose shape it has.
        """
        ...

    def part(self, name: str, whole: Tensor) -> Tensor:
        """This process's part of a tensor [P, ...]."""
        ...

    def summed(self, value: Tensor) -> Tensor:
        """The sum over all parts of what was computed of each."""
        ...

    def least(self, number: int) -> int:
        """The least of the processes' numbers: what all of them can do."""
        ...


@dataclass(frozen=True)
class Undivided:
    """Whole in this process.

    Example:
        >>> import torch
        >>> here = Undivided()
        >>> here.whole("readout", torch.ones(1)), here.summed(torch.ones(1)), here.least(3)
        (tensor([1.]), tensor([1.]), 3)
    """

    def whole(self, name: str, part: Tensor) -> Tensor:
        """The tensor itself."""
        return part

    def part(self, name: str, whole: Tensor) -> Tensor:
        """The tensor itself."""
        return whole

    def summed(self, value: Tensor) -> Tensor:
        """The value itself."""
        return value

    def least(self, number: int) -> int:
        """The number itself."""
        return number


UNDIVIDED = Undivided()


class WholeTensors(Mapping[str, Tensor]):
    """name -> a whole tensor, gathered when it is asked for and not kept."""

    def __init__(self, parts: Mapping[str, Tensor], placement: Placement) -> None:
        self._parts, self._placement = parts, placement

    def __getitem__(self, name: str) -> Tensor:
        return self._placement.whole(name, self._parts[name])

    def __iter__(self):
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)
