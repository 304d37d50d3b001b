"""AdamW and parameter scaling: hand values, torch's AdamW, the three implementations, states to and from torch."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from optim_cases import IMPLEMENTATIONS, draw, interpreted_kernels
from widthwise.optim import (
    ROOT,
    SQUARED,
    AdamAtan2,
    AdamW,
    ParameterScaling,
    StochasticRounding,
    WeightDecay,
)

SHAPES: list[tuple[int, ...]] = [(), (0,), (7,), (2049,), (5, 33)]


@pytest.fixture(autouse=True, params=list(IMPLEMENTATIONS))
def how(request: pytest.FixtureRequest) -> Any:
    with interpreted_kernels():
        yield IMPLEMENTATIONS[request.param]


def run(make: Any, *, steps: int = 3, dtype: torch.dtype = torch.float32, power: int = 0) -> list[Tensor]:
    """The weights of tensors of all shapes after some steps."""
    leaves = [torch.nn.Parameter(draw(*shape, seed=i, dtype=dtype)) for i, shape in enumerate(SHAPES)]
    optimizer = make(leaves)
    for t in range(1, steps + 1):
        for i, leaf in enumerate(leaves):
            leaf.grad = draw(*leaf.shape, seed=100 * t + i, dtype=dtype) * 2.0**power
        optimizer.step()
    return [leaf.detach() for leaf in leaves]


@pytest.mark.parametrize("g", [2.0, -1e-3, 1e-30])
@pytest.mark.parametrize("eps", [0.0, 0.5])
def test_first_step_by_hand(how: dict[str, bool], g: float, eps: float) -> None:
    """m_hat = g and v_hat = g^2."""
    weight = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    optimizer = AdamW([weight], lr=0.25, eps=eps, weight_decay=0.5, **how)
    weight.grad = torch.tensor([g, 0.0])
    optimizer.step()
    expected = [1 - 0.25 * g / (abs(g) + eps) - 0.125, 0.875]
    np.testing.assert_allclose(weight.tolist(), expected, rtol=2e-6)


@pytest.mark.parametrize("form", [SQUARED, ROOT], ids=["squared", "root"])
@pytest.mark.parametrize("eps", [1e-8, 0.3])
def test_equals_torch(how: dict[str, bool], form: Any, eps: float) -> None:
    """Each step rounds the weight (below 8) by 2^-22 and the direction (below 2) relatively by some 2^-20."""
    options: dict[str, Any] = {"lr": 0.05, "betas": (0.8, 0.95), "eps": eps, "weight_decay": 0.2}
    expected = run(lambda leaves: torch.optim.AdamW(leaves, **options))
    found = run(lambda leaves: AdamW(leaves, second_moment=form, **options, **how))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=6 * (2**-22 + 0.1 * 2**-19))


def scaled_reference(kind: str, floor: float) -> list[np.ndarray]:
    """The formula as it is written, in float64."""
    results = []
    for i, shape in enumerate(SHAPES):
        theta = draw(*shape, seed=i).double().numpy().copy()
        m, v = np.zeros(shape), np.zeros(shape)
        for t in range(1, 4):
            g = draw(*shape, seed=100 * t + i).double().numpy()
            m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
            m_hat, root = m / (1 - 0.9**t), np.sqrt(v / (1 - 0.99**t))
            direction = m_hat / (root + 1e-3) if kind == "adam" else 1.5 * np.arctan2(m_hat, 2 * root)
            size = max(floor, np.sqrt((theta**2).mean())) if theta.size else floor
            theta = theta - 0.05 * size * direction - 0.05 * 0.1 * theta
        results.append(theta)
    return results


@pytest.mark.parametrize("kind", ["adam", "atan2"])
@pytest.mark.parametrize("floor", [1e-3, 50.0])
def test_parameter_scaling_equals_float64(how: dict[str, bool], kind: str, floor: float) -> None:
    """The rate follows each tensor's own size as it changes; the decay does not."""
    options: dict[str, Any] = {
        "lr": 0.05, "betas": (0.9, 0.99), "weight_decay": 0.1, "parameter_scaling": ParameterScaling(floor), **how
    }  # fmt: skip
    if kind == "adam":
        found = run(lambda leaves: AdamW(leaves, eps=1e-3, **options))
    else:
        found = run(lambda leaves: AdamAtan2(leaves, a=1.5, b=2.0, **options))
    size = max(floor, 2.0)
    for a, b in zip(found, scaled_reference(kind, floor), strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=0, atol=6 * (2**-22 * (1 + size) + 0.1 * size * 2**-19))


