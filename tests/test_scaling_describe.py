"""Describing models of plain torch modules: roles, ties, the table and JSON."""

import json
import math
import re
from fractions import Fraction

import pytest
import torch
from torch import nn

from described_models import WIDTHS, mlp, roles
from widthwise.scaling import (
    Axis,
    Rule,
    describe,
    description_from_json,
    description_to_json,
)
from widthwise.theory import Role

EMBEDDING, HIDDEN, READOUT, VECTOR, FIXED = Role.EMBEDDING, Role.HIDDEN, Role.READOUT, Role.VECTOR, Role.FIXED


class Encoder(nn.Module):
    """A user's Transformer: torch's own layers, and a bare position table."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(11, width, padding_idx=0)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 7, width))
        layer = nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=4 * width, batch_first=True)
        self.layers = nn.ModuleList(
            [layer, nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)]
        )
        self.head = nn.Linear(width, 11)


POSITIONS = Rule("positions", role=EMBEDDING, reason="a position takes one row")


def cnn(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3),
        nn.BatchNorm2d(width),
        nn.Conv2d(width, 2 * width, 3, groups=4),
        nn.GroupNorm(4, 2 * width),
        nn.Conv2d(2 * width, 2 * width, 3, groups=2 * width),
        nn.ConvTranspose2d(2 * width, 3, 2),
        nn.Flatten(),
        nn.Linear(3 * 9, 10),
    )


def test_an_mlp() -> None:
    assert roles(describe(mlp, widths=WIDTHS)) == {
        "0.weight": EMBEDDING,
        "0.bias": VECTOR,
        "2.weight": HIDDEN,
        "2.bias": VECTOR,
        "4.weight": READOUT,
        "4.bias": FIXED,
    }


def test_a_convolutional_network() -> None:
    """Groups that stay four mix within growing halves: hidden. One group a channel mixes nothing: a vector."""
    assert roles(describe(cnn, widths=WIDTHS)) == {
        "0.weight": EMBEDDING,
        "0.bias": VECTOR,
        "1.weight": VECTOR,
        "1.bias": VECTOR,
        "2.weight": HIDDEN,
        "2.bias": VECTOR,
        "3.weight": VECTOR,
        "3.bias": VECTOR,
        "4.weight": VECTOR,
        "4.bias": VECTOR,
        "5.weight": READOUT,
        "5.bias": FIXED,
        "7.weight": FIXED,
        "7.bias": FIXED,
    }


def test_a_users_transformer() -> None:
    description = describe(Encoder, widths=WIDTHS, rules=(POSITIONS,))
    layer = {
        "self_attn.in_proj_weight": HIDDEN,
        "self_attn.in_proj_bias": VECTOR,
        "self_attn.out_proj.weight": HIDDEN,
        "self_attn.out_proj.bias": VECTOR,
        "linear1.weight": HIDDEN,
        "linear1.bias": VECTOR,
        "linear2.weight": HIDDEN,
        "linear2.bias": VECTOR,
        "norm1.weight": VECTOR,
        "norm1.bias": VECTOR,
        "norm2.weight": VECTOR,
        "norm2.bias": VECTOR,
    }
    assert roles(description) == {
        "positions": EMBEDDING,
        "words.weight": EMBEDDING,
        **{f"layers.{i}.{name}": role for i in (0, 1) for name, role in layer.items()},
        "head.weight": READOUT,
        "head.bias": FIXED,
    }
    assert description.built == "meta"
    assert description.tensors["positions"].rule == "Rule('positions')"
    assert description.tensors["positions"].reason == "a position takes one row"
    assert description.tensors["head.weight"].rule == "torch.nn.modules.linear.Linear"
    # Xavier's uniform draw, sqrt(6 / (n + 3 n)), and the linear default sqrt(1 / n).
    assert str(description.tensors["layers.0.self_attn.in_proj_weight"].initializer) == "random n^(-1/2)"


class Tied(nn.Module):
    """A readout that is the embedding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(11, width)
        self.head = nn.Linear(width, 11, bias=False)
        self.head.weight = self.words.weight


def test_tied_tensors_are_one_with_every_role() -> None:
    rules = (
        Rule("words.weight", forward_factor=Fraction(1, 2), reason="multiplied by the root of the width"),
    )
    (tensor,) = describe(Tied, widths=WIDTHS, rules=rules).tensors.values()
    (alias,) = tensor.aliases
    assert (tensor.name, tensor.roles) == ("words.weight", (EMBEDDING, READOUT))
    assert (alias.name, alias.role, alias.axes) == ("head.weight", READOUT, (Axis.PRODUCED, Axis.CONTRACTED))
    assert (tensor.forward_factor, alias.forward_factor) == (Fraction(1, 2), 0)
    rules = (Rule("head.weight", forward_factor=Fraction(-1, 2)),)
    (tensor,) = describe(Tied, widths=WIDTHS, rules=rules).tensors.values()
    assert (tensor.forward_factor, tensor.aliases[0].forward_factor) == (0, Fraction(-1, 2))


def test_a_rule_may_name_a_tied_tensor_by_any_name() -> None:
    rules = (Rule("head.weight", initializer_exponent=Fraction(1, 3)),)
    (tensor,) = describe(Tied, widths=WIDTHS, rules=rules).tensors.values()
    assert tensor.initializer is not None
    assert tensor.initializer.exponent == Fraction(1, 3)


