"""Exponents over training: bounds, smoothing, factors, and groups of one role each."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plan_training import mlp, plan_of
from widthwise.scaling import RatePath, groups_by_role, make_rate_path
from widthwise.scaling.rate_path import smoothed
from widthwise.theory import ADAM, MUP, SGD, STANDARD, MeasuredAlignment, MeasuredExponent

WIDTHS = (32, 64, 128)


def roles(hidden: float, readout: float | None = None) -> dict[str, MeasuredAlignment]:
    half = MeasuredExponent(0.5, 0.5, 0.5, WIDTHS)
    found = {"hidden": hidden, "readout": hidden if readout is None else readout}
    slopes = {role: MeasuredExponent(value, value, value, WIDTHS) for role, value in found.items()}
    return {role: MeasuredAlignment(alpha=slope, omega=half, u=slope) for role, slope in slopes.items()}


def path(measured: dict[float, float], *, smoothing: float = 0.0, width: int = 512) -> RatePath:
    given = {time: roles(value) for time, value in measured.items()}
    return make_rate_path(
        given, width=width, base_width=128, parameterization=STANDARD, optimizer=ADAM, smoothing=smoothing
    )


def test_factors_by_hand() -> None:
    """Standard, Adam: c_full = 1, width 512 is four times 128; c = 3/4 from half of training on."""
    found = path({0.5: 0.75})
    assert found.factor("hidden", 0.0) == 1.0
    assert found.factor("hidden", 0.25) == pytest.approx(4**0.125, rel=1e-15)  # half way between 1 and 3/4
    assert found.factor("hidden", 0.5) == found.factor("readout", 1.0) == 4**0.25
    assert found.factor("embedding", 1.0) == found.factor("vector", 1.0) == 1.0


def test_every_role_has_its_own_path() -> None:
    """muP, SGD: c_full = 0 for both roles; c = max(alpha, u) - a - g = alpha - 1 for hidden, alpha - 1 for readout."""
    found = make_rate_path(
        {1.0: roles(0.75, 0.9)}, width=256, base_width=128, parameterization=MUP, optimizer=SGD, smoothing=0.0
    )
    assert found.full == {"hidden": 0.0, "readout": 0.0}
    assert found.exponents["hidden"][-1] == pytest.approx(-0.25, abs=1e-12)


def test_measured_alignment_beyond_the_presets_is_bounded() -> None:
    found = path({0.5: 1.3, 1.0: 0.2})
    assert found.exponents["hidden"] == (1.0, 1.0, 0.5)


@given(
    values=st.lists(st.floats(0.0, 1.5), min_size=1, max_size=8),
    smoothing=st.floats(0.0, 0.5),
    width=st.sampled_from([128, 300, 4096]),
    progress=st.floats(0.0, 1.0),
)
def test_a_path_improves_on_full_alignment_and_stays_stable(
    values: list[float], smoothing: float, width: int, progress: float
) -> None:
    measured = {(i + 1) / len(values): value for i, value in enumerate(values)}
    found = path(measured, smoothing=smoothing, width=width)
    ratio = width / 128
    for role in ("hidden", "readout"):
        assert (
            1.0 <= found.factor(role, progress) <= ratio**0.5 * (1 + 1e-12)
        )  # c from 1/2 to 1, one rounding
        for time, value in measured.items():
            stable = round(min(max(value, 0.5), 1.0), 3)  # exponents enter the theory as multiples of 1/1000
            assert found.exponent(role, time) >= stable - 1e-12


def test_smoothing_is_a_triangular_average() -> None:
    """At 0.25 the neighbours weigh 1/2 each and itself 1; at the ends one of them is missing."""
    assert smoothed((0.0, 0.25, 0.5), [1.0, 0.0, 0.5], 0.5) == pytest.approx((2 / 3, 0.375, 1 / 3), rel=1e-15)
    assert smoothed((0.0, 0.25), [1.0, 0.0], 0.1) == (1.0, 0.0)
    assert smoothed((0.0, 0.25), [1.0, 0.0], 0.0) == (1.0, 0.0)


def test_smoothing_never_lowers_c_below_what_was_measured() -> None:
    rough = {0.2: 0.6, 0.4: 1.0, 0.6: 0.6}
    plain, even = path(rough), path(rough, smoothing=0.3)
    assert all(a >= b for a, b in zip(even.exponents["hidden"], plain.exponents["hidden"], strict=True))
    assert even.exponent("hidden", 0.6) > 0.6
    assert even.exponent("hidden", 0.4) == 1.0


@pytest.mark.parametrize(
    ("measured", "changes", "message"),
    [
        ({}, {}, "no exponents were measured"),
        ({0.0: 0.7}, {}, "must lie above 0 and up to 1"),
        ({1.5: 0.7}, {}, "must lie above 0 and up to 1"),
        ({0.5: 0.7}, {"width": 64}, "width 64 lies below the base width 128"),
        ({0.5: 0.7}, {"smoothing": -0.1}, "must not be negative"),
        ({0.5: 0.7}, {"smoothing": math.nan}, "must not be negative"),
        ({0.5: math.nan}, {}, "is undefined"),
    ],
)
def test_bad_paths(measured: dict[float, float], changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        path(measured, **changes)  # pyright: ignore[reportArgumentType]


def test_groups_are_split_by_role_and_lose_nothing() -> None:
    plan = plan_of(mlp)
    model = mlp(plan.width)
    groups = plan.param_groups(model, learning_rate=1e-2, weight_decay=0.1)
    split = groups_by_role(plan, groups)
    assert sorted(name for group in split for name in group["param_names"]) == sorted(plan.rows)
    assert sum(len(group["params"]) for group in split) == len(list(model.parameters()))
    for group in split:
        assert {plan.rows[name].role.value for name in group["param_names"]} == {group["role"]}
        assert all(group["lr"] == 1e-2 * plan.rows[name].rate for name in group["param_names"])
    assert len(split) > len(groups)


def test_groups_of_another_model_are_refused() -> None:
    plan = plan_of(mlp)
    with pytest.raises(ValueError, match="group 0 has no param_names"):
        groups_by_role(plan, [{"params": []}])
    with pytest.raises(ValueError, match="the plan does not know head"):
        groups_by_role(plan, [{"params": [None], "param_names": ["head"]}])
