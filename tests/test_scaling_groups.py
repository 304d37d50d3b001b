"""Parameter groups: few of them, relative, legal at a rate of 0; decay policies in numbers; what `verify` catches."""

from functools import cache

import pytest
import torch
from torch import nn

from plan_models import llama
from plan_training import fresh, mlp, plan_of
from widthwise.scaling import COUPLED, INDEPENDENT, ScalingPlan, Timescale, WeightDecay
from widthwise.theory import ADAM, MUON, MUP, SGD, OptimizerRule


@cache
def plan_for(rule: OptimizerRule = ADAM) -> ScalingPlan:
    return plan_of(mlp, optimizer=rule, parameterization=MUP)


def numbers(groups: list[dict[str, object]]) -> dict[str, dict[str, object]]:
    """By tensor, everything but the tensors."""
    return {
        name: {key: value for key, value in group.items() if key not in ("params", "param_names")}
        for group in groups
        for name in group["param_names"]
    }


def test_groups_by_hand() -> None:
    groups = plan_for().param_groups(mlp(64), learning_rate=0.4, weight_decay=0.1)
    rate = {"0.weight": 1.0, "0.bias": 1.0, "2.weight": 0.25, "2.bias": 1.0, "4.weight": 0.25, "4.bias": 1.0}
    assert numbers(groups) == {
        name: {
            "lr": 0.4 * factor,
            "weight_decay": 0.1 / factor if name.endswith("weight") else 0.0,
            "rate_factor": factor,
        }
        for name, factor in rate.items()
    }


def test_each_tensor_once_and_few_groups() -> None:
    plan = plan_of(llama)
    model = fresh(llama, 64)
    groups = plan.param_groups(model, learning_rate=0.1, weight_decay=0.1)
    assert len(groups) == 3  # table; matrices; gains without decay
    found = [parameter for group in groups for parameter in group["params"]]
    assert {id(p) for p in found} == {id(p) for p in model.parameters()}
    assert len(found) == len({id(p) for p in found})
    by_name = dict(model.named_parameters())
    for group in groups:
        assert all(
            by_name[name] is tensor
            for name, tensor in zip(group["param_names"], group["params"], strict=True)
        )


def test_epsilon_constant_per_layer_or_none() -> None:
    """muP's gradients fall as n^(-1) but for the readout's own: so does an epsilon that is compared with them."""
    model = mlp(64)
    without = plan_for().param_groups(model, learning_rate=0.4)
    assert not any("eps" in group for group in without)
    assert {group["eps"] for group in torch.optim.AdamW(without).param_groups} == {1e-8}
    per_layer = numbers(plan_for().param_groups(model, learning_rate=0.4, epsilon=1e-6))
    assert {name: row["eps"] for name, row in per_layer.items()} == {
        "0.weight": 2.5e-7,
        "0.bias": 2.5e-7,
        "2.weight": 2.5e-7,
        "2.bias": 2.5e-7,
        "4.weight": 1e-6,
        "4.bias": 1e-6,
    }


POLICIES: dict[str, tuple[WeightDecay, float, float, float]] = {
    # policy, decay given, then the product of rate and decay a step: of a tensor at the full rate, at a quarter of it
    "independent": (INDEPENDENT, 0.1, 0.4 * 0.1, 0.4 * 0.1),
    "coupled": (COUPLED, 0.1, 0.4 * 0.1, 0.4 * 0.1 / 4),
    "timescale": (Timescale(20), 0.0, 1 / 20, 1 / 20),
}


@pytest.mark.parametrize(("policy", "decay", "full", "quarter"), POLICIES.values(), ids=POLICIES)
def test_the_product_of_rate_and_decay(
    policy: WeightDecay, decay: float, full: float, quarter: float
) -> None:
    """Stated, and then seen: a step without a gradient shrinks AdamW's and SGD's weights by just this product."""
    for factor, product in ((1.0, full), (0.25, quarter)):
        assert policy.product(decay, learning_rate=0.4, rate_factor=factor) == pytest.approx(
            product, rel=1e-12
        )
    for rule, optimizer in ((ADAM, torch.optim.AdamW), (SGD, torch.optim.SGD)):
        plan = plan_for(rule)
        model = mlp(64)
        groups = plan.param_groups(model, learning_rate=0.4, weight_decay=decay, policy=policy)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer(groups).step()
        products = {
            name: policy.product(decay, learning_rate=0.4, rate_factor=plan.rows[name].rate)
            for name in before
            if name.endswith("weight")
        }
        for name, parameter in model.named_parameters():
            shrunk = 1 - products.get(name, 0.0)  # vectors do not decay unless asked
            torch.testing.assert_close(parameter.detach(), before[name] * shrunk, rtol=2e-6, atol=0)


