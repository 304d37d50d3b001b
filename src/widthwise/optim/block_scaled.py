"""Optimizer state in 8 bits: blocks of 256 elements, each with its own largest value, and levels by their logarithm.

    x = scale * sign * 2^(-k / steps),    k = 0, 1, 2, ...,    or 0                        scale = max |x| of the block

Neighbouring levels are a factor 2^(1/steps) apart, so the relative error is the same for every size down to the lowest
level, and the code needs no table. With s = 2^(1/steps) - 1 a rounded value is off by less than s times itself.

A value goes to one of its two neighbours at random, so that the mean is kept: to the nearest, a moment that falls by
less than half a level a step would never fall. Rounding x has the variance p (1 - p) (s x)^2, where p says how near the
upper level is: (s x)^2 / 6 over all places between two levels. A running average with decay beta adds up what is left
of all roundings: a relative variance of s^2 / (6 (1 - beta^2)) at most, where every step moves it by levels, and of
s^2 / 6 where it stands still, because then it is near a level.

    FIRST   8 levels an octave, s = 9.05 %, 15.9 octaves: m at beta1 = 0.9 is off by 3.7 to 8.5 % rms
    ROOT   16 levels an octave of u = sqrt(v), 15.9 octaves: v's s is 9.05 % and its mean is what is kept; v at
           beta2 = 0.98 is off by 3.7 to 18.6 % rms, u by half of it

(Under gradients that are noise, m is off by 8.0 % and v by 16.1 %; v itself, which then averages 50 squares, differs
from its mean by 14.2 %.)

Below its lowest level FIRST rounds to zero or up, with the mean kept; ROOT takes the lowest level, never zero: a zero
under a moment that is not would make a step of any size. Blocks that are not finite decode to NaN.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 256
"""Elements that share a scale."""


@dataclass(frozen=True)
class LogCode:
    """One way to write a value in 8 bits. See the module.

    Args:
        steps: levels an octave.
        levels: how many beside zero, of each sign.
        signed: whether the upper bit is a sign.
        power: of the value, the one whose mean stochastic rounding keeps.
        to_zero: whether values below the lowest level may become zero.
    """

    steps: int
    levels: int
    signed: bool
    power: int
    to_zero: bool

    def encode(self, value: Tensor, bits: Tensor) -> tuple[Tensor, Tensor]:
        """Codes [blocks, 256] uint8, and scales [blocks] float32.

        Args:
            value: float32 [blocks, 256]; not negative where the code is not signed.
            bits: 16 random bits for each element.

        Example:
            >>> value = torch.zeros(1, 256)
            >>> value[0, :3] = torch.tensor([1.0, -0.5, 0.25])
            >>> codes, scales = FIRST.encode(value, torch.zeros(1, 256, dtype=torch.int64))
            >>> codes[0, :4], FIRST.decode(codes, scales)[0, :4]
            (tensor([127, 247, 111,   0], dtype=torch.uint8), tensor([ 1.0000, -0.5000,  0.2500,  0.0000]))
        """
        scale = value.abs().amax(1)
        ratio = value.abs() / torch.where(scale == 0, 1.0, scale)[:, None]
        above = (
            (-self.steps * ratio.log2()).floor().clamp(0, self.levels - 1)
        )  # k of the level above the value
        high, low = self._level(above), self._level(above + 1)
        if self.to_zero:
            low = torch.where(above < self.levels - 1, low, 0.0)
        chance = (ratio**self.power - low**self.power) / (high**self.power - low**self.power)
        code = self.levels - above - ((bits + 0.5) / 65536 >= chance).float()
        if not self.to_zero:
            code = code.clamp_min(1)
        code = torch.where(ratio > 0, code, 0.0).to(torch.uint8)  # zero, and whatever is not a number
        if self.signed:
            code = torch.where((value < 0) & (code > 0), code | 128, code)
        return code, scale

    def decode(self, codes: Tensor, scales: Tensor) -> Tensor:
        """The values, float32 [blocks, 256]."""
        place = codes & 127 if self.signed else codes
        size = torch.where(place == 0, 0.0, self._level(self.levels - place.float()))
        if self.signed:
            size = torch.where(codes > 127, -size, size)
        return size * scales[:, None]

    def _level(self, k: Tensor) -> Tensor:
        return torch.exp2(-k / self.steps)


FIRST = LogCode(steps=8, levels=127, signed=True, power=1, to_zero=True)
"""For averages of gradients."""

ROOT = LogCode(steps=16, levels=255, signed=False, power=2, to_zero=False)
"""For roots of averages of squares."""


def blocks_of(numel: int) -> int:
    """How many blocks so many elements take."""
    return -(-numel // BLOCK)


def in_blocks(flat: Tensor) -> Tensor:
    """Elements [n] as [blocks, 256], zeros after the last."""
    missing = -len(flat) % BLOCK
    padded = torch.nn.functional.pad(flat, (0, missing)) if missing else flat
    return padded.view(-1, BLOCK)
