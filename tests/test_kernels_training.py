"""Whole models by kernels: losses, gradients and steps as the plain layers', and where the kernels are chosen."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from optim_cases import interpreted_kernels
from populations import ADAM_UPDATE, CPU, letter_corpus, make_recipe, numbers
from test_kernels_cases import assert_near, unwritten_memory_is_nan
from widthwise.kernels import FUSED
from widthwise.models import MLP, PLAIN, LayerFunctions, Transformer, Weights
from widthwise.scaling import Gauge
from widthwise.theory import MUP, NTK
from widthwise.train import (
    Engine,
    Member,
    Population,
    Precision,
    Recipe,
    TrainingStep,
    engine_for,
    initial_parameters,
)
from widthwise.train.batches import Batches, validation_windows
from widthwise.train.population import layer_functions

CORPUS = letter_corpus()
MODEL = Transformer(width=32, depth=2, head_dim=16, vocabulary=32, context=8)
SMALL = Transformer(width=16, depth=1, head_dim=16, vocabulary=32, context=8)
CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def _interpreted() -> Iterator[None]:
    with interpreted_kernels(), unwritten_memory_is_nan():
        yield


def losses_and_gradients(
    functions: LayerFunctions, *, multiplied: bool, context: int = 8, broken: bool = False
) -> dict[str, Tensor]:
    """Of a Transformer with three members, and every parameter's gradient. Gains and embeddings are drawn too."""
    generator = torch.Generator().manual_seed(1)
    leaves = {
        name: 0.3 * torch.randn(3, *tensor.shape, generator=generator)
        for name, tensor in MODEL.tensors().items()
    }
    multipliers = {name: torch.rand(3, generator=generator) + 0.5 for name in leaves}
    tokens = torch.randint(32, (3, 2, context + 1), generator=generator)
    if broken:
        leaves["blocks.0.mlp.up"][1, 3, 4] = float("nan")
    for leaf in leaves.values():
        leaf.requires_grad_()
    weights = Weights(leaves, multipliers if multiplied else None, torch.float32, functions)
    losses = MODEL.losses(weights, tokens)
    gradients = torch.autograd.grad(losses, list(leaves.values()), torch.tensor([1.0, -0.5, 2.0]))
    return {"losses": losses.detach(), **dict(zip(leaves, gradients, strict=True))}


@pytest.mark.slow
@pytest.mark.parametrize("multiplied", [True, False], ids=["multipliers", "no multipliers"])
@pytest.mark.parametrize("context", [8, 5], ids=["the context", "less"])
def test_a_transformer_is_the_plain_one(context: int, *, multiplied: bool) -> None:
    """Two blocks: some 20 operations one after another, of at most 128 + 8 roundings each."""
    found, expected = (
        losses_and_gradients(functions, multiplied=multiplied, context=context)
        for functions in (FUSED, PLAIN)
    )
    assert_near(found, expected, terms=20 * 136)
    assert all((tensor != 0).any() for tensor in found.values())
    assert (found["position_embedding"][:, context:] == 0).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:All-NaN slice encountered:RuntimeWarning")
def test_a_broken_member_of_a_transformer() -> None:
    healthy, broken = (losses_and_gradients(FUSED, multiplied=True, broken=b) for b in (False, True))
    assert broken["losses"].isfinite().tolist() == [True, False, True]
    for name, tensor in broken.items():
        assert torch.equal(tensor[[0, 2]], healthy[name][[0, 2]]), name


def recipe_and_members(gauge: Gauge, steps: int) -> tuple[Recipe, list[Member]]:
    members = [
        Member(
            numbers(SMALL, learning_rate=rate, adam_epsilon=1e-4, parameterization=rule, gauge=gauge),
            init_seed=i,
            data_seed=i % 2,
        )
        for i, (rate, rule) in enumerate([(0.02, MUP), (0.04, NTK)])
    ]
    return make_recipe(SMALL, ADAM_UPDATE, steps=steps, warmup=1, batch=2), members


