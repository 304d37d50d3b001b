"""The member updates against torch.optim and float64 NumPy, hand values, and the invariances of Adam-atan2."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import pi, sqrt

import numpy as np
import pytest
import torch
from torch import Tensor

from widthwise.optim import (
    AdafactorConstants,
    AdafactorUpdate,
    AdamAtan2Update,
    AdamUpdate,
    MemberUpdate,
    SgdUpdate,
    State,
)

SGD = SgdUpdate(momentum=0.9)
ADAM = AdamUpdate(beta1=0.9, beta2=0.99)
ATAN2 = AdamAtan2Update(beta1=0.9, beta2=0.99, a=1.3, b=0.7)
UPDATES = [SGD, ADAM, ATAN2]
RATES = [1e-3, 0.02, 0.3]
EPSILONS = [1e-8, 1e-2, 0.0]
STEPS = 100


def update_name(update: object) -> str:
    return type(update).__name__


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run(
    update: MemberUpdate,
    start: Tensor,
    gradients: Sequence[Tensor],
    *,
    rates: Sequence[float] = RATES,
    epsilons: Sequence[float] = EPSILONS,
) -> list[tuple[Tensor, State]]:
    """The parameter and the state after every step."""
    parameter, state = start, update.initial_state(start)
    rate = torch.tensor(rates, dtype=start.dtype)
    epsilon = torch.tensor(epsilons, dtype=start.dtype)
    history = []
    for step, gradient in enumerate(gradients, start=1):
        parameter, state = update.step(parameter, gradient, state, step=step, rate=rate, epsilon=epsilon)
        history.append((parameter, state))
    return history


def torch_sgd(leaf: Tensor, rate: float, epsilon: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([leaf], lr=rate, momentum=SGD.momentum)


def torch_adam(leaf: Tensor, rate: float, epsilon: float) -> torch.optim.Optimizer:
    return torch.optim.Adam([leaf], lr=rate, betas=(ADAM.beta1, ADAM.beta2), eps=epsilon)


@pytest.mark.parametrize(
    ("update", "make", "names"),
    [
        (SGD, torch_sgd, {"momentum": "momentum_buffer"}),
        (ADAM, torch_adam, {"m": "exp_avg", "v": "exp_avg_sq"}),
    ],
    ids=["sgd", "adam"],
)
@pytest.mark.parametrize("shape", [(5, 7), (6,)], ids=["matrix", "vector"])
def test_equals_torch_optim(
    update: MemberUpdate,
    make: Callable[[Tensor, float, float], torch.optim.Optimizer],
    names: dict[str, str],
    shape: tuple[int, ...],
) -> None:
    """Parameter and moments after every one of 100 steps; in float64, a few roundings of 1e-16 per step."""
    start = draw(3, *shape, seed=1)
    gradients = [draw(3, *shape, seed=step) * (1 + step % 5) for step in range(2, 2 + STEPS)]
    history = run(update, start, gradients)
    for p in range(3):
        leaf = start[p].clone().requires_grad_()
        optimizer = make(leaf, RATES[p], EPSILONS[p])
        for gradient, (parameter, state) in zip(gradients, history, strict=True):
            leaf.grad = gradient[p].clone()
            optimizer.step()
            torch.testing.assert_close(parameter[p], leaf.detach(), rtol=1e-13, atol=1e-13)
            assert set(state) == set(names)
            for ours, theirs in names.items():
                torch.testing.assert_close(
                    state[ours][p], optimizer.state[leaf][theirs], rtol=1e-12, atol=1e-14
                )


def test_atan2_equals_numpy() -> None:
    """The formula in NumPy, member by member, moments too; tolerances as above."""
    start = draw(3, 5, 7, seed=1)
    gradients = [draw(3, 5, 7, seed=step) * (1 + step % 5) for step in range(2, 2 + STEPS)]
    history = run(ATAN2, start, gradients)
    for p in range(3):
        theta, m, v = start[p].numpy().copy(), np.zeros((5, 7)), np.zeros((5, 7))
        for step, (gradient, (parameter, state)) in enumerate(zip(gradients, history, strict=True), start=1):
            g = gradient[p].numpy()
            m = 0.9 * m + 0.1 * g
            v = 0.99 * v + 0.01 * g**2
            angle = np.arctan2(m / (1 - 0.9**step), 0.7 * np.sqrt(v / (1 - 0.99**step)))
            theta = theta - RATES[p] * 1.3 * angle
            np.testing.assert_allclose(parameter[p], theta, rtol=1e-13, atol=1e-13)
            np.testing.assert_allclose(state["m"][p], m, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(state["u"][p] ** 2, v, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("update", UPDATES, ids=update_name)
def test_float32_follows_float64(update: MemberUpdate) -> None:
    """100 steps in float32.

    Each step rounds theta (below 8) by half an ulp, 2.4e-7, and the direction (below 2 for Adam and atan2; the momentum
    below 50) relatively by some 2^-20: float32 holds beta2 = 0.99 to 3e-8, a part in 3e5 of the weight 1 - beta2.
    """
    start = draw(3, 5, 7, seed=1)
    gradients = [draw(3, 5, 7, seed=step) for step in range(2, 2 + STEPS)]
    exact = run(update, start, gradients)[-1][0]
    single = run(update, start.float(), [g.float() for g in gradients])[-1][0]
    assert single.dtype == torch.float32
    size = 50 if update is SGD else 2
    for p, rate in enumerate(RATES):
        tolerance = STEPS * (2**-22 + rate * size * 2**-20)
        torch.testing.assert_close(single[p].double(), exact[p], rtol=0, atol=tolerance)
        assert (exact[p] - start[p]).abs().max() > 20 * tolerance


def one_step(update: MemberUpdate, gradient: float, *, rate: float, epsilon: float) -> float:
    """By how much one step from the start lowers a parameter."""
    start = torch.zeros(1, 1, dtype=torch.float64)
    g = torch.full((1, 1), gradient, dtype=torch.float64)
    return -run(update, start, [g], rates=[rate], epsilons=[epsilon])[0][0].item()


@pytest.mark.parametrize("g", [1e-12, 1e-3, 1.0, -1.5, 1e6])
@pytest.mark.parametrize("epsilon", [0.0, 1e-8, 0.5])
def test_first_step_of_adam_by_hand(g: float, epsilon: float) -> None:
    """Bias correction makes m_hat = g and v_hat = g^2: the step is rate * g / (|g| + epsilon)."""
    expected = 0.1 * g / (abs(g) + epsilon)
    assert one_step(ADAM, g, rate=0.1, epsilon=epsilon) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("g", [1e-12, 1.0, -1.5, 1e6])
@pytest.mark.parametrize(
    ("a", "b", "angle"), [(1.0, 1.0, pi / 4), (2.0, 1.0, pi / 2), (1.0, 1 / sqrt(3), pi / 3)]
)
def test_first_step_of_atan2_by_hand(g: float, a: float, b: float, angle: float) -> None:
    """rate * a * atan2(1, b), whatever the gradient's size; epsilon is not used."""
    update = replace(ATAN2, a=a, b=b)
    expected = 0.1 * angle * np.sign(g)
    assert one_step(update, g, rate=0.1, epsilon=0.5) == pytest.approx(expected, rel=1e-12)


