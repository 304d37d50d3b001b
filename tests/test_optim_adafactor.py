"""Adafactor against hand values, float64 NumPy and optax, what its arguments mean, and what it exists for."""

from collections.abc import Iterator
from math import sqrt
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch import Tensor

from adafactor_cases import IMPLEMENTATIONS, draw, in_float64, interpreted_kernels, states, trained
from widthwise.optim import Adafactor, AdafactorConstants, ParameterScaling, WeightDecay
from widthwise.optim.adafactor_single import adafactor_step, initial_state


@pytest.fixture(autouse=True)
def _interpreted() -> Iterator[None]:
    with interpreted_kernels():
        yield


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def how(request: pytest.FixtureRequest) -> dict[str, bool]:
    if request.param == "fused":
        pytest.importorskip("triton")
    return {"fused": IMPLEMENTATIONS[request.param]}


def test_first_step_of_a_vector_by_hand(how: dict[str, bool]) -> None:
    """beta2 is 0 at first: u is the gradient's sign, of RMS 1; the step is the rate times the weights' RMS, 5."""
    start = torch.tensor([7.0, -1.0])
    (theta,), _ = trained([start], [[torch.tensor([1e-3, -20.0])]], lr=0.1, **how)
    torch.testing.assert_close(theta, torch.tensor([6.5, -0.5]), rtol=2**-22, atol=0)


def test_second_step_of_a_vector_by_hand(how: dict[str, bool]) -> None:
    """decay_rate 1: v is the plain mean of 1 and 9, so u = 3 / sqrt(5), and clipping to 1 makes it 1."""
    gradients = [[torch.tensor([1.0])], [torch.tensor([3.0])]]
    options: dict[str, Any] = {"lr": 0.5, "decay_rate": 1.0, "parameter_scaling": None, **how}
    (theta,), optimizer = trained([torch.tensor([0.0])], gradients, clipping_threshold=None, **options)
    assert theta.item() == pytest.approx(-0.5 - 0.5 * 3 / sqrt(5), rel=2**-21)
    assert states(optimizer)[0]["v"].item() == pytest.approx(5, rel=2**-22)
    (clipped,), _ = trained([torch.tensor([0.0])], gradients, **options)
    assert clipped.item() == -1.0
    (half,), _ = trained([torch.tensor([0.0])], gradients, **{**options, "clipping_threshold": 0.5})
    assert half.item() == pytest.approx(-0.5, rel=2**-21)


def test_a_matrix_by_hand(how: dict[str, bool]) -> None:
    """g = [[1, 2], [3, 4]]: rows 5/2, 25/2, columns 5, 10, their mean 15/2; u^2 = g^2 mean / (row column)."""
    (theta,), optimizer = trained(
        [torch.zeros(2, 2)], [[torch.tensor([[1.0, 2.0], [3.0, 4.0]])]], lr=1.0, min_dim_size_to_factor=2,
        clipping_threshold=None, parameter_scaling=None, **how,
    )  # fmt: skip
    expected = [[sqrt(3 / 5), sqrt(6 / 5)], [sqrt(27 / 25), sqrt(24 / 25)]]
    torch.testing.assert_close(-theta, torch.tensor(expected), rtol=2**-21, atol=0)
    state = states(optimizer)[0]
    assert (state["v_row"].tolist(), state["v_col"].tolist()) == ([2.5, 12.5], [5.0, 10.0])


def test_momentum_by_hand(how: dict[str, bool]) -> None:
    """The mean is of steps, the rate inside: 1 - 3/4 of a step of 1, then 3/4 of that and 1/4 of a step of 2."""
    weight = torch.nn.Parameter(torch.tensor([0.0]))
    optimizer = Adafactor([weight], lr=1.0, momentum=0.75, parameter_scaling=None, **how)
    for rate, expected in ((1.0, -0.25), (2.0, -0.9375), (0.0, -1.453125)):
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.tensor([3.0])
        optimizer.step()
        assert weight.item() == expected


