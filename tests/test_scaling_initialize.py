"""`initialize_`: the user's own draw is kept, the difference applied once, and anything else refused by name."""

from copy import deepcopy
from functools import cache, partial

import pytest
import torch
from torch import nn

from plan_models import GPT2_UNTIED, gpt2
from plan_training import WORDS, Build, fresh, mlp, plan_of, planned, same, tensors
from widthwise.scaling import Draw, ScalingPlan
from widthwise.theory import MUP, STANDARD


def classes(width: int) -> nn.Module:
    """Without biases: every factor of muP's is well beyond its draw's scatter."""
    return nn.Sequential(
        nn.Embedding(100, width), nn.Linear(width, width, bias=False), nn.Linear(width, 100, bias=False)
    )


@cache
def plan_for(build: Build, width: int = 64) -> ScalingPlan:
    return plan_of(build, width=width, parameterization=MUP)


def test_the_draw_is_kept_and_multiplied() -> None:
    plan = plan_for(mlp)
    own, scaled = tensors(fresh(mlp, 64)), tensors(planned(plan, mlp))
    for name, row in plan.rows.items():
        assert torch.equal(scaled[name], own[name] * row.init)
    assert {name for name, row in plan.rows.items() if row.init != 1} == {"2.bias", "4.weight"}


@pytest.mark.parametrize("build", [mlp, classes, gpt2], ids=["mlp", "classes", "gpt2"])
def test_at_the_base_width_no_bit_changes(build: Build) -> None:
    model = fresh(build, 16)
    before = tensors(model)
    plan_of(build, width=16, parameterization=MUP).initialize_(model)
    assert same(tensors(model), before)


@pytest.mark.parametrize("build", [mlp, classes, gpt2], ids=["mlp", "classes", "gpt2"])
def test_a_second_call_does_nothing(build: Build) -> None:
    plan = plan_for(build)
    for seed in range(10):
        model = planned(plan, build, seed)
        once = tensors(model)
        assert not same(once, tensors(fresh(build, 64, seed)))
        plan.initialize_(model)
        assert same(tensors(model), once)


def test_a_second_call_where_no_tensor_is_decisive() -> None:
    """Next to the base width the factor 0.97 is within what a law may miss, and all tensors decide together."""

    def close(width: int) -> nn.Module:
        return nn.Sequential(nn.Embedding(50, width), nn.Linear(width, 50, bias=False))

    plan = plan_of(close, width=272, base_width=256, parameterization=MUP)
    assert 0.96 < plan.rows["1.weight"].init < 0.98
    for seed in range(20):
        model = planned(plan, close, seed)
        once = tensors(model)
        assert not same(once, tensors(fresh(close, 272, seed)))
        plan.initialize_(model)
        assert same(tensors(model), once)


def test_true_draws_are_accepted() -> None:
    for build in (mlp, classes, GPT2_UNTIED):
        plan = plan_for(build)
        for seed in range(100, 140):
            planned(plan, build, seed)


def test_a_law_measured_at_small_widths_is_itself_off() -> None:
    """Forty layers drawn at widths 4 to 16: their sizes are known to some percent, the true ones at 256 are exact."""

    def deep(width: int) -> nn.Module:
        layers = [nn.Linear(width, width, bias=False) for _ in range(40)]
        for layer in layers:
            nn.init.normal_(layer.weight, std=0.02)
        return nn.Sequential(*layers)

    plan = plan_of(deep, width=256)
    expected = [row.initializer.scale_at(256) for row in plan.rows.values()]
    assert (
        max(abs(size / 0.02 - 1) for size in expected) > 0.04
    )  # more than the 2 % that laws may miss by, and noise
    planned(plan, deep)


def test_after_to_empty_there_is_no_draw_to_keep() -> None:
    plan = plan_for(classes)
    with torch.device("meta"):
        model = classes(64)
    with pytest.raises(ValueError, match=r"0\.weight is on the meta device and holds no draw; .*to_empty"):
        plan.initialize_(model)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()  # what memory held; zeros are the likeliest, and the most harmful
    with pytest.raises(ValueError, match=r"0\.weight has entries of size 0; its own initializer gives 1"):
        plan.initialize_(model)


def test_meta_to_empty_and_the_models_own_initializer() -> None:
    plan = plan_for(classes)
    with torch.device("meta"):
        model = classes(64)
    model.to_empty(device="cpu")
    torch.manual_seed(0)
    for module in model:
        module.reset_parameters()
    plan.initialize_(model)
    assert same(tensors(model), tensors(planned(plan, classes)))


def test_memory_that_is_not_a_number() -> None:
    model = fresh(classes, 64)
    with torch.no_grad():
        model[1].weight[3, 4] = float("nan")
    with pytest.raises(ValueError, match=r"1\.weight has entries of size nan"):
        plan_for(classes).initialize_(model)


def test_a_refusal_touches_nothing() -> None:
    model = fresh(classes, 64)
    with torch.no_grad():
        model[2].weight.mul_(3)
    before = tensors(model)
    with pytest.raises(ValueError, match=r"2\.weight has entries of size"):
        plan_for(classes).initialize_(model)
    assert same(tensors(model), before)