def test_two_steps_of_sgd_by_hand() -> None:
    """Momentum 0.9, rate 0.1, gradients 2 and 2: m = 2, then 3.8."""
    g = torch.full((1, 1), 2.0, dtype=torch.float64)
    history = run(SGD, torch.ones(1, 1, dtype=torch.float64), [g, g], rates=[0.1], epsilons=[0.0])
    assert [p.item() for p, _ in history] == pytest.approx([0.8, 0.42], rel=1e-14)


@pytest.mark.parametrize("update", UPDATES, ids=update_name)
def test_a_member_moves_as_it_would_alone(update: MemberUpdate) -> None:
    """Bit for bit. 32 columns, because torch's arctangent rounds the last few elements of an array differently."""
    start = draw(3, 4, 32, seed=1).float()
    gradients = [draw(3, 4, 32, seed=step).float() for step in range(2, 12)]
    together = run(update, start, gradients)
    for p in range(3):
        alone = run(
            update,
            start[p : p + 1],
            [g[p : p + 1] for g in gradients],
            rates=RATES[p : p + 1],
            epsilons=EPSILONS[p : p + 1],
        )
        for (parameter, state), (own_parameter, own_state) in zip(together, alone, strict=True):
            assert torch.equal(parameter[p], own_parameter[0])
            assert all(torch.equal(state[name][p], own_state[name][0]) for name in state)


