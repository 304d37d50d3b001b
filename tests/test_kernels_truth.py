"""The kernels' arithmetic against float64: the GELU's formula, the loss, the norm's gradients, attention."""

from collections.abc import Callable, Iterator
from importlib import import_module
from math import erfc

import numpy as np
import pytest
import torch
from torch import Tensor

from optim_cases import interpreted_kernels
from test_kernels_cases import (
    FLOAT32,
    LAYERS,
    ROUNDING,
    Kind,
    Layer,
    assert_near,
    assert_no_worse,
    attention_layer,
    errors,
    layers,
    norm_layer,
    readout_layer,
    results,
    unwritten_memory_is_nan,
)
from widthwise.kernels import FUSED
from widthwise.models import PLAIN, LayerFunctions
from widthwise.models.layers import add_norm

MLP, READOUT = (import_module(f"widthwise.kernels.{name}") for name in ("mlp", "readout_loss"))


@pytest.fixture(autouse=True)
def _interpreted() -> Iterator[None]:
    with interpreted_kernels(), unwritten_memory_is_nan():
        yield


def rounding_of_phi(u: np.ndarray) -> np.ndarray:
    """What float32 adds to the formula's error of Phi(u), at most.

    With e = 2^-24: the constant 0.2316419 and the product and sum around it round by 3 e, rsqrt by 2 e (an ulp), so
    t = root^2 by 2 (3 / 2 + 2) + 1 = 8 e. A Horner step q -> c + t q adds the errors of t and of two operations,
    (8 + 2) e |t q| + e |q'|. The density's exponent u^2 / 2 has three roundings, exp2 two, and the density is used
    with two more; the tail is at most 1/2, so that 1 - tail rounds by e / 2 once more.
    """
    t = 1 / (1 + 0.2316419 * np.abs(u))
    q, error = np.full_like(u, 1.330274429), np.full_like(u, ROUNDING * 1.330274429)
    for c in (-1.821255978, 1.781477937, -0.356563782, 0.319381530):
        following = c + t * q
        error = t * error + ROUNDING * (10 * np.abs(t * q) + np.abs(following) + abs(c))
        q = following
    density = np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
    relative = ROUNDING * (3 * u**2 / 2 + 2 + 2 + 8 + 2)
    return density * t * (error + np.abs(q) * relative) + ROUNDING


@pytest.fixture(scope="module")
def scanned() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """u, gelu(u) and its slope by the kernel, for 24,001 numbers, and both zeros."""
    u = torch.cat([torch.linspace(-12, 12, 24_001), torch.tensor([0.0, -0.0, 1e-30, -1e-30])])
    slope = u.clone()[None, None]
    with interpreted_kernels():
        value = MLP.gelu_(slope, torch.ones(1))
    return tuple(t.double().numpy().reshape(-1) for t in (u, value, slope))


def test_phi_is_as_near_as_the_formula_says(scanned: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """gelu(u) / u is Phi(u) but for 7.5e-8, Abramowitz and Stegun 26.2.17, and roundings."""
    u, value, slope = scanned
    exact = np.array([erfc(-x / np.sqrt(2)) / 2 for x in u])
    allowed = 7.5e-8 + rounding_of_phi(u)
    assert allowed.max() < 2e-6  # still far below bfloat16's and float16's own roundings, 2^-9 and 2^-12
    assert (np.abs(value - u * exact) <= np.abs(u) * (allowed + ROUNDING * exact)).all()
    density = np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
    of_density = np.abs(u) * density * ROUNDING * (3 * u**2 / 2 + 2 + 3)
    assert (np.abs(slope - exact - u * density) <= allowed + of_density + 2 * ROUNDING).all()


def test_phi_is_as_near_as_its_docstring_says(scanned: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Measured where the bound above is a worst case: 4.4e-7; PyTorch's own float32 GELU is off by 3.4e-7."""
    u, value, slope = scanned
    exact = np.array([erfc(-x / np.sqrt(2)) / 2 for x in u])
    density = np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
    here = np.abs(u) > 1e-3
    assert np.abs(value[here] / u[here] - exact[here]).max() < 5e-7
    assert np.abs(slope - exact - u * density).max() < 5e-7


def test_the_gelu_at_its_ends() -> None:
    """Far out it is 0 and u, with slopes 0 and 1; what is not finite shows."""
    u = torch.tensor([-1e30, -50.0, 0.0, 50.0, 1e30, float("nan"), float("inf")])
    slope = u.clone()[None, None]
    value = MLP.gelu_(slope, torch.ones(1))[0, 0]
    assert torch.equal(value[:5], torch.tensor([0.0, 0.0, 0.0, 50.0, 1e30]))
    ends = torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0])
    torch.testing.assert_close(slope[0, 0, :5], ends, rtol=0, atol=2 * ROUNDING)
    assert not value[5:].isfinite().any()
    assert slope[0, 0, 5:].isnan().all()