SWITCHES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "as is": ({}, {}, {}),
    "unclipped": (
        {"clipping_threshold": None},
        {"threshold": None},
        {"clipping_threshold": None},
    ),
    "clipped at 1.5": ({"clipping_threshold": 1.5}, {"threshold": 1.5}, {"clipping_threshold": 1.5}),
    "unscaled": ({"parameter_scaling": None}, {"floor": None}, {"multiply_by_parameter_scale": False}),
    "momentum": ({"momentum": 0.9}, {"momentum": 0.9}, {"momentum": 0.9}),
    "decay": ({"weight_decay": WeightDecay.independent(0.02)}, {"decay": 0.02}, {"weight_decay_rate": 0.02}),
    "offset": ({"step_offset": 7}, {"step_offset": 7}, {"decay_offset": -7}),
    "decay rate": ({"decay_rate": 0.5}, {"decay_rate": 0.5}, {"decay_rate": 0.5}),
    "large eps": ({"eps": 0.1}, {"eps": 0.1}, {"eps": 0.1}),
    "unfactored": ({"factored": False}, {"factored": False}, {"factored": False}),
}
"""Each option as this package, the formula in NumPy and optax call it."""


ON_BOTH = ["unclipped", "momentum", "unfactored", "large eps"]
"""What the fused kernels have code of their own for. (The interpreter takes half a second a step.)"""


@pytest.mark.parametrize(
    ("fused", "name"), [(False, name) for name in SWITCHES] + [(True, name) for name in ON_BOTH]
)
def test_equals_float64(fused: bool, name: str) -> None:
    """Three steps of a matrix and a vector; each rounds theta (below 32) by 2^-20, and u (below 30) by some 2^-20."""
    ours, exact, _ = SWITCHES[name]
    starts = [draw(9, 20, seed=1), draw(21, seed=2)]
    gradients = [[draw(*s.shape, seed=10 * t + i) * t for i, s in enumerate(starts)] for t in (1, 2, 3)]
    found, optimizer = trained(starts, gradients, lr=0.05, fused=fused, **ours)
    for i, (start, theta, state) in enumerate(zip(starts, found, states(optimizer), strict=True)):
        factored = start.dim() > 1 and exact.get("factored", True)
        expected, means = in_float64(
            start.numpy(), [row[i].numpy() for row in gradients], lr=0.05, **{**exact, "factored": factored}
        )
        tolerance = 3 * (2**-20 + 0.05 * 30 * 2**-20)
        np.testing.assert_allclose(theta, expected, rtol=0, atol=tolerance)
        assert np.abs(expected - start.numpy()).max() > 1000 * tolerance
        for key, mean in means.items():
            np.testing.assert_allclose(state[key], mean, rtol=2e-6)


OPTAX_SHAPES: list[tuple[int, ...]] = [(200, 128), (7,)]
MORE_SHAPES: list[tuple[int, ...]] = [(128, 130), (130, 2, 129), (2, 130, 129), (127, 300), ()]
"""Tall, wide, with other dimensions before and between, too small to factor."""


@pytest.mark.slow
def test_agrees_with_optax_on_more_shapes() -> None:
    agrees_with_optax("as is", MORE_SHAPES)


@pytest.mark.parametrize("name", SWITCHES)
def test_agrees_with_optax(name: str) -> None:
    agrees_with_optax(name, OPTAX_SHAPES)


def agrees_with_optax(name: str, shapes: list[tuple[int, ...]]) -> None:
    """Four steps. Both round in float32: theta (below 32) by 2^-20 a step, u by some 2^-20, w = 1 - beta2 by 2^-22."""
    ours, _, theirs = SWITCHES[name]
    starts = [draw(*shape, seed=i) for i, shape in enumerate(shapes)]
    gradients = [[draw(*s.shape, seed=100 * t + i) * t for i, s in enumerate(starts)] for t in range(1, 5)]
    found, _ = trained(starts, gradients, lr=0.02, min_dim_size_to_factor=128, **ours)
    transform = optax.adafactor(learning_rate=0.02, **theirs)
    weights = [jnp.asarray(start.numpy()) for start in starts]
    state = transform.init(weights)
    for row in gradients:
        updates, state = transform.update([jnp.asarray(g.numpy()) for g in row], state, weights)
        weights = optax.apply_updates(weights, updates)
    for theta, expected, start in zip(found, weights, starts, strict=True):
        tolerance = 4 * (2**-20 + 0.02 * 30 * 2**-20)
        np.testing.assert_allclose(theta, expected, rtol=0, atol=tolerance)
        assert (theta - start).abs().max() > 500 * tolerance


