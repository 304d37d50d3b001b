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
AT_ONCE, ON_HOST = 2**23, 2**20
"""Words: 128 MiB as 64-bit products with both keys; 16 MiB on the host, where more memory would have to be mapped."""

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
    keys = _keys(tensors[0].device)
    rows = torch.cat([_hashes(rows, _keys(rows.device)).to(keys.device) for rows in _rows(tensors)], 1)
    while rows.shape[1] > 1:
        halves = torch.stack([rows & 0xFFFFFFFF, rows >> 32], -1).flatten(1)
        rows = _hashes(_in_rows(halves), keys)
    return tuple(rows[:, 0].tolist())


def _rows(tensors: Sequence[Tensor]) -> Generator[Tensor]:
    """The rows of words of all tensors, [rows, ROW], those of small ones together and of large ones in parts."""
    held: list[Tensor] = []
    for tensor in tensors:
        words = tensor.reshape(-1).view(WORDS[tensor.element_size()])
        at_once = ON_HOST if tensor.device.type == "cpu" else AT_ONCE
        for part in map(_in_rows, words.split(at_once) if len(words) else ()):
            alike = not held or (held[0].dtype, held[0].device) == (part.dtype, part.device)
            if not alike or sum(map(len, held)) + len(part) > at_once // ROW:
                yield from _together(held)
                held = []
            held.append(part)
    yield from _together(held)


def _together(held: Sequence[Tensor]) -> Generator[Tensor]:
    if held:
        yield held[0] if len(held) == 1 else torch.cat(tuple(held))


@functools.cache
def _keys(device: torch.device) -> Tensor:
    """[KEYS, ROW], the same for everybody."""
    generator = torch.Generator("cpu").manual_seed(0)
    halves = torch.randint(2**32, (2, KEYS, ROW), generator=generator, device="cpu")
    return (halves[0] << 32 | halves[1]).to(device)


def _in_rows(words: Tensor) -> Tensor:
    """Words [..., n] -> [..., rows, ROW], with zeros at the end."""
    missing = -words.shape[-1] % ROW
    return (torch.nn.functional.pad(words, (0, missing)) if missing else words).unflatten(-1, (-1, ROW))


def _hashes(words: Tensor, keys: Tensor) -> Tensor:
    """Of each row of words, [rows, ROW] or each key's own [KEYS, rows, ROW], with each key: [KEYS, rows]."""
    return (words * keys[:, None]).sum(-1)  # in int64, which wraps around at 2^64
