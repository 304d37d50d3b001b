"""How an updated weight becomes bfloat16 again: to the nearest, or up or down at random with the right mean.

A step smaller than half a unit in the last place of a bfloat16 weight (a 1/512 of it) is lost by rounding to nearest,
every time. Stochastic rounding takes it with the probability that keeps the mean.

The random bits are a hash of (seed, step, tensor, element): the same in every implementation, after a restart, and in
whatever order things run; no global generator is touched.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9
"""2^32 over the golden ratio: multiples of it fall far apart."""
_MIX = 0x85EBCA6B


def mixed(word: Tensor) -> Tensor:
    """A 32-bit hash of each 32-bit word, kept in int64.

    Source: C. Wellons, "Prospecting for hash functions" (2018), lowbias32.

    Example:
        >>> mixed(torch.tensor([1])).item()
        1753845952
    """
    word = word ^ (word >> 16)
    word = (word * 0x7FEB352D) & _WORD
    word = word ^ (word >> 15)
    word = (word * 0x846CA68B) & _WORD
    return word ^ (word >> 16)


def stream(seed: int, index: int, step: Tensor | float) -> Tensor:
    """The 32-bit word that names the random bits of one tensor at one step, as an int64 tensor of no dimensions."""
    step = step.to(torch.int64) if isinstance(step, Tensor) else torch.tensor(int(step))
    return mixed((mixed((step * _GOLDEN + seed) & _WORD) + index * _MIX) & _WORD)


def random_bits(
    count: int, *, seed: int, index: int, step: Tensor | float, device: torch.device, first: int = 0
) -> Tensor:
    """16 random bits for each of `count` elements from number `first` on, as int64: the same however they are cut."""
    places = torch.arange(first, first + count, device=device)
    return mixed(places ^ stream(seed, index, step).to(device)) & 0xFFFF


@dataclass(frozen=True)
class NearestRounding:
    """To the nearest, ties to even: what a cast does."""

    def round(
        self, value: Tensor, dtype: torch.dtype, *, index: int, step: Tensor | float, first: int = 0
    ) -> Tensor:
        """The value in the dtype."""
        return value.to(dtype)


@dataclass(frozen=True)
class StochasticRounding:
    """To one of the two bfloat16 neighbours of a float32, to each with the probability that keeps the mean.

    The probability is kept to 2^-16. Other dtypes are rounded to nearest. Elements are numbered in the order of memory.

    Raises:
        ValueError: the seed is not in [0, 2^32).

    Example:
        >>> third = torch.full((90_000,), 1 + 2.0**-7 / 3)
        >>> rounded = StochasticRounding(seed=0).round(third, torch.bfloat16, index=0, step=1.0)
        >>> bool(abs(rounded.double().mean() - third.double().mean()) < 5 * 2.0**-7 / 300)
        True
    """

    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= _WORD:
            raise ValueError(f"seed {self.seed}: give a number from 0 to 2^32 - 1")

    def round(
        self, value: Tensor, dtype: torch.dtype, *, index: int, step: Tensor | float, first: int = 0
    ) -> Tensor:
        """The value in the dtype.

        Args:
            index: the tensor's place among its optimizer's.
            step: counts from 1.
            first: the number of the value's first element, where it is a piece of its tensor.
        """
        if dtype != torch.bfloat16 or value.dtype != torch.float32:
            return value.to(dtype)
        noise = random_bits(
            value.numel(), seed=self.seed, index=index, step=step, device=value.device, first=first
        )
        order = torch.empty_like(value, dtype=torch.int64)
        order.as_strided((value.numel(),), (1,)).copy_(noise)
        bits = (value.view(torch.int32) + order.to(torch.int32)) & -0x10000
        return torch.where(value.isfinite(), bits.view(torch.float32), value).to(dtype)


Rounding = NearestRounding | StochasticRounding

NEAREST = NearestRounding()