@pytest.mark.parametrize("power", [-100, 100])
def test_scaling_leaves_adam_atan2_blind_to_the_gradients_scale(how: dict[str, bool], power: int) -> None:
    def make(leaves: Any) -> AdamAtan2:
        return AdamAtan2(leaves, lr=0.05, parameter_scaling=ParameterScaling(), **how)

    assert all(torch.equal(*pair) for pair in zip(run(make), run(make, power=power), strict=True))


def test_adam_with_epsilon_sees_it(how: dict[str, bool]) -> None:
    """1e-12 against gradients of 2^-40, which is 1e-12."""

    def make(leaves: Any) -> AdamW:
        return AdamW(leaves, lr=0.05, eps=1e-12, **how)

    plain, scaled = run(make), run(make, power=-40)
    assert (plain[3] - scaled[3]).abs().max() > 0.05


def test_low_precision_and_stochastic_rounding(how: dict[str, bool]) -> None:
    """bfloat16 weights near their float32 run, by a unit in the last place (2^-6 below 4, and rounding's steps)."""

    def make(leaves: Any) -> AdamW:
        return AdamW(
            leaves, lr=0.05, parameter_scaling=ParameterScaling(), rounding=StochasticRounding(3), **how
        )

    exact = run(lambda leaves: AdamW(leaves, lr=0.05, parameter_scaling=ParameterScaling(), **how))
    for low, full in zip(run(make, dtype=torch.bfloat16), exact, strict=True):
        assert low.dtype == torch.bfloat16
        torch.testing.assert_close(low.float(), full, rtol=0, atol=6 * 2**-6)


def test_from_torch_and_back(how: dict[str, bool]) -> None:
    """AdamW's state loads, epsilon included, goes on as it would have, and returns to the bit in the squared form."""
    leaf = torch.nn.Parameter(draw(40, seed=0))
    theirs = torch.optim.AdamW([leaf], lr=0.03, betas=(0.8, 0.95), weight_decay=0.2, eps=1e-3)
    leaf.grad = draw(40, seed=1)
    theirs.step()
    saved = copy.deepcopy(theirs.state_dict())
    own = torch.nn.Parameter(leaf.detach().clone())
    ours = AdamW([own], second_moment=SQUARED, **how)
    ours.load_state_dict(saved)
    assert ours.param_groups[0]["eps"] == 1e-3
    back = ours.adamw_state_dict(eps=1e-3)
    assert all(torch.equal(back["state"][0][name], saved["state"][0][name]) for name in saved["state"][0])
    leaf.grad, own.grad = draw(40, seed=2), draw(40, seed=2)
    theirs.step()
    ours.step()
    torch.testing.assert_close(own, leaf, rtol=0, atol=2**-21)


def test_a_state_goes_from_one_of_ours_to_the_other(how: dict[str, bool]) -> None:
    """Moments, counts, rate and scaling travel; epsilon, and a and b, stay with whom they belong to."""
    leaf = torch.nn.Parameter(draw(40, seed=0))
    first = AdamW([leaf], lr=0.03, eps=0.5, parameter_scaling=ParameterScaling(0.25), **how)
    leaf.grad = draw(40, seed=1)
    first.step()
    second = AdamAtan2([leaf], a=2.0, b=3.0, **how)
    second.load_state_dict(torch.utils._pytree.tree_map(lambda x: x, first.state_dict()))
    group = second.param_groups[0]
    assert "eps" not in group
    assert (group["a"], group["b"], group["lr"]) == (2.0, 3.0, 0.03)
    assert group["parameter_scaling"] == ParameterScaling(0.25)
    assert all(torch.equal(second.state[leaf][name], first.state[leaf][name]) for name in first.state[leaf])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eps": -1e-8}, r"eps = -1e-08: give a finite number that is not negative"),
        ({"eps": float("nan")}, "eps = nan"),
        ({"lr": -1.0}, "lr = -1.0"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"parameter_scaling": "yes"}, r"parameter_scaling = 'yes': give ParameterScaling\(\) or None"),
        ({"parameter_scaling": -1.0}, r"parameter scaling floor = -1.0"),
    ],
)
def test_bad_numbers_are_refused(how: dict[str, bool], arguments: dict[str, Any], message: str) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match=message):
        AdamW([weight], **arguments, **how)
    with pytest.raises(ValueError, match=message):
        AdamW([{"params": [weight], **arguments}], **how)


def test_groups_have_their_own_epsilon(how: dict[str, bool]) -> None:
    leaves = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    groups: list[dict[str, Any]] = [{"params": leaves[:1], "eps": 1.0}, {"params": leaves[1:], "eps": 3.0}]
    optimizer = AdamW(groups, lr=0.5, weight_decay=WeightDecay.independent(0.125), **how)
    for leaf in leaves:
        leaf.grad = torch.ones(3)
    optimizer.step()
    assert [leaf[0].item() for leaf in leaves] == pytest.approx([0.625, 0.75], rel=1e-6)
