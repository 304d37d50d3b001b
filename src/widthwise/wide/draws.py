"""Normal draws that are a function of (seed, tensor, element): made where they are needed, in any order and any pieces.

Two hashes of an element's number give two uniform numbers, and these one normal number (Box and Muller 1958):

    z = sqrt(-2 ln u1) cos(2 pi u2),    u = (hash + 1/2) / 2^32

So a model that fits in no memory at once is drawn a piece at a time, on its device, without a generator's state. The
draws of `train.initial_parameters` are others: those come from one stream of the CPU, which at 27 billion parameters
takes minutes. |z| is at most 6.8.
"""

import hashlib
import math

import torch
from torch import Tensor

from widthwise.optim.rounding import mixed

_WORD = 0xFFFFFFFF


def normal_draws(seed: int, name: str, *, first: int, count: int, device: torch.device) -> Tensor:
    """Elements `first` to `first + count` of a tensor's draw, float32.

    Example:
        >>> whole = normal_draws(0, "readout", first=0, count=6, device=torch.device("cpu"))
        >>> torch.equal(whole[4:], normal_draws(0, "readout", first=4, count=2, device=torch.device("cpu")))
        True

    Source: G. E. P. Box and M. E. Muller, "A note on the generation of random normal deviates" (1958).
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    keys = [int.from_bytes(digest[i : i + 8], "big") for i in (0, 8)]
    place = torch.arange(first, first + count, device=device)
    low, high = place & _WORD, place >> 32
    radius, angle = (
        _uniform(mixed(mixed((low + (key >> 32)) & _WORD) ^ high ^ (key & _WORD))) for key in keys
    )
    return radius.log().mul_(-2).clamp_min_(0).sqrt_().mul_(angle.mul_(2 * math.pi).cos_())


def _uniform(word: Tensor) -> Tensor:
    """Words of 32 bits as numbers in (0, 1], float32."""
    return word.float().add_(0.5).mul_(2.0**-32)
