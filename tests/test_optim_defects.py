"""What other implementations of these optimizers are known to get wrong, each as a test that ours passes."""

from math import pi
from typing import Any

import pytest
import torch

from optim_cases import IMPLEMENTATIONS, interpreted_kernels
from widthwise.optim import SQUARED, AdamAtan2, AdamW, WeightDecay


@pytest.fixture(autouse=True, params=list(IMPLEMENTATIONS))
def how(request: pytest.FixtureRequest) -> Any:
    with interpreted_kernels():
        yield IMPLEMENTATIONS[request.param]


def stepped(gradients: list[float], *, dtype: torch.dtype = torch.float32, **arguments: Any) -> torch.Tensor:
    """Where a weight of 1 ends."""
    weight = torch.nn.Parameter(torch.ones(4, dtype=dtype))
    optimizer = AdamAtan2([weight], **arguments)
    for g in gradients:
        weight.grad = torch.full((4,), g, dtype=dtype)
        optimizer.step()
    return weight.detach()


def test_independent_decay_does_not_know_the_constructors_rate(how: dict[str, bool]) -> None:
    """Groups with rates of their own, a scheduler, and a constructor's rate that nothing uses."""
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    groups: list[dict[str, Any]] = [{"params": [weights[0]], "lr": 0.0}, {"params": [weights[1]], "lr": 1e-6}]
    optimizer = AdamAtan2(groups, lr=7.0, weight_decay=WeightDecay.independent(0.25), **how)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + t))
    for _ in range(2):
        for weight in weights:
            weight.grad = torch.zeros(3)
        optimizer.step()
        schedule.step()
    assert [weight.tolist() for weight in weights] == [[0.5625] * 3] * 2


def test_the_last_parameters_correction_is_its_own(how: dict[str, bool]) -> None:
    """A tensor that joins late has its own count of steps: its first step is rate * pi / 4, as any first step."""
    early, late = torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(3))
    optimizer = AdamAtan2([early, late], lr=1.0, **how)
    for t in range(5):
        early.grad = torch.ones(3)
        late.grad = torch.ones(3) if t == 4 else None
        optimizer.step()
    assert late[0].item() == pytest.approx(-pi / 4, rel=1e-6)
    assert early[0].item() == pytest.approx(-5 * pi / 4, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_weights_have_float32_moments(how: dict[str, bool], dtype: torch.dtype) -> None:
    weight = torch.nn.Parameter(torch.ones(3, dtype=dtype))
    optimizer = AdamAtan2([weight], **how)
    weight.grad = torch.full((3,), 2.0**-12, dtype=dtype)
    optimizer.step()
    state = optimizer.state[weight]
    assert {state[name].dtype for name in ("exp_avg", "exp_avg_rms")} == {torch.float32}
    assert state["exp_avg"].numel() + state["exp_avg_rms"].numel() == 2 * weight.numel()  # and no third copy
    assert sum(value.numel() for value in state.values()) == 2 * weight.numel() + 2


def test_a_rate_of_zero_is_legal(how: dict[str, bool]) -> None:
    """As in a schedule that starts at 0; the moments move, the weight does not."""
    assert stepped([1.0, 2.0], lr=0.0, weight_decay=0.1, **how).tolist() == [1.0] * 4


def test_the_first_step_is_a_quarter_turn(how: dict[str, bool]) -> None:
    """The bias corrections are inside the arctangent: 0.785 of the rate, not 0.997."""
    moved = 1 - stepped([3.0], lr=0.5, **how)
    assert moved[0].item() == pytest.approx(0.5 * pi / 4, rel=1e-6)


@pytest.mark.parametrize(
    ("g", "dtype"), [(1e-22, torch.float32), (1e-30, torch.float32), (6e-8, torch.float16)]
)
def test_no_step_is_doubled_where_the_square_vanishes(
    how: dict[str, bool], g: float, dtype: torch.dtype
) -> None:
    """In the root form, the default. The squared form's v is 0 at 1e-24: an angle of pi / 2."""
    moved = 1 - stepped([g], lr=0.5, dtype=dtype, **how).float()
    # A float16 weight just below 1 rounds to 2^-12.
    assert moved[0].item() == pytest.approx(0.5 * pi / 4, abs=1e-6 if dtype == torch.float32 else 2**-12)
    doubled = 1 - stepped([1e-24], lr=0.5, second_moment=SQUARED, **how)
    assert doubled[0].item() == pytest.approx(0.5 * pi / 2, rel=1e-6)


def test_a_zero_gradient_is_a_zero_step_also_without_epsilon(how: dict[str, bool]) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = AdamW([weight], lr=1.0, eps=0.0, **how)
    for _ in range(3):
        weight.grad = torch.zeros(3)
        optimizer.step()
    assert weight.tolist() == [1.0] * 3
