"""A low-rank adapter W x + B A x, A [r, n] and B [n, r]: its rates by hand, in every parameterization."""

import pytest
from torch import nn

from plan_training import plan_of
from widthwise.theory import (
    FULL,
    MEAN_FIELD,
    MUP,
    NONE,
    NTK,
    PARAMETERIZATIONS,
    STANDARD,
    Alignment,
    Parameterization,
    Role,
)


class Adapted(nn.Module):
    """A layer whose own weights are loaded and frozen, and its adapter as PEFT starts it: A as n^(-1/2), B zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.base = nn.Linear(width, width, bias=False).requires_grad_(False)
        self.lora_A = nn.Linear(width, 8, bias=False)
        self.lora_B = nn.Linear(8, width, bias=False)
        nn.init.zeros_(self.lora_B.weight)


def adapted(width: int) -> nn.Module:
    return nn.Sequential(nn.Embedding(11, width).requires_grad_(False), Adapted(width))


CASES = [(one, FULL, 1 / 4) for one in PARAMETERIZATIONS.values()] + [(STANDARD, NONE, 1 / 2)]


@pytest.mark.parametrize(
    ("parameterization", "alignment", "factor"),
    CASES,
    ids=[f"{one.name}, {two.name}" for one, two, _ in CASES],
)
def test_the_rates_of_an_adapter(
    parameterization: Parameterization, alignment: Alignment, factor: float
) -> None:
    """Four times the width, Adam: entries of an update are of the size of its rate, whatever the gradient's.

    A's sum over n terms: n of them add up to n eta if they are aligned, else to n^(1/2) eta. B's is over 8 at any
    width. So eta_A falls as n^(-1), or n^(-1/2), and eta_B stays, as in LoRA+ (Hayou et al. 2024, arXiv 2402.12354).
    """
    plan = plan_of(adapted, parameterization=parameterization, alignment=alignment)
    down, up = (plan.rows[f"1.lora_{name}.weight"] for name in "AB")
    assert (down.role, up.role) == (Role.READOUT, Role.EMBEDDING)
    groups = plan.param_groups(adapted(plan.width), learning_rate=1e-3)
    rates = {name: group["lr"] for group in groups for name in group["param_names"]}
    assert rates == {"1.lora_A.weight": pytest.approx(1e-3 * factor), "1.lora_B.weight": 1e-3}


STARTS = {STANDARD: 1, NTK: 1, MUP: 1 / 2, MEAN_FIELD: 1 / 2}


@pytest.mark.parametrize(("parameterization", "factor"), STARTS.items(), ids=[one.name for one in STARTS])
def test_where_the_start_of_an_adapter_is_its_own(parameterization: Parameterization, factor: float) -> None:
    """A x is of size 1 with entries of n^(-1/2), which A's own draw has; muP's readouts start n^(-1/2) below that."""
    assert plan_of(adapted, parameterization=parameterization).rows["1.lora_A.weight"].init == factor
