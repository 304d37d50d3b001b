"""Weight norm: the gain sets the size of W = g V / ||V||, so it must follow the tensor that it normalizes."""

from fractions import Fraction

import pytest
import torch
from torch import nn

from plan_training import plan_of
from widthwise.scaling import Rule
from widthwise.theory import MUP, STANDARD, Role

READOUT = "2.parametrizations.weight.original"


def build(width: int) -> nn.Module:
    """A hidden layer and a readout under weight norm, drawn by torch's own Linear: entries as n^(-1/2)."""
    norm = nn.utils.parametrizations.weight_norm
    return nn.Sequential(
        nn.Embedding(11, width), norm(nn.Linear(width, width)), norm(nn.Linear(width, 11, bias=False))
    )


DIRECTION = Rule(f"{READOUT}1", role=Role.READOUT)


def test_gains_that_follow_are_left() -> None:
    """Standard: V's entries n^(-1/2) by themselves, n of them under a norm: both gains stay at n^0."""
    plan = plan_of(build, parameterization=STANDARD, rules=(DIRECTION,))
    gains = [row for name, row in plan.rows.items() if name.endswith("original0")]
    assert [(row.role, row.init, row.rate) for row in gains] == [(Role.VECTOR, 1, 1), (Role.FIXED, 1, 1)]


def test_a_gain_that_does_not_follow_is_refused_with_the_rule_that_mends_it() -> None:
    """muP's readout starts as n^(-1) and its norm as n^(-1/2); with the rule W is what it would be without the norm."""
    with pytest.raises(ValueError, match="gain has to start as n") as refused:
        plan_of(build, parameterization=MUP, rules=(DIRECTION,))
    assert f"Rule('{READOUT}0', forward_factor=Fraction('1/2'))" in str(refused.value)
    follow = Rule(f"{READOUT}0", forward_factor=Fraction("1/2"))
    plan = plan_of(build, parameterization=MUP, rules=(DIRECTION, follow))
    torch.manual_seed(0)
    model = build(plan.width)
    before = model[2].weight.clone()
    plan.initialize_(model)
    ratio = plan.width / plan.base_width
    assert torch.allclose(model[2].weight, before * ratio**-0.5)
    gain = plan.rows[f"{READOUT}0"]
    assert gain.rate == ratio**-0.5  # Adam: relative to its size, as a gain's


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_the_older_weight_norm_of_a_model_that_is_one_layer() -> None:
    """`weight_g` and `weight_v`, at the top of the model's names."""

    def layer(width: int) -> nn.Module:
        return nn.utils.weight_norm(nn.Linear(width, 11, bias=False))

    readout = Rule("weight_v", role=Role.READOUT)
    with pytest.raises(
        ValueError, match=r"weight_g is the gain of a weight norm, which takes the size of weight_v"
    ):
        plan_of(layer, parameterization=MUP, rules=(readout,))
    follow = Rule("weight_g", forward_factor=Fraction("1/2"))
    assert plan_of(layer, parameterization=MUP, rules=(readout, follow)).rows["weight_g"].init == 1 / 2


@pytest.mark.parametrize("shape", [(11,), (11, 2)], ids=str)
def test_a_tensor_of_that_name_that_normalizes_nothing_is_left(shape: tuple[int, ...]) -> None:
    """A gain has one entry for each slice that is normalized, and as many dimensions as the direction."""

    class Named(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.words = nn.Embedding(11, width)
            self.weight_v = nn.Parameter(torch.randn(11, width) / width**0.5)
            self.weight_g = nn.Parameter(torch.ones(shape))

    plan = plan_of(Named, parameterization=MUP, rules=(Rule("weight_v", role=Role.READOUT),))
    assert (plan.rows["weight_v"].init, plan.rows["weight_g"].init) == (1 / 2, 1)
