"""Models of every kind that alignment must treat, and their products in float64 NumPy."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alignment_factors import Floats, log_gain, token_mean
from widthwise.measure import AlignmentReport, Estimator, Snapshot, measure_alignment
from widthwise.theory import AlignmentQuantity

WIDTH, VOCABULARY = 6, 7
TOKENS = torch.arange(12).reshape(4, 3) % VOCABULARY


class Tied(nn.Module):
    """One table, looked up and multiplied: by a layer of its own or by `F.linear`."""

    def __init__(self, *, module: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        if module:
            self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
            self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        z = self.norm(self.embed(tokens))
        return self.head(z) if hasattr(self, "head") else F.linear(z, self.embed.weight)


class Bare(nn.Module):
    """Parameters of its own: transposed, scaled, sliced, stacked, in front, and added."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(WIDTH, 3 * WIDTH))
        self.experts = nn.Parameter(torch.randn(2, WIDTH, 4))
        self.front = nn.Parameter(torch.randn(5, 4))
        self.shift = nn.Parameter(torch.randn(4, 1))
        self.gain = nn.Parameter(torch.randn(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        parts = (x @ (self.mix * 0.5)).chunk(3, dim=-1)
        z = torch.einsum("tf,efm->etm", parts[0] * self.gain, self.experts) + parts[1].sum()
        return self.front @ (z.mT + self.shift)


class Twice(nn.Module):
    """One matrix, used twice in a pass: the second input is what the first use made."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.tanh(self.layer(x)))


class Routed(nn.Module):
    """As many uses of a matrix as there are positive tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.second = nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        z = self.first(x)
        return [self.second(token) for token in z if token[0] > 0]


def moved(model: nn.Module, seed: int = 0, scale: float = 0.1) -> Snapshot:
    """A copy of a model's weights, after which every parameter is moved at random."""
    start = Snapshot.of(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(scale * noise.to(parameter))
    return start


def measured(model: nn.Module, probe: object) -> tuple[AlignmentReport, Snapshot]:
    """The report of a model after it has moved, and from where."""
    start = moved(model)
    return measure_alignment(model, probe, reference=start), start


def gains_by_hand(
    weight: Tensor, start: Tensor, inputs: Sequence[tuple[Tensor, Tensor]]
) -> dict[AlignmentQuantity, tuple[float, float]]:
    """Pooled and token-mean log gains of every product of W [m, f] with inputs [tokens, f] now and at the start."""
    W, W_0 = _array(weight), _array(start)
    z = np.concatenate([_array(now).reshape(-1, W.shape[1]) for now, _ in inputs])
    z_0 = np.concatenate([_array(then).reshape(-1, W.shape[1]) for _, then in inputs])
    factors = {
        AlignmentQuantity.ALPHA: (W - W_0, z_0),
        AlignmentQuantity.OMEGA: (W_0, z - z_0),
        AlignmentQuantity.U: (W - W_0, z - z_0),
        AlignmentQuantity.PRODUCT: (W, z),
    }
    return {
        quantity: (log_gain(*pair), token_mean(*pair)) if pair[1].any() else (math.nan, math.nan)
        for quantity, pair in factors.items()
    }


def _array(tensor: Tensor) -> Floats:
    return tensor.detach().double().numpy()


def assert_gains(
    report: AlignmentReport,
    layer: str,
    expected: dict[AlignmentQuantity, tuple[float, float]],
    *,
    tolerance: float = 1e-9,
) -> None:
    """That a layer's log gains are these, by both estimators."""
    found = report.layer(layer)
    for quantity, (pooled, mean) in expected.items():
        assert abs(found.log_gain(quantity) - pooled) < tolerance, (layer, quantity)
        assert abs(found.log_gain(quantity, estimator=Estimator.TOKEN_MEAN) - mean) < tolerance, (
            layer,
            quantity,
        )
