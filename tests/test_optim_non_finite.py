"""What is infinite or NaN is reported, with its first step, in every implementation."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from optim_cases import IMPLEMENTATIONS, interpreted_kernels
from widthwise.optim import ROOT, SQUARED, AdamAtan2, NonFinite
from widthwise.optim.second_moment import SecondMoment

INF, NAN = float("inf"), float("nan")


@pytest.fixture(autouse=True)
def _interpreted() -> Iterator[None]:
    with interpreted_kernels():
        yield


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def how(request: pytest.FixtureRequest) -> dict[str, bool]:
    if request.param == "fused":
        pytest.importorskip("triton")
    return IMPLEMENTATIONS[request.param]


def reported(
    bad: float, at: int, how: dict[str, bool], form: SecondMoment
) -> tuple[tuple[NonFinite, ...], Tensor]:
    """A bad entry in the last block of the second tensor at one of three steps; the report, and that tensor."""
    weights = [("first", torch.nn.Parameter(torch.ones(3))), ("second", torch.nn.Parameter(torch.ones(1030)))]
    optimizer = AdamAtan2(weights, lr=0.1, second_moment=form, **how)
    for step in (1, 2, 3):
        for _, weight in weights:
            weight.grad = torch.ones_like(weight)
        if step == at:
            weights[1][1].grad[1027] = bad
        assert step > 1 or at == 1 or optimizer.non_finite() == ()
        optimizer.step()
    return optimizer.non_finite(), weights[1][1].detach()


@pytest.mark.parametrize("form", [SQUARED, ROOT])
@pytest.mark.parametrize(("bad", "at"), [(INF, 1), (-INF, 2), (NAN, 3)])
def test_a_bad_gradient_is_on_record(how: dict[str, bool], form: SecondMoment, bad: float, at: int) -> None:
    """The tensor, its name, its first step; and the weight itself is NaN, as with torch.optim.AdamW."""
    found, weight = reported(bad, at, how, form)
    assert found == (NonFinite(group=0, index=1, name="second", step=at),)
    assert str(found[0]) == f"second: not finite since step {at}"
    assert weight.isnan().nonzero().flatten().tolist() == [1027]


def test_an_overflow_that_the_arctangent_hides_is_on_record(how: dict[str, bool]) -> None:
    """1e21 squared is infinite: the squared form's weight stands still from then on, finite. The root form goes on."""
    found, weight = reported(1e21, 2, how, SQUARED)
    assert [(entry.index, entry.step) for entry in found] == [(1, 2)]
    assert weight.isfinite().all()
    found, weight = reported(1e21, 2, how, ROOT)
    assert found == ()


def test_a_loaded_moment_is_looked_at_too(how: dict[str, bool]) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = AdamAtan2([weight], **how)
    weight.grad = torch.ones(3)
    optimizer.step()
    optimizer.state[weight]["exp_avg"][1] = INF
    optimizer.step()
    (found,) = optimizer.non_finite()
    assert found == NonFinite(group=0, index=0, name=None, step=2)
    assert str(found) == "parameter 0 of group 0: not finite since step 2"
    state = optimizer.state_dict()
    again = AdamAtan2([torch.nn.Parameter(torch.ones(3))])
    again.load_state_dict(state)
    assert again.non_finite() == (found,)


def test_nothing_to_report_before_the_first_step() -> None:
    assert AdamAtan2([torch.nn.Parameter(torch.ones(3))]).non_finite() == ()
