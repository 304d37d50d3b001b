"""The coordinate check with Adafactor: correct plans of all parameterizations pass, broken ones name the tensor."""

from fractions import Fraction

import pytest
from torch import nn

from check_breaks import BREAKS, Planner
from check_models import Llama, Mlp, mlp_batch, mlp_loss, next_token, tokens
from widthwise.measure import CoordinateCheck, Quantity, Verdict, coordinate_check, plan_ladder
from widthwise.optim import Adafactor, AdamW, ParameterScaling
from widthwise.scaling import Rule
from widthwise.theory import (
    ADAFACTOR,
    ADAM,
    ADAM_PS,
    FULL,
    MUP,
    PARAMETERIZATIONS,
    STANDARD,
    Parameterization,
    Role,
)

RATE = 1e-2
WIDE = (128, 256, 512, 1024)
SMALL = (32, 64, 128)


def planner(build: type[nn.Module], parameterization: Parameterization, *, base: int) -> Planner:
    return plan_ladder(
        build, base_width=base, parameterization=parameterization, optimizer=ADAFACTOR, alignment=FULL
    )


def check_mlp(plan: Planner, **options: object) -> CoordinateCheck:
    given = {"widths": WIDE, "learning_rate": RATE, "seeds": 5, "steps": 2} | options
    return coordinate_check(Mlp, mlp_batch(), mlp_loss, plan=plan, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS.values(), ids=lambda p: p.name)
def test_a_correct_plan_of_an_mlp_passes(parameterization: Parameterization) -> None:
    """An update is as large as the weights times the rate: n^(-b - c).

    One bias keeps a draw of its own, whose law ten numbers do not tell: nor is its update's known.
    """
    check = check_mlp(planner(Mlp, parameterization, base=128))
    assert check.verdict is Verdict.PASS, check
    judged = {row.name: row for row in check.rows if row.quantity is Quantity.UPDATE}
    assert {row.verdict for name, row in judged.items() if name != "readout.bias"} == {Verdict.PASS}
    assert judged["readout.bias"].verdict is Verdict.UNDEFINED
    assert "follow its own size" in judged["readout.bias"].reason
    assert judged["second.weight"].theory == -1  # the draw falls as n^(-1/2), and so does the rate


@pytest.mark.slow
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS.values(), ids=lambda p: p.name)
def test_a_correct_plan_of_a_llama_fails_no_row(parameterization: Parameterization) -> None:
    """At five seeds and 213 rows an interval may stick out of its margin by chance: one in a hundred at most."""
    plan = planner(Llama, parameterization, base=128)
    check = coordinate_check(Llama, tokens(), next_token, plan=plan, widths=WIDE, learning_rate=RATE)
    assert check.failures == (), check
    undecided = [row for row in check.rows if row.verdict is Verdict.UNDECIDED]
    assert len(undecided) <= len(check.rows) / 100, check


@pytest.mark.parametrize("what", ["embedding rate", "readout init", "hidden rate"])
def test_a_broken_rule_fails_and_names_its_tensor(what: str) -> None:
    """("n = fan-in" changes nothing here: no rate of a fixed fan-in follows the width.)"""
    breaks, role = BREAKS[what]
    check = check_mlp(breaks(planner(Mlp, STANDARD, base=32)), widths=SMALL, seeds=3, steps=1)
    assert check.verdict is Verdict.FAIL
    assert [row.role for row in check.suspects] == [role]
    assert check.suspects[0].name in check.summary()


def test_a_plans_floor_and_epsilon_follow_the_weights_and_the_squared_gradients() -> None:
    """muP from 32 to 128: hidden weights fall as 4^(-1/2), the readout as 4^(-1); gradients as 4^(-1) and 4^0, squared.

    (In the gauge of a forward pass without multipliers: g = 1 in hidden layers, 0 in the readout.)
    """
    plan = planner(Mlp, MUP, base=32)(128)
    model = Mlp(128)
    groups = plan.param_groups(model, learning_rate=0.1, epsilon=1e-20, parameter_floor=0.01)
    by_name = {name: group for group in groups for name in group["param_names"]}
    for name, floor, eps in (
        ("first.weight", 0.01, 4.0**-2),
        ("second.weight", 0.005, 4.0**-2),
        ("readout.weight", 0.0025, 1.0),
    ):
        assert by_name[name]["parameter_scaling"] == pytest.approx(floor)
        assert by_name[name]["eps"] / 1e-20 == pytest.approx(eps)
    optimizer = Adafactor(groups)
    plan.verify(optimizer, model)
    scaled = {group["parameter_scaling"] for group in optimizer.param_groups}
    assert scaled >= {ParameterScaling(floor=0.005), ParameterScaling(floor=0.0025)}
    with pytest.raises(ValueError, match="parameter_floor = -1 must be finite and not below 0"):
        plan.param_groups(model, learning_rate=0.1, parameter_floor=-1)


def test_a_readout_of_zeros_needs_the_plans_floor() -> None:
    """Its first step is the floor's, which has to fall as 1 / n where a drawn readout would."""

    def build(width: int) -> nn.Module:
        model = Mlp(width)
        nn.init.zeros_(model.readout.weight)
        return model

    plan = plan_ladder(
        build, base_width=128, parameterization=MUP, optimizer=ADAFACTOR, alignment=FULL,
        rules=[Rule("readout.weight", role=Role.READOUT, initializer_exponent=Fraction(0))],
    )  # fmt: skip
    sizes = []
    for floor in (None, 1e-3):
        for width in (128, 512):
            model = build(width)
            optimizer = Adafactor(plan(width).param_groups(model, learning_rate=RATE, parameter_floor=floor))
            mlp_loss(model, mlp_batch()).backward()
            optimizer.step()
            sizes.append(model.readout.weight.detach().square().mean().sqrt().item())  # type: ignore[union-attr]
    rate = plan(512).rows["readout.weight"].rate
    assert sizes[1] / sizes[0] == pytest.approx(rate, rel=1e-3)
    assert sizes[3] / sizes[2] == pytest.approx(rate / 4, rel=1e-3)


@pytest.mark.parametrize("parameterization", [STANDARD, MUP], ids=lambda p: p.name)
def test_adam_with_parameter_scaling_passes_too(parameterization: Parameterization) -> None:
    """Its rule has Adafactor's exponents; a check makes the optimizer itself."""
    plan = plan_ladder(
        Mlp, base_width=128, parameterization=parameterization, optimizer=ADAM_PS, alignment=FULL
    )
    check = check_mlp(plan)
    assert check.failures == (), check
    judged = {row.name: row for row in check.rows if row.quantity is Quantity.UPDATE}
    assert judged["second.weight"].theory == -1
    assert judged["second.weight"].verdict is Verdict.PASS


def test_a_plan_knows_which_rates_are_relative() -> None:
    model = Mlp(64)
    for rule, right, wrong in ((ADAM, None, ParameterScaling()), (ADAM_PS, ParameterScaling(), None)):
        plan = plan_ladder(Mlp, base_width=32, parameterization=MUP, optimizer=rule, alignment=FULL)(64)
        groups = plan.param_groups(model, learning_rate=0.1)
        plan.verify(AdamW(groups, parameter_scaling=right), model)
        groups = plan.param_groups(model, learning_rate=0.1)
        with pytest.raises(ValueError, match=f"the plan's rates are for {rule.name}, .* parameter_scaling"):
            plan.verify(AdamW(groups, parameter_scaling=wrong), model)
