"""What measure_epsilon refuses, and a report's forms: text and JSON."""

import math

import pytest
import torch
from torch import nn

from epsilon_cases import adam_with, build, plan_of, trained
from widthwise import STANDARD, make_plan
from widthwise.measure import EpsilonReport, measure_epsilon
from widthwise.theory import SGD


def stepped(kind, **options) -> torch.optim.Optimizer:
    parameter = nn.Parameter(torch.ones(2, 2))
    optimizer = kind([parameter], lr=0.1, **options)
    parameter.grad = torch.ones(2, 2)
    optimizer.step()
    return optimizer


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: stepped(torch.optim.SGD), "SGD, which has no epsilon beside a second moment"),
        (lambda: torch.optim.SGD([nn.Parameter(torch.ones(2))]), "SGD, which has no epsilon"),
        (lambda: stepped(torch.optim.Adamax), "the largest gradient"),
        (lambda: stepped(torch.optim.RMSprop), "RMSprop"),
        (
            lambda: torch.optim.Adam([nn.Parameter(torch.ones(2))]),
            "no state yet: call this after its first step",
        ),
        (lambda: nn.Linear(2, 2), "Linear is not a torch.optim.Optimizer"),
    ],
)
def test_other_optimizers_are_refused(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        measure_epsilon(make())


@pytest.mark.parametrize("epsilon", [-1e-8, math.nan, math.inf])
@pytest.mark.parametrize("name", ["epsilon", "base_epsilon"])
def test_an_epsilon_that_is_none_is_refused(name: str, epsilon: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} = .* must be finite and not below 0"):
        measure_epsilon(stepped(torch.optim.Adam), **{name: epsilon})


def test_a_groups_epsilon_that_is_none_is_refused() -> None:
    optimizer = stepped(torch.optim.Adam)
    optimizer.param_groups[0]["eps"] = -1.0
    with pytest.raises(ValueError, match=r"eps of group 0 = -1.0 must"):
        measure_epsilon(optimizer)


def test_states_of_other_forms_are_refused() -> None:
    optimizer = stepped(torch.optim.Adam)
    (state,) = optimizer.state.values()
    state["exp_avg_sq"] = torch.ones(2)
    with pytest.raises(ValueError, match=r"shape \[2, 2\] and exp_avg_sq of shape \[2\]"):
        measure_epsilon(optimizer)
    del state["exp_avg_sq"]
    with pytest.raises(ValueError, match="holds step, exp_avg, and no exp_avg_sq"):
        measure_epsilon(optimizer)


def test_plans_and_models_of_others_are_refused() -> None:
    model = build(32)
    optimizer = trained(torch.optim.Adam(model.named_parameters()), model)
    with pytest.raises(
        ValueError, match=r"0.weight has shape \[11, 32\]; at the plan's width 64 it is \[11, 64\]"
    ):
        measure_epsilon(optimizer, plan_of(64))
    other = make_plan(
        lambda n: nn.ModuleDict({"a": nn.Linear(3, n)}), width=32, base_width=16, parameterization=STANDARD,
        optimizer=SGD,
    )  # fmt: skip
    with pytest.raises(
        ValueError, match=r"for another model: it does not know 0.weight, 1.weight, 1.bias and 2 more"
    ):
        measure_epsilon(optimizer, other)
    with pytest.raises(ValueError, match=r"no such parameter as 0 of group 0 of the optimizer \(5 of 5"):
        measure_epsilon(optimizer, model=build(32))
    with pytest.raises(ValueError, match="does not know group 0, tensor 0"):
        measure_epsilon(trained(torch.optim.Adam(model.parameters()), model), plan_of(32))


def test_names_that_are_not_one_a_tensor_are_refused() -> None:
    model = build(32)
    optimizer = trained(torch.optim.Adam(model.named_parameters()), model)
    names = optimizer.param_groups[0]["param_names"]
    optimizer.param_groups[0]["param_names"] = [names[0], *names[:-1]]
    with pytest.raises(ValueError, match=r"two tensors of the optimizer are called '0\.weight'"):
        measure_epsilon(optimizer)
    optimizer.param_groups[0]["param_names"] = names[:-1]
    with pytest.raises(ValueError, match="group 0 has 5 tensors and 4 param_names"):
        measure_epsilon(optimizer)
    assert measure_epsilon(optimizer, model=model).rows[0].name == "0.weight"


def test_text_says_what_and_what_to_do() -> None:
    plan = plan_of(64)
    model = build(64)
    optimizer = trained(torch.optim.Adam(plan.param_groups(model, learning_rate=1e-3), eps=1.0), model)
    text = str(measure_epsilon(optimizer, plan))
    assert "Adam, step 2; width 64, base width 16, mean-field parameterization" in text
    assert "by the plan" in text
    assert "Epsilon dominates: " in text
    assert "param_groups(..., epsilon=...)" in text
    fine = str(measure_epsilon(optimizer, plan, epsilon=0.0))
    assert "fine: epsilon is fine for 5 of 5 tensors." in fine
    assert "AdamAtan2" not in fine


def test_json_round_trip(tmp_path) -> None:
    plan = plan_of(64)
    model = build(64)
    optimizer = trained(torch.optim.Adam(plan.param_groups(model, learning_rate=1e-3)), model)
    report = measure_epsilon(optimizer, plan)
    report.save(tmp_path / "report.json")
    assert EpsilonReport.load(tmp_path / "report.json") == report
    undefined = measure_epsilon(adam_with(torch.zeros(2), torch.zeros(2)))
    undefined.save(tmp_path / "report.json")
    assert repr(EpsilonReport.load(tmp_path / "report.json")) == repr(undefined)  # NaN is unlike itself
    (tmp_path / "report.json").write_text('{"kind": "plan"}')
    with pytest.raises(ValueError, match=r"report.json: not an epsilon report: its kind is 'plan'"):
        EpsilonReport.load(tmp_path / "report.json")
    keys = {key for row in report.plain_rows() for key in row}
    assert {"kind", "step", "width", "name", "role", "fraction", "median_ratio", "zeros", "verdict"} <= keys
