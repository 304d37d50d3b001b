"""Describing models of plain torch modules: roles, ties, rules, and what is refused with what remedy."""

import json
import math
import re
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import nn

from widthwise.scaling import (
    Axis,
    ModelDescription,
    Rule,
    describe,
    description_from_json,
    description_to_json,
)
from widthwise.scaling.module_rules import ancestry, module_axes
from widthwise.scaling.module_table import TORCH_MODULES
from widthwise.theory import Role

WIDTHS = (16, 32, 64)
EMBEDDING, HIDDEN, READOUT, VECTOR, FIXED = Role.EMBEDDING, Role.HIDDEN, Role.READOUT, Role.VECTOR, Role.FIXED


def roles(description: ModelDescription) -> dict[str, Role]:
    return {name: tensor.role for name, tensor in description.tensors.items()}


class Held(nn.Module):
    """A user's module with bare parameters."""

    def __init__(self, **shapes: tuple[int, ...]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape)))


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


def mlp(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)
    )


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


# Layers by hand: factory, and the role of each weight.
LAYERS: dict[str, tuple[Callable[[int], nn.Module], dict[str, Role]]] = {
    "bilinear": (lambda n: nn.Bilinear(n, 3, n, bias=False), {"weight": HIDDEN}),
    "bilinear readout": (lambda n: nn.Bilinear(n, n, 1, bias=False), {"weight": READOUT}),
    "embedding bag": (lambda n: nn.EmbeddingBag(9, n), {"weight": EMBEDDING}),
    "vocabulary that grows": (lambda n: nn.Embedding(2 * n, n), {"weight": EMBEDDING}),
    "first convolution": (lambda n: nn.Conv1d(3, n, 4, bias=False), {"weight": EMBEDDING}),
    "transposed first": (lambda n: nn.ConvTranspose1d(3, n, 4, bias=False), {"weight": EMBEDDING}),
    "transposed depthwise": (lambda n: nn.ConvTranspose1d(n, n, 4, groups=n, bias=False), {"weight": VECTOR}),
    "depthwise with a multiplier": (
        lambda n: nn.Conv2d(n, 2 * n, 3, groups=n, bias=False),
        {"weight": VECTOR},
    ),
    "groups of eight": (lambda n: nn.Conv2d(n, n, 3, groups=n // 8, bias=False), {"weight": VECTOR}),
    "eight groups": (lambda n: nn.Conv2d(n, n, 3, groups=8, bias=False), {"weight": HIDDEN}),
    "norm over height and channels": (lambda n: nn.LayerNorm((3, n)), {"weight": VECTOR, "bias": VECTOR}),
    "prelu": (lambda n: nn.PReLU(n), {"weight": VECTOR}),
    "recurrent, fixed input": (
        lambda n: nn.GRU(3, n, bias=False),
        {"weight_ih_l0": EMBEDDING, "weight_hh_l0": HIDDEN},
    ),
    "recurrent, projected": (
        lambda n: nn.LSTM(n, n, proj_size=2, bias=False),
        {"weight_ih_l0": HIDDEN, "weight_hh_l0": EMBEDDING, "weight_hr_l0": READOUT},
    ),
    "cross attention to a fixed memory": (
        lambda n: nn.MultiheadAttention(n, 2, kdim=5, vdim=n, bias=False, add_bias_kv=True),
        {
            "q_proj_weight": HIDDEN,
            "k_proj_weight": EMBEDDING,
            "v_proj_weight": HIDDEN,
            "bias_k": VECTOR,
            "bias_v": VECTOR,
            "out_proj.weight": HIDDEN,
        },
    ),
    "a user's bare parameters": (
        lambda n: Held(
            scale=(n,), token=(1, 1, n), mix=(n, 3 * n), experts=(4, n, n), temperature=(), heads=(8, 2)
        ),
        {
            "scale": VECTOR,
            "token": VECTOR,
            "mix": HIDDEN,
            "experts": HIDDEN,
            "temperature": FIXED,
            "heads": FIXED,
        },
    ),
}


@pytest.mark.parametrize(("build", "expected"), LAYERS.values(), ids=LAYERS)
def test_layers_by_hand(build: Callable[[int], nn.Module], expected: dict[str, Role]) -> None:
    assert roles(describe(build, widths=WIDTHS)) == expected


def test_a_subclass_is_what_it_extends() -> None:
    class Scaled(nn.Linear):
        """A user's own linear layer with a bare gain."""

        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__(inputs, outputs, bias=False)
            self.gain = nn.Parameter(torch.ones(outputs))

    found = describe(lambda n: Scaled(n, 3), widths=WIDTHS).tensors["weight"]
    assert (found.role, found.rule) == (READOUT, "torch.nn.modules.linear.Linear")


@pytest.mark.parametrize("name", sorted(TORCH_MODULES))
def test_torchs_module_names_exist(name: str) -> None:
    modules: list[nn.Module] = [
        nn.Linear(2, 2),
        nn.Bilinear(2, 2, 2),
        nn.Embedding(2, 2),
        nn.EmbeddingBag(2, 2),
        nn.Conv1d(2, 2, 2),
        nn.ConvTranspose1d(2, 2, 2),
        nn.LayerNorm(2),
        nn.RMSNorm(2),
        nn.GroupNorm(2, 2),
        nn.SyncBatchNorm(2),
        nn.PReLU(2),
        nn.MultiheadAttention(2, 2),
        nn.LSTM(2, 2),
        nn.GRUCell(2, 2),
    ]
    (owner, *_) = [module for module in modules if name in ancestry(module)]
    for parameter, tensor in owner.named_parameters(recurse=False):
        axes = module_axes([owner], parameter, tensor.ndim)
        assert axes is not None
        assert len(axes.axes) == tensor.ndim


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


AMBIGUOUS = """\
3 tensors have no role: shapes and module types do not decide it. Add one line for each of these to rules=(...):
  0.table [7, n] in {owner} and 1 more: one dimension grows
    Rule('*.table', role=Role.EMBEDDING),  # its rows are looked up or summed over a dimension that does not grow
    Rule('*.table', role=Role.READOUT),  # the dimension that grows is summed over
    Rule('*.table', role=Role.VECTOR),  # it acts elementwise
  2.mask [4n, 3] in {owner}: one dimension grows
    Rule('*.mask', role=Role.EMBEDDING),  # its rows are looked up or summed over a dimension that does not grow
    Rule('*.mask', role=Role.READOUT),  # the dimension that grows is summed over
    Rule('*.mask', role=Role.VECTOR),  # it acts elementwise"""


def ambiguous(width: int) -> nn.Module:
    return nn.Sequential(Held(table=(7, width)), Held(table=(7, width)), Held(mask=(4 * width, 3)))


def test_an_ambiguous_tensor_prints_the_lines_to_add() -> None:
    with pytest.raises(ValueError, match="3 tensors have no role") as refused:
        describe(ambiguous, widths=WIDTHS)
    assert str(refused.value) == AMBIGUOUS.format(owner=f"{__name__}.Held")


def test_the_lines_settle_it() -> None:
    """Each printed line, pasted as it is, gives the tensors that it names the role that it says."""
    lines = re.findall(r"^    (Rule\(.*?\)),  #", AMBIGUOUS, flags=re.MULTILINE)
    assert len(lines) == 6
    for table_line in lines[:3]:
        for mask_line in lines[3:]:
            rules = (eval(table_line), eval(mask_line))
            found = roles(describe(ambiguous, widths=WIDTHS, rules=rules))
            assert found == {"0.table": rules[0].role, "1.table": rules[0].role, "2.mask": rules[1].role}


@pytest.mark.parametrize(
    ("options", "role"),
    [
        ({"contracted": (1,), "produced": (0,)}, READOUT),
        ({"contracted": (0,), "produced": (1,)}, EMBEDDING),
        ({"contracted": (0,)}, VECTOR),
        ({"produced": (1,)}, EMBEDDING),
    ],
)
def test_a_rule_may_say_what_dimensions_do(options: dict[str, tuple[int, ...]], role: Role) -> None:
    found = describe(lambda n: Held(table=(7, n)), widths=WIDTHS, rules=(Rule("table", **options),))
    assert roles(found) == {"table": role}


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("blocks.*.scale", "blocks.0.scale", True),
        ("blocks.*.scale", "blocks.0.mlp.scale", False),
        ("blocks", "blocks.0", False),
        ("blocks.0.scale", "blocks.0", False),
        ("*", "scale", True),
        ("*", "mlp.scale", False),
        ("mlp.[uv]?", "mlp.up", True),
        ("MLP.up", "mlp.up", False),
    ],
)
def test_a_pattern_stays_within_the_parts_of_a_name(pattern: str, name: str, matches: bool) -> None:
    assert Rule(pattern, role=VECTOR).matches(name) == matches


