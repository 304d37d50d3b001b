"""A fingerprint of tensors' bits, computed where they are: integers alone, so that every device finds the same ones.

    h(x) = sum_i K_i x_i  mod 2^64        for each row of ROW words x_i of 32 bits,

then the same of the rows' hashes, cut into words, until one is left; twice, with independent keys K. If two inputs of
one length differ, a row does, by d_i = 2^k odd with k < 32, so that a random key hides it with probability 2^(k - 64)
at most, and a level with 2^-33. Of W words, levels are ln(W) / ln(ROW / 2): 4 for 10^10. So different inputs, chosen
without knowledge of the keys, share both hashes with probability (4 / 2^33)^2 = 2^-62 at most: no proof against
somebody who looks for a collision, and one against everything else.

Source: Carter and Wegman, Universal classes of hash functions, J. Comput. Syst. Sci. 18 (1979); the bound for words
    modulo 2^64 is Lemire and Kaser, Strongly universal string hashing is fast, Comput. J. 57 (2014).
"""

import functools
from collections.abc import Generator, Sequence

import torch
from torch import Tensor

KEYS, ROW = 2, 1024
AT_ONCE = 2**20
"""Words: 8 MiB as 64-bit integers, and as much of products."""

WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int32, 16: torch.int32}
"""Bytes of an entry -> the integers that its bits are read as."""


def fingerprint(tensors: Sequence[Tensor]) -> tuple[int, ...]:
    """KEYS integers of 64 bits; shapes and types are not in them.

    Example:
        >>> one = torch.tensor([1.0, 2.0])
        >>> fingerprint([one]) == fingerprint([one.clone()])
        True
        >>> fingerprint([one]) == fingerprint([one.nextafter(one + 1)])
        False
    """
    if not any(tensor.numel() for tensor in tensors):
        return (0,) * KEYS
    first = _keys(tensors[0].device)
    rows = torch.cat([part.to(first.device) for tensor in tensors for part in _hashed_rows(tensor)], 1)
    while rows.shape[1] > 1:
        halves = torch.stack([rows & 0xFFFFFFFF, rows >> 32], -1).flatten(1)
        rows = torch.stack([_hashed(words, key) for words, key in zip(halves, first, strict=True)])
    return tuple(rows[:, 0].tolist())


def _hashed_rows(tensor: Tensor) -> Generator[Tensor]:
    """The hashes of a tensor's rows of words, [KEYS, rows], part by part."""
    if tensor.numel():
        keys = _keys(tensor.device)
        for words in tensor.contiguous().reshape(-1).view(WORDS[tensor.element_size()]).split(AT_ONCE):
            long = words.long()
            yield torch.stack([_hashed(long, key) for key in keys])


@functools.cache
def _keys(device: torch.device) -> Tensor:
    """[KEYS, ROW], the same for everybody."""
    generator = torch.Generator("cpu").manual_seed(0)
    halves = torch.randint(2**32, (2, KEYS, ROW), generator=generator, device="cpu")
    return (halves[0] << 32 | halves[1]).to(device)


def _hashed(words: Tensor, key: Tensor) -> Tensor:
    """64-bit words [n] -> hashes of their rows [n / ROW], with zeros at the end."""
    missing = -len(words) % ROW
    if missing:
        words = torch.nn.functional.pad(words, (0, missing))
    return (words.unflatten(0, (-1, ROW)) * key).sum(-1)  # int64 wraps around at 2^64
