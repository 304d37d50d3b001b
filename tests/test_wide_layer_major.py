"""Layer-major training: the population of one member in float32, whatever the pieces; near it in few bits."""

from dataclasses import replace
from importlib import import_module

import pytest
import torch
from torch import Tensor

from optim_cases import interpreted_kernels
from populations import (
    ADAM_UPDATE,
    ATAN2_UPDATE,
    CPU,
    SGD_MOMENTUM,
    letter_corpus,
    make_recipe,
    mlp,
    numbers,
    trace,
    transformer,
)
from widthwise.models import PLAIN
from widthwise.optim import AdafactorConstants, AdafactorUpdate, MemberUpdate, SgdUpdate
from widthwise.scaling import Anchor, Gauge
from widthwise.theory import ADAFACTOR, ADAM, MEAN_FIELD, MUP, SGD, STANDARD, OptimizerRule, Parameterization
from widthwise.train import Member, Precision, Recipe
from widthwise.train.batches import Batches
from widthwise.wide import EXACT, LayerMajor, Place, Storage, Watch

STEPS = 20
MODEL = transformer(16, depth=2)
UPDATES: dict[str, tuple[MemberUpdate, OptimizerRule, float]] = {
    "sgd": (SGD_MOMENTUM, SGD, 0.1),
    "stateless sgd": (SgdUpdate(0.0), SGD, 1.0),
    "adam": (ADAM_UPDATE, ADAM, 0.03),
    "atan2": (ATAN2_UPDATE, ADAM, 0.03),
    "adafactor": (AdafactorUpdate(AdafactorConstants(min_dim_size_to_factor=8)), ADAFACTOR, 0.03),
}


def case(name: str, parameterization: Parameterization = STANDARD) -> tuple[Recipe, Member]:
    update, rule, rate = UPDATES[name]
    run = numbers(
        MODEL,
        learning_rate=rate,
        parameterization=parameterization,
        optimizer=rule,
        anchor=Anchor.ABSOLUTE,
        gauge=Gauge.EXPLICIT,
    )
    return make_recipe(MODEL, update, steps=STEPS), Member(run, init_seed=3, data_seed=5)


def batches(recipe: Recipe) -> Batches:
    return Batches(letter_corpus(), [5], steps=STEPS, batch=recipe.batch, context=8, device=CPU)


def losses(training: LayerMajor, steps: int = STEPS) -> Tensor:
    data = batches(training.recipe)
    return torch.stack([training.step(data.at(step)[0]) for step in range(1, steps + 1)])


@pytest.mark.parametrize(("name", "pieces"), [("adam", 1), *((name, 2) for name in UPDATES)])
def test_in_float32_it_is_the_population_of_one(name: str, pieces: int) -> None:
    """Every loss to 1e-6 of itself over 20 steps, under multipliers that are not 1; weights to a few roundings."""
    recipe, member = case(name, MUP)
    expected = trace(recipe, [member], letter_corpus())
    training = LayerMajor(recipe, member, CPU, replace(EXACT, micro_batches=pieces))
    found = losses(training)
    torch.testing.assert_close(found, expected.losses[:, 0], rtol=1e-6, atol=0)
    assert found[-1] < found[0] - 0.3
    for tensor, weight in training.weights.items():
        torch.testing.assert_close(weight, expected.parameters[tensor][0], rtol=1e-4, atol=2e-5)


def test_a_large_batch_is_exact_in_pieces() -> None:
    """The gradient of the whole batch by autograd, in float32, from four pieces."""
    recipe, member = case("adam", MEAN_FIELD)
    training = LayerMajor(recipe, member, CPU, replace(EXACT, micro_batches=4))
    tokens = batches(recipe).at(1)[0]
    seen: dict[str, Tensor] = {}
    training.observe(tokens, Watch(gradient=lambda name, g: seen.__setitem__(name, g.clone())))
    leaves = {n: w[None].clone().requires_grad_() for n, w in training.weights.items()}
    multipliers = {n: torch.tensor([member.numbers[n].multiplier]) for n in leaves}
    logits = MODEL.logits(leaves, tokens[None, :, :-1], multipliers=multipliers)
    torch.nn.functional.cross_entropy(logits[0], tokens[:, 1:].flatten()).backward()
    for name, leaf in leaves.items():
        assert leaf.grad is not None
        size = leaf.grad.square().mean().sqrt()
        torch.testing.assert_close(seen[name], leaf.grad[0], rtol=0, atol=float(2e-6 * size) + 1e-12)


@pytest.mark.parametrize(
    "name",
    [
        "adam",
        "adafactor",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("sgd", "stateless sgd", "atan2")),
    ],
)
def test_compact_storage_learns_the_same(name: str) -> None:
    """bfloat16 weights and 8-bit state: each loss near the exact one, by what 2^-9 of every weight makes of it.

    The spread of three rounding seeds bounds what rounding does; the exact curve lies within three of it and 1 %.
    """
    recipe, member = case(name)
    steps = 12
    exact = losses(LayerMajor(recipe, member, CPU, EXACT), steps)
    runs = torch.stack(
        [losses(LayerMajor(recipe, member, CPU, Storage(rounding_seed=seed)), steps) for seed in range(3)]
    )
    error = (runs.mean(0) - exact).abs()
    assert (error <= 3 * runs.std(0) + 0.01 * exact).all()
    assert runs[:, -1].max() < runs[:, 0].min() - 0.3