def test_json_keeps_what_the_published_models_do_not_have() -> None:
    class Odd(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.tied = Tied(width)
            self.frozen = nn.Linear(width + 4, width, bias=False).requires_grad_(False)
            self.rounded = nn.Linear(width, 4 * math.ceil(width / 3), bias=False)
            self.empty = nn.Parameter(torch.empty(0))

    rules = (
        Rule("tied.head.weight", forward_factor=Fraction(-1, 2), reason="divided by the root of the width"),
    )
    description = describe(Odd, widths=WIDTHS, rules=rules)
    assert [tensor.trainable for tensor in description.tensors.values()] == [True, True, False, True]
    assert description.tensors["empty"].initializer is None
    values = json.loads(json.dumps(description_to_json(description), allow_nan=False))
    assert description_from_json(values) == description
    with pytest.raises(ValueError, match="a description of format 0; this version reads 1"):
        description_from_json({**values, "format": 0})
    with pytest.raises(ValueError, match=r"not a whole description \(KeyError\('built'\)\)"):
        description_from_json({name: value for name, value in values.items() if name != "built"})


def test_frozen_parameters_are_described_and_buffers_are_not() -> None:
    def build(width: int) -> nn.Module:
        layers = nn.Sequential(nn.Linear(width, width, bias=False), nn.BatchNorm1d(width))
        return layers.requires_grad_(False)

    tensors = describe(build, widths=WIDTHS).tensors
    assert list(tensors) == ["0.weight", "1.weight", "1.bias"]
    assert not any(tensor.trainable for tensor in tensors.values())
    assert describe(mlp, widths=WIDTHS).tensors["0.weight"].trainable


def test_a_prefix_of_a_name_is_part_of_it() -> None:
    """Characters of `module.` at the start of another name stay."""

    class Wrapped(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.module = nn.ModuleDict(
                {"embed": nn.Embedding(5, width), "mode": nn.Linear(width, 2, bias=False)}
            )

    description = describe(Wrapped, widths=WIDTHS)
    assert roles(description) == {"module.embed.weight": EMBEDDING, "module.mode.weight": READOUT}


def test_shapes_are_read_at_widths_that_no_memory_holds() -> None:
    """A square matrix of 2^20 would take 4 TiB."""
    widths = (2**10, 2**15, 2**20)
    tensors = describe(lambda n: nn.Linear(n, n), widths=widths, initializer_widths=(16, 64)).tensors
    assert tensors["weight"].shapes == tuple((n, n) for n in widths)


def test_a_factory_that_cannot_be_built_without_numbers() -> None:
    def build(width: int) -> nn.Module:
        layer = nn.Linear(width, width, bias=False)
        layer.scale = layer.weight.norm().item()  # pyright: ignore
        return layer

    description = describe(build, widths=WIDTHS)
    assert description.built.startswith("cpu, since the meta device raised RuntimeError: ")
    assert roles(description) == {"weight": HIDDEN}
    # It is built for real at no width but those that the caller allows for it.
    large = describe(build, widths=(2**10, 2**15, 2**20), initializer_widths=WIDTHS)
    assert large == description
    with pytest.raises(
        ValueError, match=r"widths of real builds \(cpu, since the meta .*\) are \(16, 64\); give 3"
    ):
        describe(build, widths=(2**10, 2**15, 2**20), initializer_widths=(16, 64))


def test_the_order_of_widths_does_not_matter() -> None:
    assert describe(mlp, widths=(64, 16, 32)) == describe(mlp, widths=WIDTHS)


def test_counting_heads_instead_of_channels_changes_no_role() -> None:
    """A factory whose width is a number of heads of 16: n is ours over 16, and every power is the same."""
    by_heads = describe(lambda heads: mlp(16 * heads), widths=(1, 2, 4))
    by_channels = describe(mlp, widths=WIDTHS)
    assert roles(by_heads) == roles(by_channels)
    for name, tensor in by_channels.tensors.items():
        fits = (tensor.initializer, by_heads.tensors[name].initializer)
        assert len({fit.exponent for fit in fits if fit is not None}) == 1


def test_the_table() -> None:
    description = describe(Encoder, widths=WIDTHS, rules=(POSITIONS,))
    lines = description.table().splitlines()
    assert lines[0].split() == ["tensor", "shape", "role", "initializer", "decided", "by"]
    (row,) = [line for line in lines if line.startswith("layers.*.linear1.weight")]
    assert re.split(r"\s{2,}", row) == [
        "layers.*.linear1.weight (x2)",
        "[4n, n]",
        "hidden",
        "random n^(-1/2)",
        "Linear",
    ]
    (row,) = [line for line in lines if line.startswith("positions")]
    assert re.split(r"\s{2,}", row) == [
        "positions",
        "[1, 7, n]",
        "embedding",
        "random n^0",
        "Rule('positions')",
    ]
    assert len(lines) == 1 + 12 + 4


def test_the_table_remarks_on_what_a_role_does_not_say() -> None:
    class Odd(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.root = nn.Linear(width, math.isqrt(width), bias=False)
            self.partly = nn.Linear(width, width // 4 + 6, bias=False).requires_grad_(False)

    table = describe(Odd, widths=(16, 64, 256)).table().splitlines()
    assert table[1].endswith("# dimension 0 grows as n^(1/2), where the theory's layers grow as n")
    assert table[2].endswith("# frozen; 6 of dimension 0 do not grow")
