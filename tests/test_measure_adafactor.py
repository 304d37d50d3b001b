"""The coordinate check with Adafactor: correct plans of all parameterizations pass, broken ones name the tensor."""

import pytest
from torch import nn

from check_breaks import BREAKS, Planner
from check_models import Llama, Mlp, mlp_batch, mlp_loss, next_token, tokens
from widthwise.measure import CoordinateCheck, Quantity, Verdict, coordinate_check, plan_ladder
from widthwise.theory import ADAFACTOR, FULL, PARAMETERIZATIONS, STANDARD, Parameterization

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
