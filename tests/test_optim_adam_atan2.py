"""Adam-atan2 against hand values, float64 NumPy, mpmath and torch.optim.AdamW, and what its arguments mean."""

from collections.abc import Iterator
from math import atan, pi
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

from optim_cases import IMPLEMENTATIONS, draw, in_float64, interpreted_kernels, trained
from widthwise.optim import (
    ROOT,
    SQUARED,
    AdamAtan2,
    StochasticRounding,
    WeightDecay,
    scale_for_small_ratios,
    scale_for_unit_ratios,
)
from widthwise.optim.bias_correction import bias_ratio
from widthwise.optim.second_moment import SecondMoment

FORMS = [SQUARED, ROOT]


def form_name(form: SecondMoment) -> str:
    return form.key


@pytest.fixture(autouse=True)
def _interpreted() -> Iterator[None]:
    with interpreted_kernels():
        yield


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def how(request: pytest.FixtureRequest) -> dict[str, bool]:
    if request.param == "fused":
        pytest.importorskip("triton")
    return IMPLEMENTATIONS[request.param]


def single(value: float) -> Tensor:
    return torch.tensor([value])


@pytest.mark.parametrize("form", FORMS, ids=form_name)
@pytest.mark.parametrize(
    ("a", "b", "angle"),
    [(1.0, 1.0, pi / 4), (2.0, 1.0, pi / 2), (1.0, 3**-0.5, pi / 3), (4.0, 4.0, 4 * atan(1 / 4))],
)
def test_first_step_by_hand(
    how: dict[str, bool], form: SecondMoment, a: float, b: float, angle: float
) -> None:
    """m_hat = g and sqrt(v_hat) = |g|: lr * a * atan2(1, b), to a few units of 2^-24 of 1."""
    g = torch.tensor([1e-12, 1.0, -1.5, 1e12])
    (theta,), _ = trained([torch.ones(4)], [[g]], lr=0.5, a=a, b=b, second_moment=form, **how)
    torch.testing.assert_close(theta, 1 - 0.5 * angle * g.sign(), rtol=0, atol=4e-7)


def test_second_step_by_hand(how: dict[str, bool]) -> None:
    """betas 1/2 and 3/4, gradients 1 then -1: m = 1/2, -1/4; v = 1/4, 7/16; corrections 1/2, 3/4 and 1/4, 7/16."""
    (theta,), optimizer = trained(
        [single(0.0)],
        [[single(1.0)], [single(-1.0)]],
        lr=1.0,
        betas=(0.5, 0.75),
        second_moment=SQUARED,
        **how,
    )
    state = optimizer.state[optimizer.param_groups[0]["params"][0]]
    assert [state[name].item() for name in ("step", "exp_avg", "exp_avg_sq")] == [2.0, -0.25, 0.4375]
    assert theta.item() == pytest.approx(-pi / 4 + atan(1 / 3), abs=4e-7)


@pytest.mark.parametrize("form", FORMS, ids=form_name)
def test_equals_float64(how: dict[str, bool], form: SecondMoment) -> None:
    """12 steps with decay. Each rounds theta (below 8) by 2^-22, and the angle relatively by some 2^-20.

    (float32 keeps the moments to 2^-24 / (1 - beta2) = 2^-24 * 20 of themselves.)
    """
    start = draw(5, 7, seed=0)
    gradients = [draw(5, 7, seed=t) * (1 + t % 5) for t in range(1, 13)]
    options: dict[str, Any] = {"lr": 0.04, "betas": (0.8, 0.95), "a": 1.3, "b": 0.7}
    decay = WeightDecay(per_rate=0.1, per_step=1e-3)
    (theta,), optimizer = trained(
        [start], [[g] for g in gradients], weight_decay=decay, second_moment=form, **options, **how
    )
    exact, m, v = in_float64(
        start.numpy(), [g.numpy() for g in gradients], per_rate=0.1, per_step=1e-3, **options
    )
    np.testing.assert_allclose(theta, exact, rtol=0, atol=12 * (2**-22 + 0.05 * 2**-20))
    assert np.abs(exact - start.numpy()).max() > 0.2
    state = optimizer.state[optimizer.param_groups[0]["params"][0]]
    np.testing.assert_allclose(state["exp_avg"], m, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(form.root(state[form.key]), np.sqrt(v), rtol=2e-6)


def test_equals_mpmath_in_float64() -> None:
    """Five steps of the single-tensor form in float64 against 40 digits."""
    gradients = [0.3, -1e-5, 2e3, 0.0, -7.0]
    (theta,), _ = trained(
        [torch.tensor([0.5], dtype=torch.float64)],
        [[torch.tensor([g], dtype=torch.float64)] for g in gradients],
        lr=0.01,
        second_moment=ROOT,
        b=2.0,
    )
    with mpmath.workdps(40):
        exact, m, v = mpmath.mpf(0.5), mpmath.mpf(0), mpmath.mpf(0)
        beta1, beta2 = mpmath.mpf(0.9), mpmath.mpf(0.999)
        for t, g in enumerate(gradients, start=1):
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * mpmath.mpf(g) ** 2
            ratio = m / (1 - beta1**t) / (2 * mpmath.sqrt(v / (1 - beta2**t)))
            exact -= mpmath.mpf(0.01) * mpmath.atan(ratio)
    assert theta.item() == pytest.approx(float(exact), rel=1e-14)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999, 0.999999])
