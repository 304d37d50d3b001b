"""Warm-up and cosine by hand."""

from math import nan, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widthwise.train import WarmupCosine


@pytest.mark.parametrize(
    ("step", "factor"),
    # Warm-up to step 4, then a cosine over 12 steps: at a third of it cos(pi / 3) = 1/2, and so on.
    [
        (1, 0.25),
        (2, 0.5),
        (3, 0.75),
        (4, 1),
        (7, (1 + sqrt(0.5)) / 2),
        (8, 0.75),
        (10, 0.5),
        (12, 0.25),
        (16, 0),
    ],
)
def test_by_hand(step: int, factor: float) -> None:
    assert WarmupCosine(steps=16, warmup=4).factor(step) == pytest.approx(factor, rel=1e-14, abs=1e-16)


@pytest.mark.parametrize(("step", "factor"), [(2, 0.5), (4, 1), (8, 0.8), (10, 0.6), (12, 0.4), (16, 0.2)])
def test_floor_by_hand(step: int, factor: float) -> None:
    """A floor of 0.2 leaves the warm-up alone and shrinks the cosine to 0.2 ... 1."""
    assert WarmupCosine(steps=16, warmup=4, floor=0.2).factor(step) == pytest.approx(factor, rel=1e-14)


def test_without_warmup_the_cosine_begins_at_once() -> None:
    schedule = WarmupCosine(steps=4, warmup=0)
    expected = [(1 + sqrt(0.5)) / 2, 0.5, (1 - sqrt(0.5)) / 2, 0]
    assert [schedule.factor(step) for step in range(1, 5)] == pytest.approx(expected, rel=1e-14, abs=1e-16)


def test_a_floor_of_one_is_a_constant_rate() -> None:
    schedule = WarmupCosine(steps=5, warmup=0, floor=1.0)
    assert [schedule.factor(step) for step in range(1, 6)] == [1.0] * 5


@given(st.data(), st.integers(2, 200), st.floats(0, 1))
def test_rises_to_one_and_falls_to_the_floor(data: st.DataObject, steps: int, floor: float) -> None:
    warmup = data.draw(st.integers(1, steps - 1))
    schedule = WarmupCosine(steps=steps, warmup=warmup, floor=floor)
    factors = [schedule.factor(step) for step in range(1, steps + 1)]
    assert factors[:warmup] == sorted(factors[:warmup])
    assert factors[warmup - 1] == 1.0
    assert factors[warmup - 1 :] == sorted(factors[warmup - 1 :], reverse=True)
    assert factors[-1] == pytest.approx(floor, abs=1e-15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0, "warmup": 0}, "steps is 0; it must be at least 1"),
        ({"steps": 4, "warmup": 4}, "warmup is 4; it must be at least 0 and less than steps 4"),
        ({"steps": 4, "warmup": -1}, "warmup is -1; it must be at least 0 and less than steps 4"),
        ({"steps": 4, "warmup": 1, "floor": -0.1}, "floor is -0.1; it must lie between 0 and 1"),
        ({"steps": 4, "warmup": 1, "floor": 1.5}, "floor is 1.5; it must lie between 0 and 1"),
        ({"steps": 4, "warmup": 1, "floor": nan}, "floor is nan; it must lie between 0 and 1"),
    ],
)
def test_errors(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        WarmupCosine(**arguments)