def test_a_rule_overrides_a_module() -> None:
    """A linear layer used as a lookup table: the rule wins over the class."""
    rules = (Rule("weight", role=EMBEDDING),)
    found = describe(lambda n: nn.Linear(n, 11, bias=False), widths=WIDTHS, rules=rules)
    assert roles(found) == {"weight": EMBEDDING}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            (Rule("*.wait", role=VECTOR),),
            r"Rule\('\*.wait'\) matches no tensor of 0.weight, 0.bias, .*; remove it",
        ),
        ((Rule("weight", role=VECTOR),), r"Rule\('weight'\) matches no tensor"),
        (
            (Rule("0.weight", role=EMBEDDING), Rule("?.weight", role=HIDDEN)),
            r"tensor '0.weight' is matched by Rule\('0.weight'\) and Rule\('\?.weight'\); say everything",
        ),
        (
            (Rule("4.weight", role=HIDDEN),),
            r"'4.weight' \[3, n\] hidden, which needs 2 growing dimensions and has 1",
        ),
        (
            (Rule("4.bias", role=VECTOR),),
            r"'4.bias' \[3\] vector, which needs 1 growing dimensions and has 0",
        ),
        ((Rule("4.bias", contracted=(1,)),), r"names dimensions \[1\] of tensor '4.bias' \[3\], which has 1"),
    ],
)
def test_rules_that_are_refused(rules: tuple[Rule, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        describe(mlp, widths=WIDTHS, rules=rules)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"role": VECTOR, "produced": (0,)}, r"gives the role vector and dimensions \(0,\) that imply one"),
        ({"contracted": (0,), "produced": (0,)}, "names a dimension twice"),
        ({}, "says nothing"),
    ],
)
def test_rules_that_contradict_themselves(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rule("x", **arguments)


MODEL = mlp(16)


class Shared(nn.Module):
    """Two parameters over one memory."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = nn.Linear(width, width, bias=False)
        self.other = nn.Linear(width, width, bias=False)
        self.other.weight.data = self.one.weight.data.T


BAD = {
    "ignores the width": (lambda n: mlp(16), r"no tensor grows between widths \(16, 32, 64\): build ignores"),
    "one model for all": (lambda n: MODEL, "or always returns one model"),
    "no module": (lambda n: torch.ones(n), r"build\(16\) returned Tensor; it must return a torch.nn.Module"),
    "no parameters": (lambda n: nn.ReLU(), r"build\(16\) made a ReLU without parameters"),
    "lazy": (
        lambda n: nn.LazyLinear(n),
        r"build\(16\) left weight, bias without a shape until the first batch",
    ),
    "layers grow": (
        lambda n: nn.Sequential(
            *[nn.Linear(n, n, bias=False)] * 1, *[nn.Linear(n, n) for _ in range(n // 32)]
        ),
        r"widths 16 and 32 have different tensors: 1.bias, 1.weight exists at one of them only",
    ),
    "dimensions grow": (
        lambda n: Held(x=(n,) * (1 + n // 64)),
        r"tensor 'x' has shape \(16,\) at width 16 and \(64, 64\) at width 64",
    ),
    "no law": (
        lambda n: nn.Linear(n, n + n % 7),
        "tensor 'weight', dimension 0: sizes 18, 36, 65 at widths",
    ),
    "shrinks": (
        lambda n: nn.Linear(n, 1024 // n),
        "tensor 'weight', dimension 0: sizes 64, 32, 16 at widths",
    ),
    "never initialized": (
        lambda n: Held(x=(n, n)).apply(lambda held: held.x.data.fill_(math.nan)),
        r"build\(8\) left entries that are not finite in x, as memory",
    ),
    "other tensors at other widths": (
        lambda n: Held(x=(n,), **({"y": (n,)} if n < 16 else {})),
        r"build\(8\) made tensors that the described widths do not have: y",
    ),
    "shared memory": (
        Shared,
        "parameters 'one.weight' and 'other.weight' share memory but are two parameters",
    ),
}


@pytest.mark.parametrize(("build", "message"), BAD.values(), ids=BAD)
def test_bad_factories(build: Callable[[int], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        describe(build, widths=WIDTHS, initializer_widths=(8, 32))


def test_ties_that_change_with_the_width() -> None:
    def build(width: int) -> nn.Module:
        layers = nn.Sequential(nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False))
        if width > 32:
            layers[1].weight = layers[0].weight
        return layers

    with pytest.raises(ValueError, match="widths 16 and 64 tie different tensors"):
        describe(build, widths=WIDTHS)


def test_what_a_factory_raises_passes_through() -> None:
    def build(width: int) -> nn.Module:
        raise LookupError(f"no preset of width {width}")

    with pytest.raises(LookupError, match="no preset of width 16"):
        describe(build, widths=WIDTHS)


def test_what_a_factory_raises_at_one_width_is_no_reason_for_real_builds() -> None:
    def build(width: int) -> nn.Module:
        return nn.MultiheadAttention(width, 16)

    with pytest.raises(AssertionError, match="embed_dim must be divisible by num_heads"):
        describe(build, widths=(16, 32, 40))


@pytest.mark.parametrize("widths", [(16, 32), (16, 32, 32), (0, 16, 32), (16, 16, 32, 64)])
def test_widths_that_do_not_tell(widths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"widths are \(.*\); give 3 or more, positive and all different"):
        describe(mlp, widths=widths)


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