@pytest.mark.parametrize("step", [1.0, 2.0, 1000.0, 1e7])
def test_bias_correction_keeps_its_digits(beta: float, step: float) -> None:
    """(1 - 0.9^t) / sqrt(1 - beta^t) against mpmath; float32 expm1 is right to 2^-22 or so, the number to 2^-50."""
    with mpmath.workdps(60):
        exact = float((1 - mpmath.mpf(0.9) ** step) / mpmath.sqrt(1 - mpmath.mpf(beta) ** step))
    assert bias_ratio(step, (0.9, beta)) == pytest.approx(exact, rel=1e-14)
    assert bias_ratio(torch.tensor(step), (0.9, beta)).item() == pytest.approx(exact, rel=5e-7)


@pytest.mark.parametrize("form", FORMS, ids=form_name)
def test_agrees_with_adamw_where_it_must(how: dict[str, bool], form: SecondMoment) -> None:
    """With a = b = 4096, b atan(x / b) is x to (x / b)^2 / 3, below 1e-6 for x up to 7; epsilon 0, decay as AdamW's."""
    start = draw(4, 9, seed=0)
    gradients = [draw(4, 9, seed=t) for t in range(1, 13)]
    (theta,), _ = trained(
        [start], [[g] for g in gradients], lr=0.01, a=4096.0, b=4096.0, second_moment=form,
        weight_decay=WeightDecay.coupled(0.3), **how,
    )  # fmt: skip
    leaf = torch.nn.Parameter(start.clone())
    adamw = torch.optim.AdamW([leaf], lr=0.01, eps=0.0, weight_decay=0.3)
    for gradient in gradients:
        leaf.grad = gradient.clone()
        adamw.step()
    torch.testing.assert_close(theta, leaf.detach(), rtol=0, atol=12 * (2**-22 + 0.01 * 4e-6))


@pytest.mark.parametrize("rate", [0.0, 1e-3, 0.5])
def test_decay_follows_the_rate_of_the_step_not_the_constructor(how: dict[str, bool], rate: float) -> None:
    """A zero gradient leaves only decay. (An established package divides by the constructor's rate.)"""
    for decay, kept in ((WeightDecay.coupled(0.25), 1 - 0.25 * rate), (WeightDecay.independent(0.25), 0.75)):
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = AdamAtan2([weight], lr=0.125, weight_decay=decay, **how)
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.zeros(3)
        optimizer.step()
        torch.testing.assert_close(weight.detach(), torch.full((3,), kept), rtol=2**-23, atol=0)


def test_rate_zero_moves_nothing_and_fills_the_moments(how: dict[str, bool]) -> None:
    start = draw(6, seed=0)
    (theta,), optimizer = trained([start], [[draw(6, seed=1)]], lr=0.0, **how)
    assert torch.equal(theta, start)
    assert optimizer.state[optimizer.param_groups[0]["params"][0]]["exp_avg"].abs().min() > 0


def test_a_zero_gradient_gives_a_zero_step(how: dict[str, bool]) -> None:
    start = draw(6, seed=0)
    for form in FORMS:
        (theta,), _ = trained([start], [[torch.zeros(6)]] * 3, lr=1.0, second_moment=form, **how)
        assert torch.equal(theta, start)


def test_maximize_is_the_negative_gradient(how: dict[str, bool]) -> None:
    start, gradients = draw(6, seed=0), [draw(6, seed=t) for t in range(1, 6)]
    (up,), _ = trained([start], [[g] for g in gradients], lr=0.1, maximize=True, **how)
    (down,), _ = trained([start], [[-g] for g in gradients], lr=0.1, **how)
    assert torch.equal(up, down)


def test_a_tensor_rate_is_read_at_every_step(how: dict[str, bool]) -> None:
    start, gradients = draw(6, seed=0), [draw(6, seed=t) for t in range(1, 4)]
    rates = [0.5, 0.0, 0.25]
    results = []
    for rate in (torch.tensor(1.0), 1.0):
        weight = torch.nn.Parameter(start.clone())
        optimizer = AdamAtan2([weight], lr=rate, **how)
        for value, gradient in zip(rates, gradients, strict=True):
            if isinstance(rate, Tensor):
                rate.fill_(value)
            else:
                optimizer.param_groups[0]["lr"] = value
            weight.grad = gradient.clone()
            optimizer.step()
        results.append(weight.detach())
    assert torch.equal(*results)