@pytest.mark.parametrize("update", UPDATES, ids=update_name)
def test_a_zero_gradient_gives_a_zero_step(update: MemberUpdate) -> None:
    """atan2(0, 0) = 0; Adam needs its epsilon for it."""
    start = draw(3, 4, 5, seed=1).float()
    history = run(update, start, [torch.zeros_like(start)] * 3, epsilons=[1e-8] * 3)
    assert all(torch.equal(parameter, start) for parameter, _ in history)


def scaled_by(update: MemberUpdate, power: int) -> Tensor:
    """Where 20 steps end in float32 when every gradient is scaled by 2^power; entries lie in [1/4, 4]."""
    start = draw(3, 4, 32, seed=1).float()
    gradients = []
    for step in range(2, 22):
        g = draw(3, 4, 32, seed=step).float()
        gradients.append(g.sign() * g.abs().clamp(0.25, 4.0) * 2.0**power)
    return run(update, start, gradients, epsilons=[1e-8] * 3)[-1][0]


@pytest.mark.parametrize("power", range(-30, 31))
def test_atan2_does_not_see_the_gradients_scale(power: int) -> None:
    """Bit for bit: scaling by a power of two rounds nothing while v, about 2^(2 power), stays a normal number."""
    assert torch.equal(scaled_by(ATAN2, power), scaled_by(ATAN2, 0))


@pytest.mark.parametrize("power", [-30, -20, -10])
def test_adam_sees_the_gradients_scale(power: int) -> None:
    """By way of epsilon: 1e-8 against gradients near 2^power."""
    scaled, unscaled = scaled_by(ADAM, power), scaled_by(ADAM, 0)
    assert not torch.equal(scaled, unscaled)
    if power == -30:  # gradients near 1e-9: epsilon shortens the steps several times
        assert (scaled - unscaled).abs().max() > 0.5 * RATES[2]


@pytest.mark.parametrize("update", UPDATES, ids=update_name)
def test_arguments_are_left_alone(update: MemberUpdate) -> None:
    parameter, gradient = draw(2, 3, 4, seed=1), draw(2, 3, 4, seed=2)
    state = {name: draw(2, 3, 4, seed=3).abs() for name in update.initial_state(parameter)}
    rate, epsilon = torch.tensor([0.1, 0.2]).double(), torch.tensor([0.1, 0.2]).double()
    arguments = [parameter, gradient, rate, epsilon, *state.values()]
    copies = [argument.clone() for argument in arguments]
    moved, new_state = update.step(parameter, gradient, state, step=3, rate=rate, epsilon=epsilon)
    assert all(torch.equal(argument, copy) for argument, copy in zip(arguments, copies, strict=True))
    assert not torch.equal(moved, parameter)
    assert not any(torch.equal(new_state[name], state[name]) for name in state)


ADAFACTORS = [
    AdafactorUpdate(AdafactorConstants(factored=factored, momentum=momentum, min_dim_size_to_factor=4))
    for factored in (True, False)
    for momentum in (None, 0.9)
]


@pytest.mark.parametrize("update", [*UPDATES, *ADAFACTORS], ids=str)
@pytest.mark.parametrize("shape", [(5, 4), (4, 9), (3, 8), (7,)])
def test_the_shapes_of_the_state_are_those_it_has(update: MemberUpdate, shape: tuple[int, ...]) -> None:
    """Of each of two members, by name and in order."""
    state = update.initial_state(torch.ones(2, *shape))
    shapes = [(name, tuple(tensor.shape)) for name, tensor in state.items()]
    assert shapes == [(name, (2, *own)) for name, own in update.state_shapes(shape).items()]
    assert all(tensor.dtype == torch.float32 for tensor in state.values())


@pytest.mark.parametrize("update", UPDATES, ids=update_name)
def test_state_starts_at_zero(update: MemberUpdate) -> None:
    start = draw(2, 3, 4, seed=1).float()
    for tensor in update.initial_state(start).values():
        assert torch.equal(tensor, torch.zeros_like(start))
