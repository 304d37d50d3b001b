"""measure_epsilon with a plan: roles, the epsilon that follows the gradient, names through wrappers."""

import math
from fractions import Fraction

import pytest
import torch
from torch import nn

from epsilon_cases import build, drawn, plan_of, trained
from widthwise import ADAM, MEAN_FIELD, STANDARD, make_plan
from widthwise.measure import EpsilonVerdict, measure_epsilon
from widthwise.optim import SQUARED, AdamAtan2


def test_roles_are_made_of_coordinates_and_not_of_fractions() -> None:
    """Two hidden tensors: 1,024 coordinates all below, 10,240 none. Averaged fractions would say one half."""

    def two(width: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(3, width), nn.Linear(width, width), nn.Linear(width, 10 * width), nn.Linear(width, 2)
        )

    plan = make_plan(two, width=32, base_width=16, parameterization=STANDARD, optimizer=ADAM)
    model = two(32)
    optimizer = torch.optim.Adam(plan.param_groups(model, learning_rate=0.1), eps=1e-3)
    for name, parameter in model.named_parameters():
        size = 1e-5 if name == "1.weight" else 1.0
        optimizer.state[parameter] = {
            "step": torch.tensor(1e9),
            "exp_avg": torch.ones_like(parameter),
            "exp_avg_sq": torch.full_like(parameter, size**2),
        }
    report = measure_epsilon(optimizer, plan)
    hidden = report.row("hidden")
    assert (hidden.tensors, hidden.counted, hidden.below) == (2, 11 * 32 * 32, 32 * 32)
    assert hidden.fraction == 1 / 11
    assert hidden.median_ratio == pytest.approx(
        1e3
    )  # ten of eleven coordinates are there, though half of the tensors
    assert [row.name for row in report.roles] == ["embedding", "hidden", "readout", "vector", "fixed"]
    assert report.verdict is EpsilonVerdict.DOMINATES  # of the worst tensor
    assert sum(row.coordinates for row in report.roles) == sum(row.coordinates for row in report.rows)


def test_the_plans_epsilon_follows_the_gradient() -> None:
    plan = plan_of(64)
    model = build(64)
    constant = trained(torch.optim.Adam(plan.param_groups(model, learning_rate=1e-3), eps=1e-6), model)
    followed = trained(torch.optim.Adam(plan.param_groups(model, learning_rate=1e-3, epsilon=1e-6)), model)
    for optimizer in (constant, followed):
        report = measure_epsilon(optimizer, plan)
        assert report.base_epsilon == pytest.approx(1e-6)
        for row in report.rows:
            assert row.planned == pytest.approx(1e-6 * plan.rows[row.name].epsilon, rel=1e-12)
            assert row.exponent == plan.rows[row.name].exponents.g
    hidden = measure_epsilon(followed, plan).row("1.weight")
    assert (hidden.exponent, hidden.epsilon) == (
        Fraction(1),
        pytest.approx(1e-6 / 4),
    )  # g in the folded gauge
    assert measure_epsilon(constant, plan).row("1.weight").epsilon == 1e-6
    given = measure_epsilon(constant, plan, base_epsilon=1e-3)
    assert given.row("1.weight").planned == pytest.approx(1e-3 / 4)


def test_epsilons_that_are_neither_leave_the_base_widths_unknown() -> None:
    plan = plan_of(64)
    model = build(64)
    optimizer = trained(torch.optim.Adam(plan.param_groups(model, learning_rate=1e-3, epsilon=1e-6)), model)
    optimizer.param_groups[0]["eps"] *= 3
    report = measure_epsilon(optimizer, plan)
    assert report.base_epsilon is None
    assert {row.planned for row in report.rows} == {None}


def test_pooled_ratios_use_each_tensors_own_epsilon() -> None:
    plan = plan_of(64)
    model = build(64)
    optimizer = torch.optim.Adam(plan.param_groups(model, learning_rate=1e-3), eps=1.0)
    trained(optimizer, model)
    optimizer.param_groups = [
        {**optimizer.param_groups[0], "params": [p], "param_names": [name], "eps": eps}
        for (name, p), eps in zip(model.named_parameters(), (1.0, 1.0, 2.0, 1.0, 1.0), strict=True)
    ]
    for p in (model[0].weight, model[1].bias, model[2].weight):
        optimizer.state[p]["exp_avg_sq"].fill_(4.0)
    optimizer.state[model[1].bias]["step"].fill_(1e9)
    assert measure_epsilon(optimizer, plan).row("vector").median_ratio == pytest.approx(1.0)
    assert "various" not in measure_epsilon(optimizer, plan).table()