def test_closure_computes_loss_and_gradient(how: dict[str, bool]) -> None:
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = AdamAtan2([weight], lr=0.5, a=scale_for_unit_ratios(1.0), **how)

    def closure() -> float:
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert weight.item() == pytest.approx(1.5, abs=1e-6)


def test_capturable_counts_beside_the_weights() -> None:
    start, gradients = draw(6, seed=0), [[draw(6, seed=t)] for t in range(1, 6)]
    for how in (IMPLEMENTATIONS["single"], IMPLEMENTATIONS["foreach"]):
        (plain,), _ = trained([start], gradients, lr=0.1, **how)
        (captured,), _ = trained([start], gradients, lr=torch.tensor(0.1), capturable=True, **how)
        torch.testing.assert_close(captured, plain, rtol=0, atol=5 * 2**-22)


def test_table_of_scales() -> None:
    """The paper's table: b, a for small ratios, a for ratios of one."""
    table = [(1, 1, 1.27), (2, 2, 2.16), (4, 4, 4.08), (8, 8, 8.04), (16, 16, 16.02), (32, 32, 32.01)]
    for b, small, unit in table:
        assert scale_for_small_ratios(b) == small
        assert round(scale_for_unit_ratios(b), 2) == unit


GOOD = torch.zeros(2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": -1.0}, "lr = -1.0: give a finite number that is not negative"),
        ({"lr": float("nan")}, "lr = nan"),
        ({"lr": torch.ones(2)}, r"lr is a tensor of shape \(2,\)"),
        ({"lr": torch.ones((), device="meta")}, "lr is on meta, parameter 0 on cpu"),
        ({"betas": (0.9, 1.0)}, r"betas = \(0.9, 1.0\)"),
        ({"betas": (-0.1, 0.9)}, "betas = "),
        ({"betas": (float("nan"), 0.9)}, "betas = "),
        ({"betas": (0.9,)}, "give two numbers"),
        ({"a": 0.0}, "a = 0.0: give a finite positive number"),
        ({"b": float("inf")}, "b = inf"),
        ({"weight_decay": "0.1"}, "weight_decay = '0.1': give WeightDecay"),
        ({"weight_decay": -0.1}, "weight decay per_rate = -0.1"),
        ({"second_moment": "root"}, "second_moment = 'root': give SQUARED or ROOT"),
        ({"rounding": None}, "rounding = None"),
        ({"foreach": True, "fused": True}, "foreach and fused are both True"),
    ],
)
def test_a_bad_hyperparameter_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdamAtan2([GOOD], **arguments)
    optimizer = AdamAtan2([torch.zeros(1)])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": [GOOD], **arguments})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_a_bad_decay_or_seed_is_named(value: float) -> None:
    with pytest.raises(ValueError, match="weight decay per_rate = "):
        WeightDecay.coupled(value)
    with pytest.raises(ValueError, match="weight decay per_step = "):
        WeightDecay.independent(value)
    with pytest.raises(ValueError, match="seed -1"):
        StochasticRounding(seed=-1)
    with pytest.raises(ValueError, match="b = "):
        scale_for_unit_ratios(value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ([torch.zeros(2, dtype=torch.complex64)], "torch.complex64, not a real floating-point tensor"),
        ([GOOD, GOOD], r"parameter 1, of shape \(2,\), is in the group twice"),
        ([("w", GOOD), ("again", GOOD)], "parameter 1"),
    ],
)
def test_a_bad_parameter_is_named(parameters: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdamAtan2(parameters)


def test_a_parameter_of_two_groups_is_refused() -> None:
    with pytest.raises(ValueError, match="more than one parameter group"):
        AdamAtan2([{"params": [GOOD]}, {"params": [GOOD]}])


def test_a_sparse_gradient_is_refused() -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    weight.grad = torch.tensor([0.0, 1.0, 0.0]).to_sparse()
    with pytest.raises(ValueError, match=r"layout torch\.sparse_coo: give a dense one"):
        AdamAtan2([weight]).step()


def test_fused_needs_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ValueError, match="fused=True with parameters on cpu"):
        trained([GOOD], [[GOOD]], fused=True)


def test_a_number_is_the_coupled_decay_in_groups_and_in_the_constructor() -> None:
    """Groups made for PyTorch's optimizers, such as a plan's, mean what they mean there."""
    tensors = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer = AdamAtan2(
        [{"params": tensors[:1], "weight_decay": 0.4, "lr": 0.25}, {"params": tensors[1:]}], weight_decay=0.1
    )
    assert [group["weight_decay"] for group in optimizer.param_groups] == [
        WeightDecay.coupled(0.4),
        WeightDecay.coupled(0.1),
    ]
