"""What the kernels' tests share: calls of each layer, all that they return and differentiate, and bounds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from widthwise.models import PLAIN, LayerFunctions

ROUNDING = 2.0**-24
"""Of float32, relative."""

Outputs = Sequence[Tensor]


@dataclass(frozen=True)
class Kind:
    """Of what a layer's tensors are.

    Args:
        dtype: the precision of products.
        drawn: what every value is rounded to first, so that other dtypes can start from the same numbers.
    """

    dtype: torch.dtype = torch.float32
    drawn: torch.dtype = torch.float32
    device: str = "cpu"

    def normal(self, *shape: int, seed: int, dtype: torch.dtype | None = None) -> Tensor:
        values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        return values.to(self.drawn).to(self.dtype if dtype is None else dtype).to(self.device)

    def integers(self, below: int, *shape: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(below, shape, generator=generator).to(self.device)

    def scales(self, members: int) -> Tensor:
        """Another one for each member; the second is 0, the third negative."""
        return torch.tensor([1.5, 0.0, -2.0, 0.5])[:members].to(self.device)


FLOAT32 = Kind()


@dataclass(frozen=True)
class Layer:
    """One call of a layer.

    Args:
        inputs: what is differentiated, by name, each [P, ...].
        call: the layer on such inputs.
        terms: how many roundings lie on the longest path through it: the terms of its sums, and a few.
    """

    inputs: Mapping[str, Tensor]
    call: Callable[[LayerFunctions, Mapping[str, Tensor]], Outputs]
    terms: int

    def with_inputs(self, **inputs: Tensor) -> "Layer":
        return replace(self, inputs={**self.inputs, **inputs})


def embed_layer(
    members: int, sequences: int, length: int, context: int, vocabulary: int, width: int, kind: Kind = FLOAT32
) -> Layer:
    tokens = kind.integers(vocabulary, members, sequences, length, seed=1)
    inputs = {
        "table": kind.normal(members, vocabulary, width, seed=2, dtype=torch.float32),
        "positions": kind.normal(members, context, width, seed=3, dtype=torch.float32),
    }

    def call(f: LayerFunctions, w: Mapping[str, Tensor]) -> Outputs:
        return [f.embed(tokens, w["table"], w["positions"], kind.dtype)]

    return Layer(inputs, call, sequences * length)


def attention_layer(
    members: int, sequences: int, length: int, heads: int, size: int, kind: Kind = FLOAT32
) -> Layer:
    inputs = {"qkv": kind.normal(members, sequences * length, 3 * heads * size, seed=4)}

    def call(f: LayerFunctions, w: Mapping[str, Tensor]) -> Outputs:
        return [f.attention(w["qkv"], sequences=sequences, heads=heads)]

    return Layer(inputs, call, 2 * length + size)


def norm_layer(members: int, tokens: int, width: int, *, added: bool = True, kind: Kind = FLOAT32) -> Layer:
    inputs = {
        "x": kind.normal(members, tokens, width, seed=5),
        "gains": kind.normal(members, width, seed=6, dtype=torch.float32),
    }
    if added:
        inputs["y"] = kind.normal(members, tokens, width, seed=7)

    def call(f: LayerFunctions, w: Mapping[str, Tensor]) -> Outputs:
        return f.add_norm(w["x"], w.get("y"), w["gains"], 1e-6)

    return Layer(inputs, call, width + tokens)


def mlp_layer(
    members: int, tokens: int, width: int, hidden: int, *, scaled: bool = True, kind: Kind = FLOAT32
) -> Layer:
    scales = kind.scales(members) if scaled else None
    inputs = {
        "h": kind.normal(members, tokens, width, seed=8),
        "up": kind.normal(members, width, hidden, seed=9) / 4,
        "down": kind.normal(members, hidden, width, seed=10) / 4,
    }

    def call(f: LayerFunctions, w: Mapping[str, Tensor]) -> Outputs:
        return [f.mlp(w["h"], w["up"], w["down"], scales)]

    return Layer(inputs, call, 2 * width + 2 * hidden + tokens)


def readout_layer(
    members: int, tokens: int, width: int, vocabulary: int, *, scaled: bool = True, kind: Kind = FLOAT32
) -> Layer:
    targets = kind.integers(vocabulary, members, tokens, seed=11)
    scales = kind.scales(members) if scaled else None
    inputs = {
        "x": kind.normal(members, tokens, width, seed=12),
        "w": kind.normal(members, width, vocabulary, seed=13) / 4,
    }

    def call(f: LayerFunctions, w: Mapping[str, Tensor]) -> Outputs:
        return [f.readout_loss(w["x"], w["w"], targets, scales)]

    return Layer(inputs, call, 2 * width + vocabulary + tokens)


LAYERS: dict[str, Callable[[Kind], Layer]] = {
    "embed": lambda kind: embed_layer(3, 2, 11, 13, 7, 24, kind),
    "attention": lambda kind: attention_layer(3, 1, 11, 1, 16, kind),
    "attention by a backend": lambda kind: attention_layer(3, 2, 11, 3, 8, kind),
    "add_norm": lambda kind: norm_layer(3, 21, 40, kind=kind),
    "norm": lambda kind: norm_layer(3, 21, 40, added=False, kind=kind),
    "mlp": lambda kind: mlp_layer(3, 21, 24, 96, kind=kind),
    "readout_loss": lambda kind: readout_layer(3, 21, 24, 100, kind=kind),
}
"""Each of them once, for what holds of every layer."""
layers = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


def upstream(outputs: Outputs) -> list[Tensor]:
    """A gradient for each output: other numbers for each member, none of them 1."""
    generator = torch.Generator().manual_seed(14)
    return [
        torch.randn(out.shape, generator=generator).to(torch.bfloat16).to(out.dtype).to(out.device)
        for out in outputs
    ]


def results(
    layer: Layer, functions: LayerFunctions, change: Callable[[list[Tensor]], Outputs] | None = None
) -> dict[str, Tensor]:
    """What a layer returns (`out 0`, ...) and the gradients of its inputs (`d x`, ...).

    Args:
        change: what becomes of the gradients that come from above.
    """
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in layer.inputs.items()}
    outputs = layer.call(functions, leaves)
    above = upstream(outputs) if change is None else change(upstream(outputs))
    gradients = torch.autograd.grad(outputs, list(leaves.values()), above)
    found = {f"out {i}": out.detach() for i, out in enumerate(outputs)}
    return found | {f"d {name}": g for name, g in zip(leaves, gradients, strict=True)}


def errors(found: Tensor, expected: Tensor) -> Tensor:
    """The largest difference of each member over its largest expected value, [P]; 0 for 0 where 0 is expected."""
    members = len(expected)
    difference = (found.double() - expected.double()).reshape(members, -1).abs().amax(1)
    size = expected.double().reshape(members, -1).abs().amax(1)
    return torch.where(difference == 0, 0.0, difference / size)


def assert_near(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], terms: float) -> None:
    """Equal up to the rounding of each side, relative to the largest of a member.

    n roundings of random sign add up to n^(1/2) of one, and four standard deviations of either side are allowed. What
    is rounded along the way is taken to be no larger than the largest result.
    """
    bound = 2 * 4 * (terms + 4) ** 0.5 * ROUNDING
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].shape == tensor.shape, name
        assert found[name].dtype == tensor.dtype, name
        worst = errors(found[name], tensor)
        assert (worst <= bound).all(), (name, worst, bound)


def assert_no_worse(
    make: Callable[[Kind], Layer], functions: LayerFunctions, low: torch.dtype, device: str
) -> None:
    """Against float32 on the same numbers, at most twice the error of PyTorch's layers in low precision.

    Added to that: a rounding of the result; for a loss, one number whose error may cancel, a part of its logits'.
    """
    expected = results(make(Kind(torch.float32, low, device)), PLAIN)
    layer = make(Kind(low, low, device))
    plain, found = results(layer, PLAIN), results(layer, functions)
    for name, tensor in expected.items():
        assert found[name].dtype == plain[name].dtype
        own = torch.finfo(low).eps / 16 if tensor.dim() == 1 else torch.finfo(found[name].dtype).eps
        allowed = 2 * errors(plain[name], tensor) + max(own, 16 * ROUNDING)
        assert (errors(found[name], tensor) <= allowed).all(), (name, errors(found[name], tensor), allowed)


def same_bits(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether all are equal; NaN, as in none of the tests that ask, equals nothing."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@contextmanager
def unwritten_memory_is_nan() -> Iterator[None]:
    """torch fills what it allocates: an output that a kernel leaves out cannot hold the right number by chance."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def test_unwritten_memory_is_nan() -> None:
    with unwritten_memory_is_nan():
        assert torch.empty(3).isnan().all()
        assert torch.empty_like(torch.zeros(3)).isnan().all()


@pytest.mark.parametrize("wrong", [1e-3, float("nan")])
def test_the_comparison_can_fail(wrong: float) -> None:
    """Each member is held to its own size: an error of a small one does not hide behind a large one."""
    expected = torch.tensor([[1e6, 0.0], [1.0, 2.0], [0.0, 0.0]])
    assert_near({"x": expected * (1 + ROUNDING)}, {"x": expected}, terms=0)
    for member in (1, 2):
        found = expected.clone()
        found[member, 0] += wrong
        with pytest.raises(AssertionError, match="x"):
            assert_near({"x": found}, {"x": expected}, terms=100)


@layers
def test_plain_layers_have_a_gradient_everywhere(make: Callable[[Kind], Layer]) -> None:
    """The cases reach every tensor of a member whose scale is not 0: nothing is compared with nothing."""
    for name, tensor in results(make(FLOAT32), PLAIN).items():
        assert (tensor[[0, 2]].reshape(2, -1).abs().amax(1) > 1e-3).all(), name
