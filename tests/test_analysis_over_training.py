"""The mean over training of a log gain, and the measured alignment that follows from it."""

import math
from dataclasses import replace

import pytest

from widthwise.analysis import (
    AlignmentRow,
    Pool,
    Weighting,
    measured_layers,
    measured_over_training,
    over_training,
)
from widthwise.theory import (
    ADAM,
    SOLVER_QUANTITIES,
    STANDARD,
    AlignmentQuantity,
    MeasuredExponent,
    Role,
    solve_measured,
)

NAN = float("nan")
WIDTHS = (64, 128, 256, 512)
HALF = 0.5
TRUTH = {
    Role.HIDDEN: {"alpha": 0.8, "omega": HALF, "u": 0.6},
    Role.READOUT: {"alpha": 0.6, "omega": HALF, "u": 0.75},
}


def row(time: float, gain: float, *, width: int = 64, seed: int = 0) -> AlignmentRow:
    return AlignmentRow(width, seed, "up", Role.HIDDEN, AlignmentQuantity.ALPHA, time, gain, width)


# One run's mean


POINTS = (row(10, 1.0), row(20, 2.0), row(50, 4.0))
CURVE = ((0, 4.0), (10, 3.0), (20, 3.5), (30, 3.25), (50, 2.0))


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [
        # Falls: 4 - 3 = 1 before step 10, a rise of 1/2 to step 20 that counts 0, and 3/2 after it.
        (Weighting.LOSS_DECREASE, (1 * 1.0 + 0 * 2.0 + 1.5 * 4.0) / 2.5),
        (Weighting.PROGRESS, (10 * 1.0 + 10 * 2.0 + 30 * 4.0) / 50),
        (Weighting.EQUAL, (1.0 + 2.0 + 4.0) / 3),
    ],
)
def test_weights_by_hand(weighting: Weighting, expected: float) -> None:
    (mean,) = over_training(reversed(POINTS), {(64, 0): CURVE}, weighting=weighting)
    assert mean == replace(POINTS[0], progress=1.0, log_gain=pytest.approx(expected, rel=1e-15))


def test_a_curve_is_read_between_its_points_and_flat_before_them() -> None:
    """At 20 the loss is half way from 3 to 2; before 10 it is 3, so that nothing has fallen by 10."""
    (mean,) = over_training([row(10, 5.0), row(20, 1.0), row(30, 2.0)], {(64, 0): [(10, 3.0), (30, 2.0)]})
    assert mean.log_gain == pytest.approx((0.5 * 1 + 0.5 * 2) / 1, rel=1e-15)


def test_undefined_stays_undefined_where_it_counts() -> None:
    (mean,) = over_training([row(10, NAN), *POINTS[1:]], {(64, 0): CURVE})
    assert math.isnan(mean.log_gain)
    (mean,) = over_training([POINTS[0], row(20, NAN), POINTS[2]], {(64, 0): CURVE})
    assert mean.log_gain == pytest.approx((1.0 + 6.0) / 2.5, rel=1e-15)  # the loss rose before it