def in_float64(functions: LayerFunctions, name: str, kind: Kind = FLOAT32) -> dict[str, Tensor]:
    """The layer of a case on the same numbers, in float64."""
    return results(LAYERS[name](Kind(torch.float64, kind.dtype)), functions)


def as_float32(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in found.items()}


@pytest.mark.parametrize("name", ["attention", "add_norm", "norm", "mlp"])
def test_layers_equal_themselves_in_float64(name: str) -> None:
    """PyTorch's operations in float64, so that all error is the kernels'."""
    layer = LAYERS[name](FLOAT32)
    assert_near(results(layer, FUSED), as_float32(in_float64(PLAIN, name)), layer.terms)


def test_the_norms_gradients_are_slopes() -> None:
    """Finite differences in float64 of the sum of h times a constant, along a random direction of each input."""
    layer = norm_layer(2, 9, 24)
    found = results(layer, FUSED)
    above: list[Tensor] = []
    results(layer, PLAIN, lambda gradients: above.extend(gradients) or gradients)

    def sum_of(inputs: dict[str, Tensor]) -> Tensor:
        total, h = add_norm(inputs["x"], inputs["y"], inputs["gains"], 1e-6)
        return (total * above[0]).sum((1, 2)) + (h * above[1]).sum((1, 2))

    # A central difference of step 1e-4 is off by 1e-8 times third derivatives, and by 1e-16 / 1e-4 of the sum.
    inputs = {name: tensor.double() for name, tensor in layer.inputs.items()}
    for seed, (name, tensor) in enumerate(inputs.items()):
        way = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        ends = [sum_of(inputs | {name: tensor + step * way}) for step in (1e-4, -1e-4)]
        slope_P = (ends[0] - ends[1]) / 2e-4
        product_P = (found[f"d {name}"].double() * way).flatten(1)
        torch.testing.assert_close(product_P.sum(1), slope_P, rtol=0, atol=64 * ROUNDING * product_P.norm())


