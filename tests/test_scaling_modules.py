"""What module types say: every torch layer of the table by hand, subclasses, and a user's bare parameters."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from described_models import WIDTHS, Held, roles
from widthwise.scaling import describe
from widthwise.scaling.module_rules import ancestry, module_axes
from widthwise.scaling.module_table import TORCH_MODULES
from widthwise.theory import Role

EMBEDDING, HIDDEN, READOUT, VECTOR, FIXED = Role.EMBEDDING, Role.HIDDEN, Role.READOUT, Role.VECTOR, Role.FIXED

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
