"""Adafactor over members: each as it would be alone; and what the update may not depend on."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adafactor_cases import draw
from widthwise.optim import AdafactorConstants, AdafactorUpdate, MemberUpdate, State, WeightDecay
from widthwise.optim.adafactor_single import adafactor_step, initial_state

CONSTANTS = AdafactorConstants(min_dim_size_to_factor=4)
UPDATES = {
    "usual": AdafactorUpdate(CONSTANTS),
    "momentum": AdafactorUpdate(
        AdafactorConstants(min_dim_size_to_factor=4, momentum=0.5), WeightDecay(0.1, 1e-3)
    ),
    "bare": AdafactorUpdate(
        AdafactorConstants(factored=False, clipping_threshold=None, parameter_scaling=None)
    ),
}
RATES = torch.tensor([1e-3, 0.05, 0.3], dtype=torch.float64)
SHAPES: list[tuple[int, ...]] = [(6, 9), (7,), (2, 5, 4), ()]


def run(update: MemberUpdate, start: Tensor, gradients: list[Tensor], rates: Tensor) -> tuple[Tensor, State]:
    parameter, state = start, update.initial_state(start)
    for t, gradient in enumerate(gradients, start=1):
        parameter, state = update.step(parameter, gradient, state, step=t, rate=rates, epsilon=rates)
    return parameter, state


@pytest.mark.parametrize("name", UPDATES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_member_moves_as_it_would_alone(name: str, shape: tuple[int, ...]) -> None:
    """Three members in float64, and each without a member axis: sums in another order, to 1e-13."""
    update = UPDATES[name]
    start = draw(3, *shape, seed=1, dtype=torch.float64)
    gradients = [draw(3, *shape, seed=t, dtype=torch.float64) for t in (2, 3, 4)]
    together, state = run(update, start, gradients, RATES)
    for p in range(3):
        theta, own = start[p], initial_state(start[p], constants=update.constants)
        for t, gradient in enumerate(gradients, start=1):
            theta, own = adafactor_step(
                theta, gradient[p], own, constants=update.constants, rate=RATES[p].item(), step=t,
                decay=update.weight_decay.fraction(RATES[p].item()),
            )  # fmt: skip
        torch.testing.assert_close(together[p], theta, rtol=1e-13, atol=1e-13)
        assert set(state) == set(own)
        for key, value in own.items():
            torch.testing.assert_close(state[key][p], value, rtol=1e-12, atol=1e-14)
        (one,), _ = run(update, start[p : p + 1], [g[p : p + 1] for g in gradients], RATES[p : p + 1])
        torch.testing.assert_close(one, theta, rtol=1e-13, atol=1e-13)


def test_a_member_of_nan_touches_no_other() -> None:
    start, gradient = draw(3, 6, 9, seed=1), draw(3, 6, 9, seed=2)
    clean, _ = run(UPDATES["usual"], start, [gradient], RATES.float())
    gradient[1, 2, 3] = float("nan")
    found, _ = run(UPDATES["usual"], start, [gradient], RATES.float())
    assert found[1].isnan().all()
    assert torch.equal(found[[0, 2]], clean[[0, 2]])


def test_steps_may_differ_between_members() -> None:
    """A tensor of counts is each member's own: beta2 of step 1 and of step 100."""
    start, gradient = draw(2, 6, 9, seed=1), draw(2, 6, 9, seed=2)
    update, rate = UPDATES["usual"], torch.tensor([0.1, 0.1])
    state = {name: torch.ones_like(x) for name, x in update.initial_state(start).items()}
    both, _ = update.step(start, gradient, state, step=torch.tensor([1.0, 100.0]), rate=rate, epsilon=rate)
    for p, step in enumerate((1, 100)):
        alone, _ = update.step(start, gradient, state, step=step, rate=rate, epsilon=rate)
        torch.testing.assert_close(both[p], alone[p], rtol=2**-21, atol=0)
    assert not torch.equal(
        both[1], update.step(start, gradient, state, step=1, rate=rate, epsilon=rate)[0][1]
    )


@given(
    rows=st.integers(4, 9),
    columns=st.integers(4, 9),
    power=st.integers(-20, 20),
    seed=st.integers(0, 1000),
)
def test_transposed_and_rescaled_gradients_mean_the_same(
    rows: int, columns: int, power: int, seed: int
) -> None:
    """Rows and columns are treated alike; a factor on all gradients cancels (while eps is far below their squares)."""
    start = draw(rows, columns, seed=seed, dtype=torch.float64)
    gradients = [draw(rows, columns, seed=seed + t, dtype=torch.float64) for t in (1, 2, 3)]

    def moved(start: Tensor, gradients: list[Tensor]) -> Tensor:
        theta, state = start, initial_state(start, constants=CONSTANTS)
        for t, gradient in enumerate(gradients, start=1):
            theta, state = adafactor_step(theta, gradient, state, constants=CONSTANTS, rate=0.1, step=t)
        return theta

    plain = moved(start, gradients)
    turned = moved(start.t(), [g.t() for g in gradients]).t()
    torch.testing.assert_close(turned, plain, rtol=0, atol=1e-12)
    scaled = moved(start, [g * 2.0**power for g in gradients])
    torch.testing.assert_close(scaled, plain, rtol=0, atol=1e-11)
    # With parameter scaling, weights and steps grow together while no floor is met.
    torch.testing.assert_close(moved(start * 64, gradients), plain * 64, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(0,), (0, 4, 5), (4, 0)], ids=str)
def test_nothing_is_updated_to_nothing(shape: tuple[int, ...]) -> None:
    start = torch.zeros(2, *shape)
    found, state = run(UPDATES["usual"], start, [start], torch.ones(2))
    assert found.shape == start.shape
    assert all(x.isfinite().all() for x in state.values())


def test_small_gradients_meet_eps() -> None:
    """Its root, 1e-15, is the gradient below which steps shrink: by 1 / sqrt(2) at that size."""
    constants = AdafactorConstants(parameter_scaling=None)
    for g, expected in ((1e-12, 1.0), (1e-15, 0.5**0.5), (1e-18, 1e-3), (0.0, 0.0)):
        theta = torch.zeros(1, dtype=torch.float64)
        state = initial_state(theta, constants=constants)
        moved, _ = adafactor_step(theta, theta + g, state, constants=constants, rate=1.0, step=1)
        assert -moved.item() == pytest.approx(expected, rel=1e-6)
