"""The roofline's kernel list by hand, its sums, and the law of each kernel's time."""

import pytest
import torch

import benchmark_modules  # noqa: F401

# isort: split
from _population_case import Case
from _roofline import FUSED, FUSED_MLP, UNFUSED, Kernel, Product, Rates, kernels_of, roofline_seconds
from _roofline_rates import product_rate

from widthwise.models import Transformer

TINY = Transformer(width=4, depth=1, head_dim=4, vocabulary=8, context=2)


def by_name(kernels: list[Kernel]) -> dict[str, Kernel]:
    found = {kernel.name: kernel for kernel in kernels}
    assert len(found) == len(kernels)
    return found


def test_a_tiny_model_by_hand() -> None:
    """P = 3 members of N = 2 tokens (one sequence), D = 4, V = 8: bytes and FLOPs worked out on paper."""
    found = by_name(kernels_of(TINY, members=3, batch=1))
    # Input 2 x 4, weight 4 x 12, output 2 x 12: 80 numbers of 2 bytes, 3 members.
    assert (found["qkv"].bytes, found["qkv"].flops) == (480, 2 * 3 * 2 * 4 * 12)
    assert found["qkv, input's gradient"].product == Product(3, 2, 12, 4, "nt")
    assert found["up, weight's gradient"].product == Product(3, 4, 2, 16, "tn")
    assert found["down"].product == Product(3, 2, 16, 4, "nn")
    # 6 tokens; q, k, v read and one D written; two products over half of T = 2 positions at 2 FLOPs: 16 a token.
    assert (found["attention"].bytes, found["attention"].flops) == (6 * 32, 6 * 16)
    assert (found["attention, gradient"].bytes, found["attention, gradient"].flops) == (6 * 64, 6 * 40)
    assert found["gelu"].bytes == 6 * 64
    # Tokens' rows (2 of 8 at most) and two positions, float32, then 2 bytes out; the gradient writes whole tables.
    assert found["embedding"].bytes == 6 * 8 + 3 * 4 * (2 + 2) * 4
    assert found["embedding, gradient"].bytes == 6 * 8 + 3 * 4 * (8 + 2) * 4
    assert found["loss"].bytes + found["loss, gradient"].bytes == 6 * (16 + 32)
    # 12 D^2 + 2 V D + T D + 3 D = 276 parameters at 28 bytes.
    assert found["optimizer"].bytes == 28 * 3 * 276
    assert found["residual and norm"].count == found["gain's gradient"].count == 2


@pytest.mark.parametrize(("fusion", "forward", "backward"), [(UNFUSED, 72, 128), (FUSED_MLP, 40, 70)])
@pytest.mark.parametrize(("width", "depth"), [(128, 8), (96, 3)])
def test_bytes_a_token_and_block(fusion: object, forward: int, backward: int, width: int, depth: int) -> None:
    """72 D and 128 D, or 40 D and 70 D with a fused MLP, when weights and both ends of the model are left out."""
    model = Transformer(width, depth, 32, 256, 64)
    members, batch = 5, 4
    tokens = members * batch * 64
    ends = {"readout", "loss", "embedding", "first norm", "last norm", "last gain's gradient", "optimizer"}
    sums = {"forward": 0.0, "backward": 0.0}
    for kernel in kernels_of(model, members=members, batch=batch, fusion=fusion):  # type: ignore[arg-type]
        if kernel.name in ends or kernel.name.split(",")[0] in ends:
            continue
        weights = 0
        if kernel.product is not None:
            p = kernel.product
            weights = 2 * members * (p.rows * p.columns if p.layout == "tn" else p.inner * p.columns)
        elif kernel.name.startswith("mlp"):
            weights = 2 * members * 8 * width**2 * (2 if "gradient" in kernel.name else 1)
        direction = "backward" if "gradient" in kernel.name else "forward"
        sums[direction] += kernel.count * (kernel.bytes - weights)
    assert sums["forward"] == tokens * depth * forward * width
    assert sums["backward"] == tokens * depth * backward * width


def test_arithmetic_is_the_models() -> None:
    """6 FLOPs a weight and token; attention's 6 T D a token and block, and T D more for what its gradient repeats."""
    case = Case(Transformer(256, 3, 64, 512, 128), 2, 7)
    model = case.model
    total = sum(k.count * k.flops for k in kernels_of(model, members=7, batch=2))
    repeated = 7 * case.tokens * model.depth * model.context * model.width
    assert total == pytest.approx(7 * case.flops + repeated, rel=1e-12)
    # The fused MLP multiplies by the up-projection once more, the fused loss by the readout.
    more = 2 * 7 * case.tokens * (4 * model.depth * model.width**2 + model.vocabulary * model.width)
    fused = sum(k.count * k.flops for k in kernels_of(model, members=7, batch=2, fusion=FUSED))
    assert fused == pytest.approx(total + more, rel=1e-12)


def test_a_kernel_takes_the_longer_of_both_times() -> None:
    product = Product(2, 10, 10, 10, "nn")
    rates = Rates(copy=100.0, matmul=50.0, products={product: 10.0})
    assert rates.seconds(Kernel("copy", 3, bytes=200.0)) == 6.0
    assert rates.seconds(Kernel("attention", 1, bytes=100.0, flops=200.0)) == 4.0
    assert rates.seconds(Kernel("product", 2, bytes=1.0, flops=200.0, product=product)) == 40.0
    assert roofline_seconds([Kernel("a", 1, 100.0), Kernel("b", 1, 50.0)], rates) == 1.5


def test_a_product_without_a_rate_is_refused() -> None:
    rates = Rates(copy=1.0, matmul=1.0, products={})
    with pytest.raises(KeyError):
        roofline_seconds(kernels_of(TINY, members=1, batch=1), rates)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("layout", ["nn", "nt", "tn"])
def test_a_product_is_measured_in_its_layout(
    layout: str, members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is multiplied has the product's shape and the step's strides; its rate is FLOPs over seconds."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    original = torch.Tensor.__matmul__

    def watch(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        seen.append((a[None], b[None]))
        return original(a, b)

    def bmm(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        seen.append((a, b))
        return a

    monkeypatch.setattr(torch.Tensor, "__matmul__", watch)
    monkeypatch.setattr(torch, "bmm", bmm)
    monkeypatch.setattr("_roofline_rates.recorded_seconds", lambda step, device: step() is None or 2.0)
    product = Product(members, 5, 7, 11, layout)
    assert product_rate(product, torch.device("cpu")) in (product.flops / 2, product.flops)
    ((a, b),) = seen
    assert (a.shape, b.shape) == ((members, 5, 7), (members, 7, 11))
    assert (a.stride(-1) == 1, b.stride(-1) == 1) == (layout != "tn", layout != "nt")
