"""The draw at step 0: what it depends on, and its standard deviation."""

from math import sqrt

import pytest
import torch

from populations import ADAM_UPDATE, CPU, make_recipe, mlp, numbers, transformer
from widthwise.models import ReferenceModel
from widthwise.scaling import Anchor, Gauge, TensorNumbers
from widthwise.theory import MUP, NTK, PARAMETERIZATIONS, STANDARD, Parameterization
from widthwise.train import Member, initial_parameters

MODEL = transformer(16)


def member(
    seed: int,
    *,
    model: ReferenceModel = MODEL,
    parameterization: Parameterization = STANDARD,
    gauge: Gauge = Gauge.FOLDED,
    anchor: Anchor = Anchor.RELATIVE,
) -> Member:
    run = numbers(model, learning_rate=0.1, parameterization=parameterization, gauge=gauge, anchor=anchor)
    return Member(run, init_seed=seed, data_seed=seed)


def draw(*members: Member, model: ReferenceModel = MODEL) -> dict[str, torch.Tensor]:
    return initial_parameters(make_recipe(model, ADAM_UPDATE, steps=4), members, CPU)


def test_shapes_and_type() -> None:
    for name, tensor in draw(member(0), member(1)).items():
        assert tensor.shape == (2, *MODEL.tensors()[name].shape)
        assert tensor.dtype == torch.float32


def test_company_and_order_do_not_matter() -> None:
    """Bit for bit."""
    kinds = [member(3), member(1, parameterization=NTK), member(3, parameterization=MUP), member(2)]
    together, reversed_ = draw(*kinds), draw(*kinds[::-1])
    for position, kind in enumerate(kinds):
        for name, tensor in draw(kind).items():
            assert torch.equal(together[name][position], tensor[0])
            assert torch.equal(reversed_[name][len(kinds) - 1 - position], tensor[0])


@pytest.mark.parametrize("anchor", Anchor)
@pytest.mark.parametrize("gauge", Gauge)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS.values(), ids=lambda p: p.name)
@pytest.mark.parametrize("model", [transformer(16, depth=2), mlp(16, depth=2)], ids=["transformer", "mlp"])
def test_standard_deviations_are_the_plans(
    model: ReferenceModel, parameterization: Parameterization, gauge: Gauge, anchor: Anchor
) -> None:
    """The sample deviation of N draws has a standard error of 1 / sqrt(2 N); 5 of them. The mean's is 1 / sqrt(N)."""
    one = member(0, model=model, parameterization=parameterization, gauge=gauge, anchor=anchor)
    for name, tensor in draw(one, model=model).items():
        init = one.numbers[name].init
        if model.tensors()[name].drawn:
            count = tensor.numel()
            assert tensor.std().item() == pytest.approx(init, rel=5 / sqrt(2 * count))
            assert abs(tensor.mean().item()) < 5 * init / sqrt(count)
        else:
            assert torch.equal(tensor, torch.full_like(tensor, init))
            assert init == 1.0


def test_a_constant_start_is_the_init() -> None:
    rows = {name: TensorNumbers(0.75, 1.0, 0.1, 0.0) for name in MODEL.tensors()}
    assert torch.equal(draw(Member(rows, 0, 0))["final_norm"], torch.full((1, 16), 0.75))


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS.values(), ids=lambda p: p.name)
def test_a_seed_is_the_same_draw_in_every_parameterization(parameterization: Parameterization) -> None:
    """Up to its scale: bit for bit, because the scales of this plan are powers of two."""
    one = member(5)
    other = member(5, parameterization=parameterization, gauge=Gauge.EXPLICIT, anchor=Anchor.ABSOLUTE)
    mine, theirs = draw(one), draw(other)
    for name in mine:
        ratio = one.numbers[name].init / other.numbers[name].init
        assert torch.equal(mine[name], theirs[name] * ratio)


def test_draws_are_independent() -> None:
    """Between seeds, tensors and rows: the correlation of N pairs is below 5 / sqrt(N)."""
    tensors = draw(member(0), member(1))
    up = tensors["blocks.0.mlp.up"]
    pairs = [
        (up[0], up[1]),
        (up[0], tensors["blocks.0.mlp.down"][0]),
        (tensors["token_embedding"][0, :8], tensors["position_embedding"][0]),
        (up[0, 0::2], up[0, 1::2]),
    ]
    for one, other in pairs:
        pair = torch.stack([one.flatten(), other.flatten()])
        assert abs(torch.corrcoef(pair)[0, 1].item()) < 5 / sqrt(pair.shape[1])


def test_the_blocks_start_differently() -> None:
    model = transformer(16, depth=2)
    tensors = draw(member(0, model=model), model=model)
    assert not torch.equal(tensors["blocks.0.mlp.up"], tensors["blocks.1.mlp.up"])