def test_every_run_is_weighed_by_its_own_curve() -> None:
    rows = [row(t, g, seed=seed) for seed in (0, 1) for t, g in ((1, 1.0), (2, 3.0))]
    means = over_training(rows, {(64, 0): [(0, 3), (1, 2), (2, 2)], (64, 1): [(0, 3), (1, 3), (2, 2)]})
    assert [(mean.seed, mean.log_gain) for mean in means] == [(0, 1.0), (1, 3.0)]


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "width 64, seed 0 has no training curve to weigh its measurements by"),
        ({(64, 0): [(0, 2.0), (50, 3.0)]}, r"never falls between its measurements \(from 2 to 3\)"),
    ],
)
def test_a_run_that_cannot_be_weighed_is_refused(curves: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        over_training(POINTS, curves)


# Roles and layers


def rows_of(
    truth: dict[Role, dict[str, float]] = TRUTH, *, widths: tuple[int, ...] = WIDTHS, noise: float = 0.01
) -> list[AlignmentRow]:
    """Two layers a role, two seeds a width; a constant of each layer's own, and noise that sums to zero over seeds."""
    return [
        AlignmentRow(
            width=n,
            seed=seed,
            layer=f"{role.value}.{layer}",
            role=role,
            quantity=AlignmentQuantity(quantity),
            progress=1.0,
            log_gain=exponent * math.log(n) - 0.3 - layer + noise * (1, -1)[seed],
            fan_in=4 * n,
        )
        for role, exponents in truth.items()
        for layer in (0, 1)
        for quantity, exponent in exponents.items()
        for n in widths
        for seed in (0, 1)
    ]


def test_the_exponents_of_every_role_come_back() -> None:
    found = measured_layers(rows_of())
    for role, exponents in TRUTH.items():
        for quantity, exponent in exponents.items():
            measured = getattr(found[role.value], quantity)
            assert measured.value == pytest.approx(exponent, abs=1e-12)  # rounding of a few sums
            assert measured.widths == WIDTHS
    assert found["hidden"].alpha.low < 0.8 < found["hidden"].alpha.high
    assert list(measured_layers(rows_of(), pool=Pool.LAYER)) == [
        "hidden.0",
        "hidden.1",
        "readout.0",
        "readout.1",
    ]


def test_the_interval_reaches_the_rates() -> None:
    """Standard, Adam: c = max(alpha, u), so its interval is that of the larger of the two."""
    found = measured_layers(rows_of(noise=0.05))
    rates = solve_measured(STANDARD, ADAM, found)
    for role, larger in (("hidden", found["hidden"].alpha), ("readout", found["readout"].u)):
        interval = rates.interval(role)
        got = [float(c) for c in (interval.low, interval.value, interval.high)]
        assert got == pytest.approx([larger.low, larger.value, larger.high], abs=5e-4)  # multiples of 1/1000
        assert larger.high - larger.low > 0.01


def test_an_omega_that_noise_lifted_is_one_half() -> None:
    truth = {role: {**exponents, "omega": 0.503} for role, exponents in TRUTH.items()}
    found = measured_layers(rows_of(truth, noise=0.05))
    assert found["hidden"].omega == MeasuredExponent(0.5, 0.5, 0.5, WIDTHS)
    assert found["hidden"].alpha.value == pytest.approx(0.8, abs=1e-12)
    lifted = {role: {**exponents, "omega": 0.6} for role, exponents in TRUTH.items()}
    assert measured_layers(rows_of(lifted, noise=0.001))["hidden"].omega.value == pytest.approx(
        0.6, abs=1e-12
    )


def test_the_whole_product_is_left_out() -> None:
    extra = [replace(one, quantity=AlignmentQuantity.PRODUCT, log_gain=NAN) for one in rows_of()[:8]]
    assert measured_layers([*rows_of(), *extra]) == measured_layers(rows_of())


def test_what_cannot_be_measured_is_refused() -> None:
    rows = rows_of()
    without_u = [one for one in rows if one.quantity != "u"]
    nothing = [replace(one, log_gain=NAN) if one.width == 64 else one for one in rows]
    later = [replace(one, progress=2.0) for one in rows]
    refused = {
        "nothing was measured": [],
        "'hidden': u was not measured": without_u,
        "'hidden': alpha is undefined: .* is undefined at width 64": nothing,
        "'hidden' was measured at several times": [*rows, *later],
        r"2 width\(s\) \[64, 128\]": rows_of(widths=(64, 128)),
        "has no role to be pooled by": [replace(one, role=None) for one in rows],
    }
    for message, wrong in refused.items():
        with pytest.raises(ValueError, match=message):
            measured_layers(wrong)
    assert len(SOLVER_QUANTITIES) == 3


# Over training


def test_exponents_at_every_time() -> None:
    early = [replace(one, progress=0.25, log_gain=0.9 * math.log(one.width)) for one in rows_of()]
    found = measured_over_training([*rows_of(), *early])
    assert list(found) == [0.25, 1.0]
    assert found[0.25]["hidden"].alpha.value == pytest.approx(0.9, abs=1e-12)
    assert found[1.0] == measured_layers(rows_of())


def test_times_at_which_something_is_undefined_are_left_out() -> None:
    early = [
        replace(one, progress=0.25, log_gain=NAN if one.layer == "readout.1" else 0.0) for one in rows_of()
    ]
    assert list(measured_over_training([*rows_of(), *early])) == [1.0]
    with pytest.raises(ValueError, match="no time of training at which"):
        measured_over_training(early)