def test_a_role_of_different_epsilons_is_pooled_by_ratio() -> None:
    def two(width: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(3, width), nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 2)
        )

    plan = make_plan(two, width=32, base_width=16, parameterization=STANDARD, optimizer=ADAM)
    model = two(32)
    groups = [
        {"params": [(name, p)], "eps": 1.0 if name == "1.weight" else 8.0}
        for name, p in model.named_parameters()
    ]
    optimizer = torch.optim.Adam(groups)
    for parameter in model.parameters():
        optimizer.state[parameter] = {
            "step": torch.tensor(1e9),
            "exp_avg": torch.ones_like(parameter),
            "exp_avg_sq": torch.full_like(parameter, 16.0),
        }
    hidden = measure_epsilon(optimizer, plan).row("hidden")
    assert (hidden.epsilon, hidden.fraction, hidden.median) == (None, 0.5, 4.0)
    assert hidden.median_ratio == (4.0 + 0.5) / 2  # half of the coordinates at 4 / 1, half at 4 / 8
    assert "various" in measure_epsilon(optimizer, plan).table()


def test_names_come_from_groups_or_the_model_through_wrappers() -> None:
    plan = plan_of(32)
    model = build(32)
    wrapped = torch.compile(model, backend="eager")
    optimizer = trained(torch.optim.Adam(wrapped.parameters()), model)
    report = measure_epsilon(optimizer, plan, model=wrapped)
    assert [row.name for row in report.rows] == [name for name, _ in model.named_parameters()]
    assert [row.name for row in measure_epsilon(optimizer).rows][:2] == [
        "group 0, tensor 0",
        "group 0, tensor 1",
    ]
    named = trained(torch.optim.Adam(wrapped.named_parameters()), model)
    assert measure_epsilon(named).row("0.weight").role == ""
    assert measure_epsilon(named, plan).row("0.weight").role == "embedding"


def test_a_long_sample_is_thinned_evenly() -> None:
    """A role of one tensor of 65,536 coordinates has its median, to the 1 / 2048 of a rank that thinning costs."""
    plan = plan_of(256)
    model = build(256)
    optimizer = trained(AdamAtan2(plan.param_groups(model, learning_rate=1e-3), second_moment=SQUARED), model)
    m, v = drawn(256 * 256, seed=6)
    state = optimizer.state[model[1].weight]
    state["exp_avg"], state["exp_avg_sq"] = m.view(256, 256), v.view(256, 256)
    report = measure_epsilon(optimizer, plan)
    row, role = report.row("1.weight"), report.row("hidden")
    # log10(size) is uniform over four decades, so a rank of 1 / 2048 is 4 / 2048 of it; the 32 sampled coordinates in
    # between are that many within a factor of 1 + 3 / sqrt(32) or so.
    assert abs(math.log10(role.median / row.median)) < 1.6 * 4 / 2048
    assert abs(math.log10(role.low / row.low)) < 1.6 * 4 / 2048
    assert (role.below, role.verdict) == (
        None,
        "undefined",
    )  # there is no epsilon, and so no fraction of a role
    assert role.counted == 256 * 256


def test_a_reference_plan_gives_roles_too() -> None:
    from widthwise.models import MLP
    from widthwise.scaling import assign_roles, make_reference_plan, mlp_roles
    from widthwise.theory import FULL_RATES

    tensors = MLP(width=32, depth=2, window=4, vocabulary=8, context=8).tensors()
    plan = make_reference_plan(
        assign_roles(tensors, mlp_roles(4)), width=32, base_width=8, parameterization=MEAN_FIELD, optimizer=ADAM,
        prescription=FULL_RATES,
    )  # fmt: skip
    parameters = {name: nn.Parameter(torch.ones(tensor.shape)) for name, tensor in tensors.items()}
    optimizer = torch.optim.Adam(parameters.items(), eps=1e-6)
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    report = measure_epsilon(optimizer, plan)
    name = next(row.name for row in report.rows if row.role == "hidden")
    assert report.row(name).planned == pytest.approx(1e-6 * 4 ** -float(plan.rows[name].exponents.g))
