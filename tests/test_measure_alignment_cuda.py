"""Alignment on a CUDA device against float64 on the host: eager, compiled, recorded, in low precision."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alignment_models import moved
from widthwise.measure import AlignmentReport, Redraw, Snapshot, measure_alignment
from widthwise.measure.tensor_product import MatrixProduct
from widthwise.scaling.seeding import seeded

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

EXACT = 1e-4
"""Of a log gain: float32 products of at most 256 terms and activations of three layers; without TF32."""
LOW = 0.05
"""Of a log gain of the whole product: bfloat16 activations are good to 1 in 256."""


class Net(nn.Module):
    """A table, attention, a convolution, a recurrent layer and a readout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 64)
        self.attention = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, batch_first=True)
        self.convolution = nn.Conv1d(64, 64, 3, padding=1, groups=2)
        self.recurrent = nn.LSTM(64, 32, batch_first=True)
        self.readout = nn.Linear(32, 50)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.attention(self.embed(tokens))
        x = torch.tanh(self.convolution(x.mT)).mT
        return self.readout(self.recurrent(x)[0])


@pytest.fixture(autouse=True, scope="module")
def without_tf32() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def build() -> nn.Module:
    with torch.device("cuda"):
        return Net()


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Snapshot, Tensor]:
    with seeded(0):
        model = build()
    return model, moved(model, scale=0.02), torch.arange(120, device="cuda").reshape(4, 30) % 50


@pytest.fixture(scope="module")
def expected(trained: tuple[nn.Module, Snapshot, Tensor]) -> AlignmentReport:
    model, start, tokens = trained
    host = Net().double()
    host.load_state_dict(model.state_dict())
    reference = {name: tensor.cpu().double() for name, tensor in start.tensors.items()}
    return measure_alignment(host, tokens.cpu(), reference=reference)


def worst(found: AlignmentReport, expected: AlignmentReport, *, only: str = "") -> float:
    """The largest difference of a log gain; undefined ones must be so in both."""
    pairs = [
        (ours.log_gain, theirs.log_gain)
        for ours, theirs in zip(found.gains(), expected.gains(), strict=True)
        if only in ours.quantity.value
    ]
    assert all(math.isnan(ours) == math.isnan(theirs) for ours, theirs in pairs)
    return max(abs(ours - theirs) for ours, theirs in pairs if not math.isnan(theirs))


def reasons(report: AlignmentReport) -> dict[str, str]:
    """Why each tensor is unmeasured, without the operators that it met: a fused kernel's is another one on the host."""
    return {one.layer: one.reason.partition(" (")[0] for one in report.unmeasured}


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # importing torch's own compiler
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning")  # off on purpose: see EXACT
@pytest.mark.filterwarnings(
    "ignore:The CUDA Graph is empty:UserWarning"
)  # torch keeps a pool alive by such a one
@pytest.mark.parametrize("kind", ["eager", "compiled", "cuda graphs"])
def test_float32_equals_float64_on_the_host(
    kind: str, trained: tuple[nn.Module, Snapshot, Tensor], expected: AlignmentReport
) -> None:
    model, start, tokens = trained
    options = {"compiled": {}, "cuda graphs": {"mode": "reduce-overhead"}}
    chosen: Any = torch.compile(model, **options[kind]) if kind in options else model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for _ in range(3):
        chosen(tokens)
    found = measure_alignment(chosen, tokens, reference=start)
    assert worst(found, expected) < EXACT
    assert reasons(found) == reasons(expected)
    for ours, theirs in zip(found.layers, expected.layers, strict=True):
        assert ours.spectral_norm == pytest.approx(theirs.spectral_norm, rel=0.02)  # from another start
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    chosen(tokens)


def test_references_on_the_host_and_redrawn_are_the_same_bits(
    trained: tuple[nn.Module, Snapshot, Tensor],
) -> None:
    model, start, tokens = trained
    with seeded(0):
        redraw = Redraw.of(build(), build, seed=0)
    host = Snapshot({name: tensor.cpu() for name, tensor in start.tensors.items()})
    found = [
        [one.log_gain for one in measure_alignment(model, tokens, reference=reference).gains()]
        for reference in (start, host, redraw)
    ]
    assert worst_of(found[0], found[1]) == 0
    assert worst_of(found[0], found[2]) == 0


def worst_of(one: list[float], two: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, two, strict=True) if not (math.isnan(a) and math.isnan(b)))


@pytest.mark.parametrize("kind", ["autocast", "bfloat16"])
def test_low_precision(kind: str, expected: AlignmentReport) -> None:
    with seeded(0):
        model = build()
    start = moved(model, scale=0.02)
    tokens = torch.arange(120, device="cuda").reshape(4, 30) % 50
    if kind == "bfloat16":
        model, start = model.bfloat16(), Snapshot({n: t.bfloat16() for n, t in start.tensors.items()})
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=kind == "autocast"):
        found = measure_alignment(model, tokens, reference=start)
    assert worst(found, expected, only="product") < LOW
    if kind == "autocast":
        for ours, theirs in zip(found.layers, expected.layers, strict=True):
            assert ours.relative_change == pytest.approx(theirs.relative_change, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_products_of_low_precision_inputs(dtype: torch.dtype) -> None:
    """TF32 rounds a factor by 2^-11 of itself at most: 1e-3 of a log gain, if every entry errs to the same side."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 256, generator=generator).to(dtype)
    A = 1e-4 * torch.randn(192, 256, generator=generator)
    product = MatrixProduct(x.cuda(), A.shape, left=True)
    before = torch.backends.cuda.matmul.fp32_precision
    found = product.output_norms(A.cuda(), x.cuda().float())
    assert torch.backends.cuda.matmul.fp32_precision == before
    exact = torch.linalg.vector_norm(x.double() @ A.double().mT, dim=-1)
    assert (found.cpu().log() - exact.log()).abs().max() < 1e-3