def test_another_initializer() -> None:
    model = fresh(classes, 64)
    nn.init.kaiming_normal_(model[1].weight)  # (2 / n)^(1/2) where the linear layer's default is (3 n)^(-1/2)
    with pytest.raises(ValueError, match=r"1\.weight .* its own initializer gives 0\.07.* at width 64"):
        plan_for(classes).initialize_(model)


def test_a_trained_model() -> None:
    """Biases that left zero, and a plan that would scale what was learned."""
    model = fresh(gpt2, 64)
    with torch.no_grad():
        model.transformer.h[0].mlp.c_fc.bias.add_(0.01)
    with pytest.raises(ValueError, match=r"h\.0\.mlp\.c_fc\.bias has entries of size 0\.01; .* gives 0 at"):
        plan_for(gpt2).initialize_(model)


def test_another_width_is_told_by_its_shapes() -> None:
    """GPT-2 draws 0.02 at every width, so sizes alone would not tell."""
    with pytest.raises(ValueError, match=r"wte\.weight has shape \[11, 32\]; .*width 64 it is \[11, 64\]"):
        plan_for(gpt2).initialize_(fresh(gpt2, 32))
    with pytest.raises(ValueError, match=r"build the model at width 64"):
        plan_for(gpt2).param_groups(fresh(gpt2, 32), learning_rate=0.1)


def test_a_partly_initialized_model() -> None:
    """A head that was drawn again after the plan was applied."""
    model = planned(plan_for(gpt2_untied), gpt2_untied)
    nn.init.normal_(model.lm_head.weight, std=0.02)
    with pytest.raises(ValueError, match=r"already has the plan's size and lm_head\.weight has not"):
        plan_for(gpt2_untied).initialize_(model)


gpt2_untied = partial(gpt2, tied=False)


def test_a_frozen_model_and_another_dtype() -> None:
    """bfloat16 rounds by 2^-9, which the comparison allows for."""
    plan = plan_for(classes)
    for seed in range(10):
        model = fresh(classes, 64, seed).to(torch.bfloat16).requires_grad_(False)
        before = tensors(model)
        plan.initialize_(model)
        plan.initialize_(model)
        assert torch.equal(model[2].weight, before["2.weight"] * 0.5)


def test_patterns_keep_their_zeros() -> None:
    """An identity has root mean square n^(-1/2), zeros included; PyTorch's padding row does not count."""

    class Patterned(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.words = nn.Embedding(WORDS, width, padding_idx=0)
            self.hidden = nn.Linear(width, width, bias=False)
            nn.init.eye_(self.hidden.weight)

    plan = plan_of(Patterned, width=256, base_width=64, parameterization=STANDARD)
    assert plan.rows["hidden.weight"].init == 1.0
    model = planned(plan, Patterned)
    assert torch.equal(model.hidden.weight, torch.eye(256))
    assert not model.words.weight[0].any()


def test_gains_around_one() -> None:
    """A factor multiplies the whole gain, so its size decides: falling noise moves nothing, another size is refused."""

    class Noisy(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.layer = nn.Linear(5, width)
            self.gain = nn.Parameter(1 + torch.randn(width) / width**0.5)

    plan = plan_of(Noisy, width=512, base_width=128, parameterization=STANDARD)
    model = planned(plan, Noisy)
    assert plan.rows["gain"].init == 1.0
    assert model.gain.mean().item() == pytest.approx(1, abs=6 / 512)  # root(n) draws of 1 / root(n) each
    with torch.no_grad():
        model.gain.mul_(2.0)
    model.gain.requires_grad_(False)
    with pytest.raises(
        ValueError,
        match=r"gain has entries of size 2.*; its own initializer gives (1|0\.99).*frozen weights that are loaded",
    ):
        plan.initialize_(model)


def test_zeros_among_what_is_drawn() -> None:
    """Gains of which a half is cut off, and a sparse matrix: sizes are those of what is not zero, at any width."""

    class Sparse(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.layer = nn.Linear(5, width)
            self.gain = nn.Parameter(torch.cat([torch.zeros(width // 2), 1 + 0.1 * torch.randn(width // 2)]))
            self.hidden = nn.Parameter(nn.init.sparse_(torch.empty(width, width), 0.75, std=0.1))

    plan = plan_of(Sparse, width=512, base_width=128, parameterization=STANDARD)
    assert (plan.rows["gain"].init, plan.rows["hidden"].init) == (1.0, 0.5)
    assert plan.rows["gain"].initializer is not None
    assert plan.rows["gain"].initializer.draw is Draw.SHIFTED
    model = fresh(Sparse, 512, 1)
    before = tensors(model)
    plan.initialize_(model)
    plan.initialize_(model)
    assert torch.equal(model.hidden, 0.5 * before["hidden"])


def test_no_state_is_left_on_the_model() -> None:
    """Planned and copied, a model has the attributes that its factory gave it."""
    plan = plan_for(classes)
    model = planned(plan, classes)
    plan.param_groups(model, learning_rate=0.1)
    for parameter in (*model.parameters(), *deepcopy(model).parameters()):
        assert vars(parameter) == {}
    assert {*vars(model)} == {*vars(fresh(classes, 64))}


def test_another_models_plan_prints_the_difference() -> None:
    with pytest.raises(
        ValueError,
        match=r"this plan is for another model: the plan alone has 0\.bias, 2\.bias, 4\.bias, 4\.weight; "
        r"the model alone has 1\.weight",
    ):
        plan_for(mlp).initialize_(fresh(classes, 64))
