"""Factories that cannot be described, and what is said of each; what a factory itself raises passes through."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from described_models import WIDTHS, Held, mlp
from widthwise.scaling import describe

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
