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
    keys = _keys(seed, name)
    place = torch.arange(first, first + count, device=device)
    low, high = place & _WORD, place >> 32
    radius, angle = (
        _uniform(mixed(mixed((low + (key >> 32)) & _WORD) ^ high ^ (key & _WORD))) for key in keys
    )
    return radius.log().mul_(-2).clamp_min_(0).sqrt_().mul_(angle.mul_(2 * math.pi).cos_())


def fill_normal_(flat: Tensor, seed: int, name: str, *, init: float, first: int = 0) -> None:
    """Write init * `normal_draws` of a whole tensor, by a kernel that keeps nothing beside it.

    Args:
        flat: contiguous, of one dimension.
        first: the number of its first element.
    """
    from widthwise.wide.draws_kernel import AT_ONCE, kernel

    words = [word for key in _keys(seed, name) for word in (key >> 32, key & _WORD)]
    keys = torch.tensor(words, device=flat.device)
    grid = (-(-len(flat) // AT_ONCE),)
    kernel()[grid](flat, len(flat), first, init, keys, BLOCK=AT_ONCE)


def _keys(seed: int, name: str) -> tuple[int, int]:
    """Two words of 64 bits that name a tensor's draw."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big")


def _uniform(word: Tensor) -> Tensor:
    """Words of 32 bits as numbers in (0, 1], float32."""
    return word.float().add_(0.5).mul_(2.0**-32)
