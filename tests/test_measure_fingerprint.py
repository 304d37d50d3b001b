"""Fingerprints: against Python's integers, and every kind of difference that a redraw could have."""

import random

import pytest
import torch
from torch import Tensor

from widthwise.measure import fingerprint as module
from widthwise.measure.fingerprint import KEYS, ROW, fingerprint


def by_hand(tensors: list[Tensor]) -> tuple[int, ...]:
    """The definition, in integers without bounds."""
    found: list[int] = []
    for key in module._keys(torch.device("cpu")).tolist():
        rows = [
            row
            for tensor in tensors
            for row in hashed(tensor.contiguous().view(torch.int32).flatten().tolist(), key)
        ]
        while len(rows) > 1:
            rows = hashed([part for row in rows for part in (row & 0xFFFFFFFF, row >> 32)], key)
        found.append(rows[0])
    return tuple(found)


def hashed(words: list[int], key: list[int]) -> list[int]:
    rows = [words[start : start + ROW] for start in range(0, len(words), ROW)]
    sums = (sum(k * word for k, word in zip(key, row, strict=False)) for row in rows)
    return [(one + 2**63) % 2**64 - 2**63 for one in sums]


@pytest.mark.parametrize("sizes", [(1,), (7, ROW), (3 * ROW + 5, 2), (ROW * ROW + 1,)])
def test_equals_the_definition(sizes: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(size, generator=generator) for size in sizes]
    assert fingerprint(tensors) == by_hand(tensors)


def test_parts_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large tensor in parts of it, small ones together where their words are alike."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5 * ROW + 3, generator=generator)
    tensors = [x, x[:7], x[:0], x[7:9].double(), x[:5].bfloat16(), x[5:8] > 0, x[:2], x.reshape(-1)[::2]]
    expected = fingerprint(tensors)
    for words in (ROW, 3 * ROW):
        monkeypatch.setattr(module, "ON_HOST", words)
        assert fingerprint(tensors) == expected
    assert fingerprint(tensors[::-1]) != expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.bool, torch.complex64])
def test_every_single_difference_is_seen(dtype: torch.dtype) -> None:
    """One entry, two that have changed places, also with another row's, the sign of a zero."""
    x = torch.arange(3 * ROW).to(dtype)
    prints = {fingerprint([x])}
    draw = random.Random(0)
    for _ in range(40):
        one, other = draw.sample(range(x.numel()), 2)
        changed, swapped = x.clone(), x.clone()
        changed[one] = 0 if changed[one] else 1
        swapped[[one, other]] = x[[other, one]]
        for tensor in (changed, swapped):
            assert (fingerprint([tensor]) in prints) == torch.equal(tensor, x)
    assert fingerprint([torch.tensor([0.0])]) != fingerprint([torch.tensor([-0.0])])


def test_all_keys_are_used_and_differ() -> None:
    keys = module._keys(torch.device("cpu"))
    assert keys.shape == (KEYS, ROW)
    assert len(set(keys.flatten().tolist())) == KEYS * ROW
    assert (keys < 0).any()  # all of the 64 bits
    assert (keys & 1).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert len(set(fingerprint([torch.ones(3)]))) == KEYS


def test_nothing_has_one_too() -> None:
    assert fingerprint([]) == fingerprint([torch.zeros(0)]) == (0,) * KEYS