def relative_steps(optimizer_of: Any, steps: int) -> list[float]:
    """The size of every step over the weights' size before it."""
    weight = torch.nn.Parameter(draw(6, 8, seed=0))
    optimizer = optimizer_of([weight])
    found = []
    for t in range(1, steps + 1):
        before = weight.detach().clone()
        weight.grad = torch.randn(6, 8, generator=torch.Generator().manual_seed(t))
        optimizer.step()
        found.append(((weight.detach() - before).norm() / before.norm()).item())
    return found


def test_the_rate_is_the_one_it_is_given() -> None:
    """Steps keep the relative size that the rate says, at step 100 as at first; PyTorch's shrink as 1 / sqrt(t).

    Updates are clipped at an RMS of 1 and, with gradients that do not grow, not much smaller.
    """
    ours = relative_steps(lambda params: Adafactor(params, lr=0.5, min_dim_size_to_factor=4), 100)
    assert max(ours) <= 0.5 * (1 + 2**-20)
    assert min(ours[90:]) > 0.35
    theirs = relative_steps(lambda params: torch.optim.Adafactor(params, lr=0.5), 100)
    assert max(theirs[90:]) <= 1 / sqrt(91) * 1.001
    assert ours[-1] > 4 * theirs[-1]


def test_without_parameter_scaling_a_rate_is_in_units_of_the_weights(how: dict[str, bool]) -> None:
    for size in (1e-3, 1.0, 100.0):
        (theta,), _ = trained(
            [torch.full((3,), size)], [[torch.ones(3)]], lr=0.25, parameter_scaling=None, **how
        )
        torch.testing.assert_close(theta, torch.full((3,), size - 0.25), rtol=2**-20, atol=0)


def test_the_floor_lets_zeros_move(how: dict[str, bool]) -> None:
    (theta,), _ = trained(
        [torch.zeros(3)], [[torch.ones(3)]], lr=0.5, parameter_scaling=ParameterScaling(floor=0.25), **how
    )
    assert theta.tolist() == [-0.125] * 3


@pytest.mark.parametrize("rate", [0.0, 1e-3, 0.5])
def test_decay_follows_the_rate_of_the_step_not_the_constructor(how: dict[str, bool], rate: float) -> None:
    """A zero gradient leaves only decay."""
    for decay, kept in ((WeightDecay.coupled(0.25), 1 - 0.25 * rate), (WeightDecay.independent(0.25), 0.75)):
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = Adafactor([weight], lr=0.125, weight_decay=decay, **how)
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.zeros(3)
        optimizer.step()
        torch.testing.assert_close(weight.detach(), torch.full((3,), kept), rtol=2**-23, atol=0)


def test_rate_zero_moves_nothing_and_fills_the_means(how: dict[str, bool]) -> None:
    start = draw(6, 8, seed=0)
    (theta,), optimizer = trained([start], [[draw(6, 8, seed=1)]], lr=0.0, **how)
    assert torch.equal(theta, start)
    assert states(optimizer)[0]["v_row"].min() > 0


def test_a_tensor_rate_is_read_at_every_step(how: dict[str, bool]) -> None:
    """In place, in float32 and in another dtype."""
    start, gradients = draw(5, seed=0), [draw(5, seed=t) for t in range(1, 4)]
    results = []
    for rate in (torch.tensor(1.0), torch.tensor([1.0]), torch.tensor(1.0, dtype=torch.float64), 1.0):
        weight = torch.nn.Parameter(start.clone())
        optimizer = Adafactor([weight], lr=rate, min_dim_size_to_factor=4, **how)
        for value, gradient in zip((0.5, 0.0, 0.25), gradients, strict=True):
            if isinstance(rate, Tensor):
                rate.fill_(value)
            else:
                optimizer.param_groups[0]["lr"] = value
            weight.grad = gradient.clone()
            optimizer.step()
        results.append(weight.detach())
    assert all(torch.equal(result, results[-1]) for result in results)