def test_vectors_decay_if_asked() -> None:
    groups = plan_for().param_groups(
        mlp(64), learning_rate=0.4, weight_decay=0.1, decay_vectors=True, policy=COUPLED
    )
    assert {group["weight_decay"] for group in groups} == {0.1}
    (by_hand,) = {
        g["weight_decay"]
        for g in plan_for(SGD).param_groups(mlp(64), learning_rate=1.0, weight_decay=0.1, decay_vectors=True)
        if "0.bias" in g["param_names"]
    }
    assert by_hand == 0.1 / 4  # its rate is 4 times the base rate


def test_a_rate_of_zero() -> None:
    """Warm-up from 0, and a switched-off layer: factors stay, nothing is divided by the rate."""
    for policy in (INDEPENDENT, COUPLED):
        groups = plan_for().param_groups(mlp(64), learning_rate=0.0, weight_decay=0.1, policy=policy)
        assert {group["lr"] for group in groups} == {0.0}
        plan_for().verify(torch.optim.AdamW(groups))
    independent = numbers(plan_for().param_groups(mlp(64), learning_rate=0.0, weight_decay=0.1))
    assert independent["2.weight"]["weight_decay"] == 0.4
    with pytest.raises(ValueError, match="a timescale needs a learning rate above 0"):
        plan_for().param_groups(mlp(64), learning_rate=0.0, policy=Timescale(100))


@pytest.mark.parametrize("steps", [0.5, 0.0, -1.0, float("nan")])
def test_a_timescale_below_a_step(steps: float) -> None:
    with pytest.raises(ValueError, match=r"a timescale of .* steps must be at least 1"):
        Timescale(steps)


def test_a_decay_beside_a_timescale() -> None:
    with pytest.raises(ValueError, match=r"weight_decay=0\.1 beside a timescale of 20 steps"):
        plan_for().param_groups(mlp(64), learning_rate=0.1, weight_decay=0.1, policy=Timescale(20))


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "epsilon"])
@pytest.mark.parametrize("value", [-1e-3, float("inf"), float("nan")])
def test_numbers_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{name} = .* must be finite and not below 0"):
        plan_for().param_groups(mlp(64), **{"learning_rate": 0.1, name: value})


def test_text_in_the_place_of_a_value() -> None:
    """As a YAML file gives 1e-3, and as the command line names a policy."""
    plan, model = plan_of(mlp), fresh(mlp, 64)
    with pytest.raises(ValueError, match=r"learning_rate is the text '1e-3'; give a number \(in YAML 1.0e-3"):
        plan.param_groups(model, learning_rate="1e-3")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="policy is 'independent'; give INDEPENDENT, COUPLED or Timescale"):
        plan.param_groups(model, learning_rate=1e-3, policy="independent")  # type: ignore[arg-type]


def test_a_plan_for_two_optimizers_needs_a_word() -> None:
    plan = plan_of(mlp, optimizer=MUON)
    model = mlp(64)
    with pytest.raises(ValueError, match=r"the plan is for two optimizers \(adam and muon\)"):
        plan.param_groups(model, learning_rate=0.1)
    with pytest.raises(
        ValueError, match=r"no tensor of the plan follows the rule 'lion'; its rules are adam, muon"
    ):
        plan.param_groups(model, learning_rate=0.1, rule="lion")
    assert [g["param_names"] for g in plan.param_groups(model, learning_rate=0.1, rule="muon")] == [
        ["2.weight"]
    ]


def test_the_groups_of_a_plan_at_the_base_width_are_two() -> None:
    plan = plan_of(mlp, width=16)
    groups = plan.param_groups(nn.Sequential(*mlp(16)), learning_rate=0.1, weight_decay=0.1)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.1, 0.1), (0.1, 0.0)]