def numpy_loss(
    x: np.ndarray, w: np.ndarray, targets: np.ndarray, scale: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """One member's mean loss and its gradients by x and W, from the formulas, in float64."""
    l = scale * x @ w  # noqa: E741
    shifted = np.exp(l - l.max(1, keepdims=True))
    share = shifted / shifted.sum(1, keepdims=True)
    rows = np.arange(len(x))
    loss = -np.log(share[rows, targets]).mean()
    share[rows, targets] -= 1
    dl = scale * share / len(x)
    return loss, dl @ w.T, x.T @ dl


@pytest.mark.parametrize("columns", [4096, 32], ids=["one tile", "many tiles"])
@pytest.mark.parametrize("scales", [[1.0, -0.5, 0.0], [8.0, -8.0, 3.0]], ids=["small", "large"])
@pytest.mark.parametrize("vocabulary", [7, 100])
def test_the_loss_equals_float64(
    vocabulary: int, scales: list[float], columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A logit's error, an absolute one, is a relative one of its share, which it moves by less than twice that."""
    monkeypatch.setattr(READOUT, "COLUMNS", columns)
    members, tokens, width = 3, 5, 24
    layer = readout_layer(members, tokens, width, vocabulary)
    x, w = layer.inputs["x"], layer.inputs["w"]
    targets = FLOAT32.integers(vocabulary, members, tokens, seed=21)
    x, w = x.requires_grad_(), w.requires_grad_()
    losses = FUSED.readout_loss(x, w, targets, torch.tensor(scales))
    dx, dw = torch.autograd.grad(losses.sum(), [x, w])
    for p, scale in enumerate(scales):
        arrays = [t[p].detach().double().numpy() for t in (x, w)]
        loss, dx_p, dw_p = numpy_loss(*arrays, targets[p].numpy(), scale)
        of_logits = (width + 2) * ROUNDING * abs(scale) * (np.abs(arrays[0]) @ np.abs(arrays[1])).max()
        assert abs(losses[p].item() - loss) <= 2 * of_logits + 8 * ROUNDING * (1 + loss)
        for found, expected in ((dx[p], dx_p), (dw[p], dw_p)):
            worst = errors(found[None], torch.from_numpy(expected)[None]).item()
            assert worst <= 2 * of_logits + (vocabulary + 8) * ROUNDING
    if 0.0 in scales:
        torch.testing.assert_close(losses[2].item(), np.log(vocabulary), rtol=2 * ROUNDING, atol=0)


@pytest.mark.parametrize("columns", [4096, 32], ids=["one tile", "many tiles"])
def test_logits_become_their_gradients_and_padded_columns_nothing(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns beyond the vocabulary hold numbers that would show, NaN included, and become 0."""
    monkeypatch.setattr(READOUT, "COLUMNS", columns)
    members, tokens, vocabulary, stride = 2, 5, 37, 64
    logits = FLOAT32.normal(members, tokens, stride, seed=31)
    logits[..., vocabulary:] = 1e4
    logits[..., -1] = float("nan")
    targets = FLOAT32.integers(vocabulary, members, tokens, seed=32)
    targets[0, 0], targets[0, 1] = 0, vocabulary - 1
    scales = torch.tensor([1.5, -2.0])
    for gradient in (False, True):
        found = logits.clone()
        losses = READOUT._cross_entropy(
            found, targets, scales, vocabulary=vocabulary, weight=0.3, gradient=gradient
        )
        leaf = logits[..., :vocabulary].double().requires_grad_()
        expected = torch.nn.functional.cross_entropy(
            (leaf * scales.view(-1, 1, 1)).transpose(1, 2), targets, reduction="none"
        )
        torch.testing.assert_close(losses.double(), expected, rtol=0, atol=64 * ROUNDING)
        if not gradient:
            assert torch.equal(found.nan_to_num(7.0), logits.nan_to_num(7.0))
            continue
        assert (found[..., vocabulary:] == 0).all()
        (slopes,) = torch.autograd.grad(0.3 * expected.sum(), leaf)
        torch.testing.assert_close(found[..., :vocabulary].double(), slopes, rtol=0, atol=64 * ROUNDING)


@pytest.mark.parametrize("changed", [0, 70, 129])
def test_a_position_is_read_by_none_before_it(changed: int) -> None:
    """To the bit, across tiles; and what those before hand down reaches none after them."""
    layer = attention_layer(2, 1, 130, 1, 16)
    qkv = layer.inputs["qkv"].clone()
    qkv[:, changed] += 1
    (before,), (after,) = (layer.call(FUSED, inputs) for inputs in (layer.inputs, {"qkv": qkv}))
    assert torch.equal(before[:, :changed], after[:, :changed])
    assert (before[:, changed:] != after[:, changed:]).any(2).all()

    def only_before(gradients: list[Tensor]) -> list[Tensor]:
        gradients[0][:, changed:] = 0
        return gradients

    down = results(layer, FUSED, only_before)["d qkv"]
    assert (down[:, changed:] == 0).all()


@layers
def test_float16_is_no_worse_than_pytorchs(make: Callable[[Kind], Layer]) -> None:
    assert_no_worse(make, FUSED, torch.float16, "cpu")