def test_maximize_is_the_negative_gradient(how: dict[str, bool]) -> None:
    starts = [draw(6, 8, seed=0), draw(5, seed=1)]
    gradients = [[draw(*s.shape, seed=10 * t + i) for i, s in enumerate(starts)] for t in (1, 2)]
    up, _ = trained(starts, gradients, lr=0.1, maximize=True, momentum=0.5, **how)
    down, _ = trained(starts, [[-g for g in row] for row in gradients], lr=0.1, momentum=0.5, **how)
    assert all(torch.equal(*pair) for pair in zip(up, down, strict=True))


def test_closure_computes_loss_and_gradient() -> None:
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = Adafactor([weight], lr=0.25)

    def closure() -> float:
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert weight.item() == 1.5


def test_capturable_counts_beside_the_weights() -> None:
    starts, gradients = [draw(6, 8, seed=0)], [[draw(6, 8, seed=t)] for t in range(1, 6)]
    (plain,), _ = trained(starts, gradients, lr=0.1)
    (captured,), _ = trained(starts, gradients, lr=torch.tensor(0.1), capturable=True)
    torch.testing.assert_close(captured, plain, rtol=0, atol=5 * 2**-20)


def test_the_reference_writes_to_nothing() -> None:
    theta, g, constants = draw(6, 8, seed=0), draw(6, 8, seed=1), AdafactorConstants(momentum=0.5)
    state = initial_state(theta, constants=constants)
    copies = [x.clone() for x in (theta, g, *state.values())]
    adafactor_step(theta, g, state, constants=constants, rate=0.1, step=1, decay=0.1)
    assert all(torch.equal(*pair) for pair in zip((theta, g, *state.values()), copies, strict=True))


GOOD = torch.zeros(2)
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": -1.0}, "lr = -1.0: give a finite number that is not negative"),
        ({"lr": NAN}, "lr = nan"),
        ({"lr": torch.ones(2)}, r"lr is a tensor of shape \(2,\)"),
        ({"lr": torch.ones((), device="meta")}, "lr is on meta, parameter 0 on cpu"),
        ({"decay_rate": -0.1}, "decay_rate = -0.1: give a number from 0 to 1"),
        ({"decay_rate": 1.1}, "decay_rate = 1.1"),
        ({"decay_rate": NAN}, "decay_rate = nan"),
        ({"step_offset": -1}, "step_offset = -1"),
        ({"step_offset": 0.5}, "step_offset = 0.5"),
        ({"eps": 0.0}, "eps = 0.0"),
        ({"eps": NAN}, "eps = nan"),
        ({"min_dim_size_to_factor": 0}, "min_dim_size_to_factor = 0"),
        ({"clipping_threshold": 0.0}, "clipping_threshold = 0.0: .* None for no clipping"),
        ({"clipping_threshold": NAN}, "clipping_threshold = nan"),
        ({"momentum": 1.0}, "momentum = 1.0"),
        ({"momentum": NAN}, "momentum = nan"),
        (
            {"parameter_scaling": True},
            r"parameter_scaling = True: give ParameterScaling\(floor=1e-3\) or None",
        ),
        ({"parameter_scaling": 0.0}, "parameter scaling floor = 0.0"),
        ({"weight_decay": "0.1"}, "weight_decay = '0.1': give WeightDecay"),
        ({"weight_decay": -0.1}, "weight decay per_rate = -0.1"),
        ({"rounding": None}, "rounding = None"),
    ],
)
def test_a_bad_hyperparameter_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Adafactor([GOOD], **arguments)
    optimizer = Adafactor([torch.zeros(1)])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": [GOOD], **arguments})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("floor", [0.0, -1.0, NAN, INF])
def test_a_bad_floor_is_named(floor: float) -> None:
    with pytest.raises(ValueError, match="parameter scaling floor = "):
        ParameterScaling(floor=floor)


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
        Adafactor(parameters)


def test_a_sparse_gradient_is_refused() -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    weight.grad = torch.tensor([0.0, 1.0, 0.0]).to_sparse()
    with pytest.raises(ValueError, match=r"layout torch\.sparse_coo: Adafactor needs a dense one"):
        Adafactor([weight]).step()


def test_fused_needs_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ValueError, match="fused=True with parameters on cpu"):
        trained([GOOD], [[GOOD]], lr=0.1, fused=True)