def test_a_compact_run_repeats_and_another_seed_differs() -> None:
    recipe, member = case("atan2")
    recipe = replace(recipe, precision=Precision.BFLOAT16)
    one, two, other = (
        losses(LayerMajor(recipe, member, CPU, Storage(micro_batches=2, rounding_seed=seed)), 5)
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_block_inputs_in_host_memory_change_nothing() -> None:
    recipe, member = case("adam")
    here, there = (
        losses(LayerMajor(recipe, member, CPU, replace(EXACT, micro_batches=2, boundaries=place)), 4)
        for place in Place
    )
    assert torch.equal(here, there)


def test_sums_in_bfloat16_are_off_by_their_roundings() -> None:
    """At most (m - 1) 2^-9 of the largest partial sum, here of sums that grow."""
    recipe, member = case("adam")
    seen: dict[Precision, dict[str, Tensor]] = {precision: {} for precision in Precision}
    tokens = batches(recipe).at(1)[0]
    for precision, found in seen.items():
        training = LayerMajor(recipe, member, CPU, replace(EXACT, micro_batches=4, sums=precision))
        training.observe(tokens, Watch(gradient=found.__setitem__))
    for name, exact in seen[Precision.FLOAT32].items():
        error = seen[Precision.BFLOAT16][name].float() - exact
        assert error.norm() < 4 * 2**-9 * exact.norm()
    assert not torch.equal(seen[Precision.BFLOAT16]["readout"].float(), seen[Precision.FLOAT32]["readout"])


def test_gradients_live_one_block_at_a_time() -> None:
    """When a block's gradients are seen, no other block's are alive."""
    import weakref

    recipe, member = case("adam")
    training = LayerMajor(recipe, member, CPU, replace(EXACT, micro_batches=2))
    alive: dict[str, weakref.ref[Tensor]] = {}
    together: set[frozenset[str]] = set()

    def see(name: str, gradient: Tensor) -> None:
        alive[name] = weakref.ref(gradient)
        together.add(frozenset(n.rpartition(".")[0][:8] for n, ref in alive.items() if ref() is not None))

    training.step(batches(recipe).at(1)[0], watch=Watch(gradient=see))
    assert all(len(blocks) == 1 for blocks in together)
    assert frozenset({"blocks.0"}) in together


def test_activations_are_seen() -> None:
    recipe, member = case("adam")
    seen: list[tuple[str, tuple[int, ...]]] = []
    training = LayerMajor(recipe, member, CPU, EXACT)
    training.observe(
        batches(recipe).at(1)[0], Watch(activation=lambda n, x: seen.append((n, tuple(x.shape))))
    )
    assert seen == [(name, (1, 32, 16)) for name in ("embedding", "blocks.0", "blocks.1")]


@pytest.mark.parametrize("times_width", [0, pytest.param(2048, marks=pytest.mark.slow)])
def test_with_the_kernels_of_layers(times_width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch by kernels and by plain layers, in float32, which the interpreter multiplies exactly."""
    kernels = pytest.importorskip("widthwise.kernels")
    monkeypatch.setattr(import_module("widthwise.kernels.mlp"), "TIMES_WIDTH", times_width)
    recipe, member = case("adam", MUP)
    model = replace(MODEL, width=32, head_dim=16)
    run = numbers(
        model, learning_rate=0.03, parameterization=MUP, anchor=Anchor.ABSOLUTE, gauge=Gauge.EXPLICIT
    )
    recipe = replace(recipe, model=model)
    tokens = batches(recipe).at(1)[0]
    found: list[tuple[Tensor, dict[str, Tensor]]] = []
    with interpreted_kernels():
        for functions in (PLAIN, kernels.FUSED):
            training = LayerMajor(
                recipe,
                replace(member, numbers=run),
                CPU,
                replace(EXACT, micro_batches=2),
                functions=functions,
            )
            seen: dict[str, Tensor] = {}
            found.append((training.observe(tokens, Watch(gradient=seen.__setitem__)), seen))
    (plain_loss, plain), (kernel_loss, kernel) = found
    torch.testing.assert_close(kernel_loss, plain_loss, rtol=1e-6, atol=0)
    for name, gradient in plain.items():
        assert (kernel[name] - gradient).norm() < 1e-5 * gradient.norm(), name


def test_bad_input() -> None:
    recipe, member = case("adam")
    with pytest.raises(ValueError, match="a batch of 4 sequences does not divide into 3 equal micro-batches"):
        LayerMajor(recipe, member, CPU, replace(EXACT, micro_batches=3))
    with pytest.raises(ValueError, match=r"disagree about \['readout'\]"):
        LayerMajor(
            recipe, replace(member, numbers={n: v for n, v in member.numbers.items() if n != "readout"}), CPU
        )
    with pytest.raises(ValueError, match="layer-major training is for the Transformer, not MLP"):
        LayerMajor(make_recipe(mlp(16), ADAM_UPDATE, steps=4), member, CPU)
