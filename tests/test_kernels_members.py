"""What holds of every layer by kernels: members do not touch each other, gradients from above, the same bits twice."""

from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module

import pytest
import torch
from torch import Tensor

from optim_cases import interpreted_kernels
from test_kernels_cases import (
    FLOAT32,
    LAYERS,
    Kind,
    Layer,
    Outputs,
    assert_near,
    attention_layer,
    embed_layer,
    layers,
    mlp_layer,
    readout_layer,
    results,
    same_bits,
    unwritten_memory_is_nan,
)
from widthwise.kernels import FUSED
from widthwise.models import PLAIN

EMBEDDING, READOUT = (import_module(f"widthwise.kernels.{name}") for name in ("embedding", "readout_loss"))
Make = Callable[[Kind], Layer]


@pytest.fixture(autouse=True)
def _interpreted() -> Iterator[None]:
    with interpreted_kernels(), unwritten_memory_is_nan():
        yield


@cache
def by_kernels(make: Make) -> dict[str, Tensor]:
    """The healthy layer's results, once for all tests."""
    return results(make(FLOAT32), FUSED)


def ruin(tensor: Tensor, member: int, value: float) -> Tensor:
    """The tensor with one number of one member replaced, in the middle."""
    ruined = tensor.clone()
    numbers = ruined[member].view(-1) if ruined[member].dim() else ruined[member : member + 1]
    numbers[len(numbers) // 2] = value
    return ruined


def assert_only_this_member_breaks(
    layer: Layer,
    broken: Layer,
    member: int,
    above: float | None,
    *,
    healthy: dict[str, Tensor] | None = None,
) -> None:
    """The others' bits are those of the healthy call, and what is not finite in the plain layer is not finite here."""

    def change(gradients: list[Tensor]) -> Outputs:
        return gradients if above is None else [ruin(g, member, above) for g in gradients]

    others = [p for p in range(3) if p != member]
    healthy = results(layer, FUSED) if healthy is None else healthy
    found = results(broken, FUSED, change)
    plain = results(broken, PLAIN, change)
    assert any(not tensor[member].isfinite().all() for tensor in plain.values())
    for name, tensor in found.items():
        assert torch.equal(tensor[others], healthy[name][others]), name
        assert (tensor.isfinite() <= plain[name].isfinite()).all(), name


NAN_MAXIMUM = "ignore:All-NaN slice encountered:RuntimeWarning"
"""The interpreter's maximum leaves NaN out, as a device's does, and warns where there is nothing else."""


@pytest.mark.filterwarnings(NAN_MAXIMUM)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@layers
def test_a_broken_member_leaves_the_others_bits(make: Make, value: float) -> None:
    """By any of its inputs, or by the gradient from above."""
    layer = make(FLOAT32)
    for member, (name, tensor) in enumerate(layer.inputs.items()):
        ruined = ruin(tensor, member, value)
        if name == "table":  # an entry that no token names would stay unseen
            ruined = tensor.index_fill(0, torch.tensor(member), value)
        broken = layer.with_inputs(**{name: ruined})
        assert_only_this_member_breaks(layer, broken, member, None, healthy=by_kernels(make))
    assert_only_this_member_breaks(layer, layer, 2, value, healthy=by_kernels(make))


@pytest.mark.filterwarnings(NAN_MAXIMUM)
@pytest.mark.parametrize("rows", [3 * 7, 2 * 7, 3], ids=["at once", "two members", "parts"])
def test_a_broken_member_in_pieces_of_logits(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members of one piece, rows of one tile, and tiles of logits that are narrower than a row."""
    monkeypatch.setattr(READOUT, "LOGITS_BYTES", rows * 128 * 4)
    monkeypatch.setattr(READOUT, "COLUMNS", 64)
    layer = readout_layer(3, 7, 8, 100)
    healthy = results(layer, FUSED)
    for name in ("x", "w"):
        broken = layer.with_inputs(**{name: ruin(layer.inputs[name], 1, float("nan"))})
        assert_only_this_member_breaks(layer, broken, 1, None, healthy=healthy)


def test_a_broken_member_of_a_large_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EMBEDDING, "ONEHOT_VOCABULARY", 6)
    layer = embed_layer(3, 2, 11, 13, 7, 24)
    assert_only_this_member_breaks(layer, layer, 1, float("nan"))


BY_PYTORCH = ("attention by a backend", "mlp", "readout_loss")
"""Their matrices are multiplied by PyTorch, on a CPU by MKL: it adds up in an order that depends on where in memory a
matrix begins, and so on the member's place, unless all of them begin at multiples of 64 bytes. The backend of attention
has each thread keep its scores behind those of the thread before."""


@layers
def test_members_in_another_order_are_the_same_members(make: Make) -> None:
    """The last member's inputs, tokens and scale moved by one: each is computed from its own alone, to the bit."""
    found, expected = moved_by_one(make)
    if make in [LAYERS[name] for name in BY_PYTORCH]:
        assert_near(found, expected, make(FLOAT32).terms)
    else:
        assert same_bits(found, expected)


ON_64_BYTES: dict[str, Make] = {
    "attention by a backend": lambda kind: attention_layer(3, 2, 16, 3, 8, kind),
    "mlp": lambda kind: mlp_layer(3, 16, 16, 32, kind=kind),
    "readout_loss": lambda kind: readout_layer(3, 16, 16, 48, kind=kind),
}
"""Sizes that are multiples of 16, but for the heads: every matrix begins at a multiple of 64 bytes, and a thread's 16 x
16 scores, 16 maxima, 16 sums and 16 x 8 outputs of attention take 26 times 64."""


@pytest.mark.parametrize("make", ON_64_BYTES.values(), ids=ON_64_BYTES)
def test_members_whose_matrices_begin_at_multiples_of_64_bytes(make: Make) -> None:
    """On two threads, of which each computes some members: to the bit, as docs/populations.md says."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert same_bits(*moved_by_one(make))
    finally:
        torch.set_num_threads(threads)


def moved_by_one(make: Make) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A layer's results for its members in another order, and its results in that order."""
    layer = make(FLOAT32)
    order = torch.tensor([2, 0, 1])
    found = results(in_order(make, order), FUSED, lambda _: [g[order] for g in above(layer)])
    return found, {name: tensor[order] for name, tensor in by_kernels(make).items()}


def above(layer: Layer) -> list[Tensor]:
    """The gradients that `results` hands to a layer."""
    seen: list[Tensor] = []
    results(layer, PLAIN, lambda gradients: seen.extend(gradients) or gradients)
    return seen


def in_order(make: Make, order: Tensor) -> Layer:
    """The layer of these members in another order, whatever is drawn for them."""

    class Ordered(Kind):
        def normal(self, *shape: int, seed: int, dtype: torch.dtype | None = None) -> Tensor:
            return super().normal(*shape, seed=seed, dtype=dtype)[order]

        def integers(self, below: int, *shape: int, seed: int) -> Tensor:
            return super().integers(below, *shape, seed=seed)[order]

        def scales(self, members: int) -> Tensor:
            return super().scales(members)[order]

    return make(Ordered())


@layers
def test_the_same_bits_twice(make: Make) -> None:
    assert same_bits(results(make(FLOAT32), FUSED), by_kernels(make))


@layers
def test_no_gradient_from_above_is_none_below(make: Make) -> None:
    """Zeros give zeros; a member without one has none."""
    layer = make(FLOAT32)
    zero = results(layer, FUSED, lambda gradients: [0 * g for g in gradients])
    assert all((tensor == 0).all() for name, tensor in zero.items() if name.startswith("d "))
    keep = torch.tensor([1.0, 1.0, 0.0])

    def without_the_last(gradients: list[Tensor]) -> Outputs:
        return [g * keep.view(-1, *[1] * (g.dim() - 1)) for g in gradients]

    found, expected = results(layer, FUSED, without_the_last), by_kernels(make)
    for name in layer.inputs:
        assert (found[f"d {name}"][2] == 0).all()
        assert torch.equal(found[f"d {name}"][:2], expected[f"d {name}"][:2])


@layers
def test_gradients_from_above_of_any_layout(make: Make) -> None:
    """Transposed in memory, and one number expanded: what a sum hands down."""

    def transposed(gradients: list[Tensor]) -> Outputs:
        return [g.mT.contiguous().mT if g.dim() == 3 else g for g in gradients]

    def expanded(gradients: list[Tensor]) -> Outputs:
        return [torch.tensor(0.75).expand_as(g) for g in gradients]

    layer = make(FLOAT32)
    assert same_bits(results(layer, FUSED, transposed), by_kernels(make))
    assert_near(results(layer, FUSED, expanded), results(layer, PLAIN, expanded), layer.terms)


@layers
def test_gradients_are_linear_in_those_from_above(make: Make) -> None:
    """A power of two scales every bit: nothing of a loss's own 1 is left in them."""
    layer = make(FLOAT32)
    once = by_kernels(make)
    scaled = results(layer, FUSED, lambda gradients: [-4 * g for g in gradients])
    for name in layer.inputs:
        assert torch.equal(scaled[f"d {name}"], -4 * once[f"d {name}"])


@layers
def test_without_gradients_the_values_are_the_same(make: Make) -> None:
    layer = make(FLOAT32)
    with torch.no_grad():
        outputs = layer.call(FUSED, layer.inputs)
    expected = by_kernels(make)
    for i, out in enumerate(outputs):
        assert torch.equal(out, expected[f"out {i}"])


@pytest.mark.parametrize("asked", ["no_grad", "no leaf", "x", "w"])
def test_logits_become_gradients_only_where_they_are_asked_for(
    asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    original = READOUT.losses_and_gradients

    def recorded(*arguments: Tensor, gradient: bool) -> tuple[Tensor, Tensor, Tensor]:
        seen.append(original(*arguments, gradient=gradient))
        return seen[-1]

    monkeypatch.setattr(READOUT, "losses_and_gradients", recorded)
    layer = readout_layer(3, 21, 8, 7)
    leaves = {name: t.clone().requires_grad_(asked in (name, "no_grad")) for name, t in layer.inputs.items()}
    with torch.set_grad_enabled(asked != "no_grad"):
        (losses,) = layer.call(FUSED, leaves)
    ((_, dx, dw),) = seen
    if asked in leaves:
        (found,) = torch.autograd.grad(losses.sum(), leaves[asked])
        whole = results(layer, FUSED, lambda gradients: [torch.ones_like(g) for g in gradients])
        assert torch.equal(found, whole[f"d {asked}"])
    else:
        assert dx.numel() == dw.numel() == 0
        assert not losses.requires_grad


@pytest.mark.parametrize("used", ["total", "h"])
@pytest.mark.parametrize("name", ["add_norm", "norm"])
def test_either_output_of_a_norm_may_be_left_unused(name: str, used: str) -> None:
    """The last norm's sum is read by nothing."""
    layer = LAYERS[name](FLOAT32)

    def only(functions: str) -> dict[str, Tensor | None]:
        leaves = {n: t.clone().requires_grad_() for n, t in layer.inputs.items()}
        outputs = dict(
            zip(("total", "h"), layer.call({"fused": FUSED, "plain": PLAIN}[functions], leaves), strict=True)
        )
        above = torch.randn(outputs[used].shape, generator=torch.Generator().manual_seed(1))
        gradients = torch.autograd.grad(outputs[used], list(leaves.values()), above, allow_unused=True)
        return dict(zip(leaves, gradients, strict=True))

    found, expected = only("fused"), only("plain")
    for n, gradient in expected.items():
        if gradient is None:
            assert found[n] is None
        else:
            assert_near({n: found[n]}, {n: gradient}, layer.terms)
