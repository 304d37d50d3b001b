"""Each layer by kernels against the plain one, in float32: values and all gradients, over sizes that fill no tile."""

from collections.abc import Iterator
from functools import partial
from importlib import import_module

import pytest
import torch

from optim_cases import interpreted_kernels
from test_kernels_cases import (
    Layer,
    assert_near,
    attention_layer,
    embed_layer,
    mlp_layer,
    norm_layer,
    readout_layer,
    results,
    unwritten_memory_is_nan,
)
from widthwise.kernels import FUSED
from widthwise.models import PLAIN

ATTENTION, EMBEDDING, MLP, NORM, READOUT = (
    import_module(f"widthwise.kernels.{name}")
    for name in ("attention", "embedding", "mlp", "norm", "readout_loss")
)
"""Modules, some of which the package hides behind functions of their names."""


@pytest.fixture(autouse=True)
def _interpreted() -> Iterator[None]:
    with interpreted_kernels(), unwritten_memory_is_nan():
        yield


def assert_equals_plain(layer: Layer) -> None:
    assert_near(results(layer, FUSED), results(layer, PLAIN), layer.terms)


@pytest.mark.parametrize(
    ("members", "sequences", "length", "context", "vocabulary", "width"),
    [
        (1, 2, 10, 10, 7, 24),
        (3, 3, 13, 20, 100, 40),  # two tiles of entries
        (2, 4, 17, 17, 256, 72),  # two tiles of columns, two of tokens
        (2, 1, 130, 131, 65, 8),
        (2, 1, 1, 3, 1, 1),
    ],
)
def test_embed(members: int, sequences: int, length: int, context: int, vocabulary: int, width: int) -> None:
    layer = embed_layer(members, sequences, length, context, vocabulary, width)
    found, plain = results(layer, FUSED), results(layer, PLAIN)
    assert_near(found, plain, layer.terms)
    assert torch.equal(found["out 0"], plain["out 0"])  # one addition, rounded once
    assert (found["d positions"][:, length:] == 0).all()