def trained(functions: LayerFunctions, gauge: Gauge, steps: int) -> tuple[TrainingStep, Tensor]:
    """The step after so many, and the losses on held-out text; a batch of 2 leaves a last piece of 1 window."""
    recipe, members = recipe_and_members(gauge, steps)
    population = Population(recipe, members, CPU, functions=functions)
    batches = Batches(CORPUS, [0, 1], steps=steps, batch=recipe.batch, context=SMALL.context, device=CPU)
    step = TrainingStep(recipe, population, batches, torch.tensor([0, 1]))
    for _ in range(steps):
        step.run()
    windows = validation_windows(CORPUS, windows=3, context=SMALL.context, device=CPU)
    return step, population.validation_losses(windows)


@pytest.mark.parametrize("gauge", Gauge)
def test_steps_by_kernels_are_the_plain_steps(gauge: Gauge) -> None:
    """Three of Adam. A gradient is off by some 1e-6 of the largest, its direction by that over its own size:
    by 1e-2 where it is 1e-4 of the largest. Losses, which such weights hardly move, agree to their own rounding."""
    (found, after), (expected, plain) = (trained(functions, gauge, 3) for functions in (FUSED, PLAIN))
    torch.testing.assert_close(found.losses_LxP, expected.losses_LxP, rtol=1e-5, atol=0)
    torch.testing.assert_close(after, plain, rtol=1e-5, atol=0)
    start = initial_parameters(*recipe_and_members(gauge, 3), CPU)
    for name, tensor in expected.population.parameters.items():
        moved = (tensor - start[name]).abs().amax()
        assert moved > 1e-3
        assert (found.population.parameters[name] - tensor).abs().amax() < 0.02 * moved, name


@pytest.mark.slow
def test_steps_by_kernels_repeat_bit_for_bit() -> None:
    one, other = (trained(FUSED, Gauge.FOLDED, 2)[0].tensors() for _ in range(2))
    assert all(torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) for a, b in zip(one, other, strict=True))


@pytest.fixture
def _hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))


def choice(
    *,
    device: torch.device = CUDA,
    precision: Precision = Precision.BFLOAT16,
    model: Transformer | MLP = MODEL,
) -> LayerFunctions:
    return layer_functions(make_recipe(model, ADAM_UPDATE, steps=3, precision=precision), device)


@pytest.mark.usefixtures("_hopper")
def test_kernels_are_chosen_where_they_run() -> None:
    assert choice() is FUSED
    assert choice(device=torch.device("cuda", 1)) is FUSED


@pytest.mark.usefixtures("_hopper")
@pytest.mark.parametrize(
    "other",
    [
        {"device": CPU},
        {"precision": Precision.FLOAT32},
        {"model": Transformer(width=20, depth=1, head_dim=4, vocabulary=32, context=8)},
    ],
    ids=["cpu", "float32", "width 20"],
)
def test_plain_layers_are_chosen_elsewhere(other: dict[str, Any]) -> None:
    assert choice(**other) is PLAIN


@pytest.mark.parametrize(
    ("capability", "expected"), [((8, 0), PLAIN), ((8, 9), PLAIN), ((9, 0), FUSED), ((10, 0), FUSED)]
)
def test_descriptors_need_a_capability(
    capability: tuple[int, int], expected: LayerFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choice() is expected


@pytest.mark.usefixtures("_hopper")
def test_without_triton_layers_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("widthwise.train.population.has_triton", lambda: False)
    assert choice() is PLAIN


def test_kernels_are_left_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(function: Callable[..., Tensor], **options: Any) -> Callable[..., Tensor]:
        return lambda *arguments: function(*arguments)

    monkeypatch.setattr(torch, "compile", compiled)
    recipe = make_recipe(MODEL, ADAM_UPDATE, steps=1000)
    members = [Member(numbers(MODEL, learning_rate=0.01), 0, 0)]
    engine = Engine(compiled=True)
    fused = Population(recipe, members, CPU, functions=FUSED)
    assert engine.losses(fused) == fused.losses
    assert not engine_for(recipe, fused).compiled
    plain = Population(recipe, members, CPU)
    assert plain.functions is PLAIN
    assert engine.losses(plain) != plain.losses
