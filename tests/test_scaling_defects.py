"""Defects that other implementations of width scaling have shipped, each as a test of a plan.

What was seen there is in each docstring; wrappers over processes are in the tests of wrappers.
"""

import math
from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from plan_models import gpt2
from plan_training import (
    TIED,
    Build,
    Tied,
    adamw,
    batch_of,
    class_loss,
    fresh,
    mlp,
    plan_of,
    planned,
    tensors,
    train,
    word_loss,
)
from widthwise.scaling import INDEPENDENT, make_plan
from widthwise.scaling.parameter_names import unwrapped
from widthwise.theory import ADAM, FULL, MUON, MUP, SGD, STANDARD, OptimizerRule


def slope(widths: list[int], values: list[float]) -> float:
    """Least squares of log value over log n."""
    x, y = [math.log(n) for n in widths], [math.log(v) for v in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum(
        (a - mean_x) ** 2 for a in x
    )


def rms(x: Tensor) -> float:
    return x.detach().double().square().mean().sqrt().item()


def copied(model: nn.Module) -> nn.Module:
    return deepcopy(model)


def emptied(model: nn.Module) -> nn.Module:
    state = model.state_dict()
    with torch.device("meta"):
        empty = mlp(64)
    empty.to_empty(device="cpu")
    empty.load_state_dict(state)
    return empty


def assigned(model: nn.Module) -> nn.Module:
    with torch.device("meta"):
        empty = mlp(64)
    empty.load_state_dict(model.state_dict(), assign=True)
    return empty


def exported(model: nn.Module) -> nn.Module:
    return torch.export.export(model, (batch_of(0)[0],)).module()


@pytest.mark.parametrize("through", [copied, emptied, assigned, exported], ids=lambda f: f.__name__)
def test_scaling_that_sits_on_tensors_is_lost(through: Callable[[nn.Module], nn.Module]) -> None:
    """1: metadata on parameters does not survive `deepcopy`, meta and `to_empty`, assigning, exporting."""
    plan = plan_of(mlp, parameterization=MUP)
    model = planned(plan, mlp)
    wanted = [
        (g["lr"], g["weight_decay"], g["param_names"])
        for g in plan.param_groups(model, learning_rate=0.1, weight_decay=0.1)
    ]
    other = through(model)
    groups = plan.param_groups(other, learning_rate=0.1, weight_decay=0.1)
    assert [(g["lr"], g["weight_decay"], g["param_names"]) for g in groups] == wanted
    assert len({lr for lr, _, _ in wanted}) == 2
    plan.initialize_(other)  # and it knows that it has been initialized
    for one, two in zip(other.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("build", [TIED, gpt2], ids=["tied", "gpt2"])
def test_a_tied_embedding_keeps_its_size(build: Build) -> None:
    """2: 0.99, 2.00, 3.98, 8.00 at widths 64 to 4096, growing as the root of the width."""
    sizes = []
    for width in (16, 32, 64):
        plan = plan_of(build, width=width, parameterization=MUP)
        first, row = next(iter(plan.rows.items()))
        assert row.init == 1.0
        sizes.append(planned(plan, build).get_parameter(first).std().item())
    assert sizes == pytest.approx([sizes[-1]] * 3, rel=5 * (2 * 11 * 16) ** -0.5)


def test_names_keep_their_letters() -> None:
    """3: `module.embed.weight` stripped of the characters of `module.` was `bed.weight`."""
    assert "module.embed.weight".strip("module.") == "bed.weight"
    assert unwrapped("module.embed.weight", {"embed.weight"}) == "embed.weight"


def test_shapes_of_other_ranks_differ() -> None:
    """3: comparing shapes pairwise up to the shorter one, [64] equals [64, 64]."""
    plan = plan_of(mlp)
    model = mlp(64)
    model[2].weight = nn.Parameter(torch.zeros(64))
    with pytest.raises(
        ValueError, match=r"2\.weight has shape \[64\]; at the plan's width 64 it is \[64, 64\]"
    ):
        plan.param_groups(model, learning_rate=0.1)


def test_decay_follows_the_rate_in_sight() -> None:
    """4: decay under per-layer rates was silently rate * factor * decay, and no check saw it.

    Independent, each matrix loses 0.4 * 0.1 of itself a step at any width; seen on weights without a gradient.
    """
    for width in (16, 64):
        plan = plan_of(mlp, width=width)
        model = planned(plan, mlp)
        before = tensors(model)
        optimizer = torch.optim.AdamW(
            plan.param_groups(model, learning_rate=0.4, weight_decay=0.1, policy=INDEPENDENT)
        )
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        for name, parameter in model.named_parameters():
            kept = 1 - 0.04 if name.endswith("weight") else 1.0
            torch.testing.assert_close(parameter.detach(), before[name] * kept, rtol=2e-6, atol=0)


@pytest.mark.parametrize("rule", [SGD, ADAM], ids=lambda rule: rule.name)
def test_the_first_layers_change_is_flat(rule: OptimizerRule) -> None:
    """6: with each layer's fan-in as n, SGD's change of the first layer fell as 0.111, 0.029, 0.0073, 0.0019."""
    widths = [128, 512, 2048]

    def change(width: int) -> float:
        plan = make_plan(
            mlp,
            width=width,
            base_width=128,
            parameterization=STANDARD,
            optimizer=rule,
            alignment=FULL,
            initializer_widths=(32, 64, 128),
        )
        squares = []
        for seed in range(3):
            model = planned(plan, mlp, seed)
            before = model[0](batch_of(0)[0]).detach()
            groups = plan.param_groups(model, learning_rate=0.1 if rule is SGD else 1e-3)
            optimizer = (torch.optim.SGD if rule is SGD else torch.optim.Adam)(groups)
            class_loss(model, 0).backward()
            optimizer.step()
            squares.append(rms(model[0](batch_of(0)[0]) - before) ** 2)
        return math.sqrt(sum(squares) / len(squares))

    assert slope(widths, [change(width) for width in widths]) == pytest.approx(0, abs=0.1)


def test_a_rate_of_zero_with_decay() -> None:
    """11, 12: a decay divided by the rate is 0 / 0 at the start of a warm-up."""
    plan = plan_of(mlp)
    model = planned(plan, mlp)
    before = tensors(model)
    optimizer = torch.optim.AdamW(plan.param_groups(model, learning_rate=0.0, weight_decay=0.1))
    train(model, optimizer, range(2))
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    plan.verify(optimizer, model)


def test_decay_is_right_at_every_layers_rate_and_time() -> None:
    """12: a decay divided by the constructor's one rate is wrong for groups that have another, and under schedules.

    Halfway down a schedule, every matrix's product is half of what it was, whatever its rate factor.
    """
    plan = plan_of(mlp)
    model = planned(plan, mlp)
    optimizer = torch.optim.AdamW(plan.param_groups(model, learning_rate=0.4, weight_decay=0.1))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    for products in ({0.04, 0.0}, {0.02, 0.0}):
        found = {round(group["lr"] * group["weight_decay"], 12) for group in optimizer.param_groups}
        assert found == products
        train(model, optimizer, range(1))
        schedule.step()


def test_no_tensor_is_scaled_by_two_rules() -> None:
    """16: Adam's rates on top of Muon's, and a head's on Lion's. A row says its one rule, and no group mixes two."""
    plan = plan_of(Tied, optimizer=MUON)
    rules = {name: row.rule for name, row in plan.rows.items()}
    assert rules == {
        "embed.weight": "adam",
        "hidden.weight": "muon",
        "hidden.bias": "adam",
        "norm.weight": "adam",
        "norm.bias": "adam",
    }
    assert plan.rows["hidden.weight"].rate == 1.0  # Adam's would be 1/4
    assert plan.rows["norm.weight"].rate == 0.25
    with pytest.raises(ValueError, match="the plan is for two optimizers"):
        plan.param_groups(Tied(64), learning_rate=0.1)


def test_an_error_of_half_a_rate_is_seen() -> None:
    """17: a check to within a factor of 3 passed a rate that was 44.5 % off."""
    plan = plan_of(mlp)
    optimizer = adamw(plan, mlp(64))
    optimizer.param_groups[1]["lr"] *= 1.445
    with pytest.raises(ValueError, match="the plan's factors are gone"):
        plan.verify(optimizer)


def test_initialization_is_not_a_switch_that_may_be_off() -> None:
    """17: a flag that was never on when weights were drawn. Here the draw itself is measured."""
    plan = plan_of(gpt2, parameterization=MUP)
    name = "transformer.h.0.attn.c_attn.weight"
    ratio = planned(plan, gpt2).get_parameter(name).std() / fresh(gpt2, 64).get_parameter(name).std()
    assert ratio.item() == pytest.approx(plan.rows[name].init, rel=1e-6)
    assert plan.rows[name].init == 0.5


def test_rates_lost_on_resume_are_seen() -> None:
    """17: `lr_mult` was not in the checkpoint, so a resumed run had one rate for all."""
    plan = plan_of(TIED)
    model = planned(plan, TIED)
    optimizer = adamw(plan, model)
    train(model, optimizer, range(1), word_loss)
    state = deepcopy(optimizer.state_dict())
    state["param_groups"] = [{**group, "lr": 1e-2} for group in state["param_groups"]]
    optimizer.load_state_dict(state)
    with pytest.raises(ValueError, match=r"make the groups with plan\.param_groups before loading a state"):
        plan.verify(optimizer)