@pytest.mark.parametrize("tokens", [68, 80, 33])
def test_the_tables_gradient_in_parts(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 4 tokens: 17 in parts of 9 (the last tile of all is empty), 20 in parts of 10, 9 in one part."""
    monkeypatch.setattr(EMBEDDING, "_TOKENS", 4)
    assert_equals_plain(embed_layer(2, 1, tokens, tokens, 70, 40))


def test_a_large_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EMBEDDING, "ONEHOT_VOCABULARY", 99)
    assert_equals_plain(embed_layer(3, 2, 17, 20, 100, 24))


@pytest.mark.parametrize(
    ("members", "sequences", "length", "heads", "size"),
    [
        (1, 2, 10, 3, 16),
        (3, 1, 70, 2, 32),  # two tiles of queries and of keys
        (2, 1, 130, 1, 64),  # three
        (2, 3, 1, 2, 128),
        (3, 3, 13, 2, 20),  # no size of the kernels
        (2, 5, 1, 2, 4),
    ],
)
def test_attention(members: int, sequences: int, length: int, heads: int, size: int) -> None:
    assert_equals_plain(attention_layer(members, sequences, length, heads, size))


@pytest.mark.parametrize(("queries", "keys"), [(16, 32), (32, 16), (8, 8)])
def test_attention_by_other_tiles(queries: int, keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of queries and keys need not begin together."""
    tile = ATTENTION._Tile(queries, keys, warps=4, stages=1)
    monkeypatch.setattr(ATTENTION, "_FORWARD", tile)
    monkeypatch.setattr(ATTENTION, "_BACKWARD", tile)
    assert_equals_plain(attention_layer(2, 1, 37, 1, 16))


@pytest.mark.parametrize("deterministic", [True, False])
def test_attention_of_long_sequences(deterministic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the kernels, unless the same bits are asked for; heads that they lack by a backend for either wish."""
    monkeypatch.setattr(ATTENTION, "LONGEST", 12)
    torch.use_deterministic_algorithms(deterministic)
    if deterministic:
        monkeypatch.setattr(ATTENTION, "_Split", None)
    else:
        monkeypatch.setattr(ATTENTION, "_Attention", None)
    assert_equals_plain(attention_layer(3, 2, 13, 2, 16))
    monkeypatch.undo()
    assert_equals_plain(attention_layer(2, 2, 13, 2, 24))


@pytest.mark.parametrize("added", [True, False], ids=["x + y", "x"])
@pytest.mark.parametrize(
    ("members", "tokens", "width"),
    [
        (1, 20, 24),
        (3, 80, 40),  # two programs of the backward pass
        (2, 67, 72),  # three programs of two tiles, the last tile empty
        (2, 37, 520),  # two programs of eight tiles
        (2, 70, 1032),  # a row wider than half a tile of the forward pass
        (2, 1, 1),
    ],
)
def test_add_norm(members: int, tokens: int, width: int, *, added: bool) -> None:
    assert_equals_plain(norm_layer(members, tokens, width, added=added))


def test_a_norm_wider_than_a_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NORM, "ELEMENTS", 32)
    assert_equals_plain(norm_layer(2, 21, 40))


@pytest.mark.parametrize("scaled", [True, False], ids=["scales", "no scales"])
@pytest.mark.parametrize(
    ("members", "tokens", "width", "hidden"),
    [
        (1, 20, 24, 96),
        (3, 37, 40, 160),  # two tiles of hidden features
        (2, 130, 72, 288),  # two tiles along each side
        (2, 9, 264, 264),  # a width whose GELU has a pass of its own
        (2, 1, 8, 8),
    ],
)
def test_mlp(members: int, tokens: int, width: int, hidden: int, *, scaled: bool) -> None:
    assert_equals_plain(mlp_layer(members, tokens, width, hidden, scaled=scaled))


@pytest.mark.parametrize("widest", [0, 256], ids=["a pass for the GELU", "GELU in the tiles"])
def test_both_ways_of_the_gelu(widest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a block of 2048 elements, and no multiple of it."""
    monkeypatch.setattr(MLP, "GELU_WIDTH", widest)
    assert_equals_plain(mlp_layer(3, 37, 40, 160))


@pytest.mark.parametrize(("rows", "columns", "inner"), [(16, 32, 16), (32, 16, 8)])
def test_the_mlps_products_by_small_tiles(
    rows: int, columns: int, inner: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many tiles of many members, in a loop of one program and in programs of their own; none is full at the edges."""
    tile = MLP.Tile(rows, columns, inner, warps=4, stages=2)
    for name in ("product_gelu", "product_times"):
        monkeypatch.setattr(MLP, name, partial(getattr(MLP, name), tile=tile))
    assert_equals_plain(mlp_layer(3, 37, 24, 104))


@pytest.mark.parametrize("scaled", [True, False], ids=["scales", "no scales"])
@pytest.mark.parametrize("vocabulary", [1, 7, 64, 100, 256])
@pytest.mark.parametrize(("members", "tokens", "width"), [(1, 20, 24), (3, 37, 40)])
def test_readout_loss(members: int, tokens: int, width: int, vocabulary: int, *, scaled: bool) -> None:
    assert_equals_plain(readout_layer(members, tokens, width, vocabulary, scaled=scaled))


@pytest.mark.parametrize("vocabulary", [7, 65, 100, 128])
def test_rows_wider_than_a_tile_of_logits(vocabulary: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(READOUT, "COLUMNS", 32)
    assert_equals_plain(readout_layer(3, 5, 24, vocabulary))


def test_tiles_of_rows_that_span_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(READOUT, "FEW", 64 * 8)
    assert_equals_plain(readout_layer(3, 21, 24, 7))


@pytest.mark.parametrize(
    ("rows", "pieces"),
    [
        (2 * 37, [(2, 37), (1, 37)]),
        (37, [(1, 37)] * 3),
        (36, [(1, 19), (1, 18)] * 3),
        (10, [(1, 10), (1, 10), (1, 10), (1, 7)] * 3),
        (0, [(1, 1)] * 111),
    ],
    ids=["two members", "one member", "two parts", "four parts", "single tokens"],
)
def test_readout_in_pieces(rows: int, pieces: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory is for so many rows of 64 padded logits; the gradient of W is a sum over a member's pieces."""
    seen: list[tuple[int, int]] = []
    original = READOUT._cross_entropy

    def cross_entropy(logits: torch.Tensor, *arguments: object, **options: object) -> torch.Tensor:
        seen.append((logits.shape[0], logits.shape[1]))
        return original(logits, *arguments, **options)

    layer = readout_layer(3, 37, 24, 7)
    monkeypatch.setattr(READOUT, "LOGITS_BYTES", rows * 64 * 4)
    monkeypatch.setattr(READOUT, "_cross_entropy", cross_entropy)
    assert_equals_plain(layer)
    assert seen == pieces
