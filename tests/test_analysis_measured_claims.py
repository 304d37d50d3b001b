"""Claims 11, 14 and 15: power laws that are put in, gauges that hold and break, alignment that moves and stays."""

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from scipy import stats

from widthwise.analysis import (
    AlignmentRow,
    ArmLabel,
    ClaimVerdict,
    Evidence,
    GaugePair,
    GradientSize,
    Measurements,
    Observation,
    Standing,
    alignment_exponents,
    fit_table,
    judge_claims,
)
from widthwise.analysis.evidence import PARAMETERIZATIONS
from widthwise.theory import AlignmentQuantity, Role

HOLDS, DOES_NOT, OPEN, NOT_RUN = Standing.HOLDS, Standing.DOES_NOT, Standing.OPEN, Standing.NOT_RUN
WIDTHS = (128, 256, 512, 1024)
G = {
    "standard": {"embedding": 0.5, "hidden": 0.5, "readout": 0.0},
    "ntk": {"embedding": 0.5, "hidden": 1.0, "readout": 0.5},
    "mup": {"embedding": 0.5, "hidden": 1.0, "readout": 0.5},
    "mean-field": {"embedding": 1.0, "hidden": 1.5, "readout": 1.0},
}
"""As the list of claims has them."""


def judged(number: int, study: Evidence) -> ClaimVerdict:
    (verdict,) = [v for v in judge_claims(study) if v.number == number]
    return verdict


def standings(verdict: ClaimVerdict) -> list[Standing]:
    return [condition.standing for condition in verdict.conditions]


def evidence(**measurements: object) -> Evidence:
    """Four prescriptions of which nothing is asked but that they are there."""
    runs = [
        Observation(name, width, 2.0**x, seed, 2 + 0.02 * (x + 6) ** 2 + 1e-4 * seed * x)
        for name in PARAMETERIZATIONS
        for width in WIDTHS
        for x in range(-9, -3)
        for seed in (0, 1)
    ]
    labels = {name: ArmLabel(name, "adam", "global") for name in PARAMETERIZATIONS}
    return Evidence(fit_table(runs), labels, measurements=Measurements(**measurements))  # pyright: ignore


def gradients(shift: float = 0.0, *, noise: float = 0.01) -> tuple[GradientSize, ...]:
    """Hidden gradients of muP fall by `shift` too much."""
    rng = random.Random(0)
    return tuple(
        GradientSize(
            width, seed, name, role,
            0.3 * width ** -(g + shift * ((name, role) == ("mup", "hidden"))) * math.exp(rng.gauss(0, noise)),
        )
        for name, roles in G.items()
        for role, g in roles.items()
        for width in WIDTHS
        for seed in (0, 1)
    )  # fmt: skip


def test_claim_11_by_power_laws_that_are_put_in() -> None:
    verdict = judged(11, evidence(gradients=gradients(noise=0.0)))
    assert verdict.standing is HOLDS
    assert verdict.trials == 4 * 4 * 2
    found = [c.measured.estimate for c in verdict.conditions if c.measured]
    assert found == pytest.approx([g for roles in G.values() for g in roles.values()], abs=1e-12)
    assert verdict.conditions[0].what == "g, standard, embedding, widths 128 to 1024"
    assert judged(11, evidence(gradients=gradients())).standing is HOLDS


@pytest.mark.parametrize(("shift", "standing"), [(0.08, HOLDS), (0.12, DOES_NOT), (-0.12, DOES_NOT)])
def test_the_slack_of_a_gradients_power(shift: float, standing: Standing) -> None:
    verdict = judged(11, evidence(gradients=gradients(shift, noise=1e-4)))
    assert standings(verdict)[7] is standing
    assert verdict.standing is standing


def test_gradients_that_scatter_leave_claim_11_open() -> None:
    assert judged(11, evidence(gradients=gradients(noise=0.5))).standing is OPEN


def test_two_widths_or_a_gradient_of_zero_are_no_power() -> None:
    two = tuple(one for one in gradients() if one.width <= 256)
    assert judged(11, evidence(gradients=two)).standing is NOT_RUN
    zero = (replace(gradients()[0], rms=0.0), *gradients()[1:])
    verdict = judged(11, evidence(gradients=zero))
    assert verdict.conditions[0].reason == "a gradient is zero or not finite"
    assert verdict.standing is OPEN


def gauge(atan2: float, adam: float, *, epsilon: float = 1e-9) -> tuple[GaugePair, ...]:
    """The second seed differs by a third more."""
    return tuple(
        GaugePair(pair, optimizer, own, seed, 100, difference * (1 + seed / 3))
        for pair in (("standard", "ntk"), ("mup", "mean-field"))
        for optimizer, own, difference in (("adam-atan2", 0.0, atan2), ("adam", epsilon, adam))
        for seed in (0, 1)
    )


@pytest.mark.parametrize(
    ("atan2", "adam", "expected"),
    [
        (4e-16, 2e-7, [HOLDS] * 4),
        (0.0, 2e-7, [HOLDS] * 4),
        (0.7e-10, 1.1e-8, [HOLDS] * 4),
        (1.1e-10, 1e-7, [DOES_NOT, DOES_NOT, HOLDS, HOLDS]),
        (0.9e-10, 1e-7, [OPEN, OPEN, HOLDS, HOLDS]),
        (1e-15, 0.7e-8, [HOLDS, HOLDS, DOES_NOT, DOES_NOT]),
        (1e-15, 0.9e-8, [HOLDS, HOLDS, OPEN, OPEN]),
    ],
)
def test_claim_14(atan2: float, adam: float, expected: list[Standing]) -> None:
    verdict = judged(14, evidence(gauge=gauge(atan2, adam)))
    assert standings(verdict) == expected
    assert verdict.trials == 16


def test_another_epsilon_is_another_experiment() -> None:
    verdict = judged(14, evidence(gauge=gauge(1e-15, 1e-7, epsilon=1e-4)))
    assert standings(verdict) == [HOLDS, HOLDS, NOT_RUN, NOT_RUN]
    assert verdict.standing is NOT_RUN


Law = Callable[[str, str, float], float]
"""(parameterization, role, fraction of training done) -> the exponent of alpha."""


def aligned(
    law: Law, *, noise: float = 0.003, steps: tuple[int, ...] = (500, 1000, 2000), start: float = 0.5
) -> Evidence:
    rng = random.Random(1)

    def row(
        role: Role, quantity: AlignmentQuantity, width: int, seed: int, step: int, slope: float
    ) -> AlignmentRow:
        gain = slope * math.log(width) - 0.4 + 0.05 * seed + rng.gauss(0, noise)
        return AlignmentRow(width, seed, f"the {role.value}", role, quantity, step, gain, width)

    roles = (Role.HIDDEN, Role.READOUT)
    alignment = {
        name: tuple(
            row(
                role,
                quantity,
                width,
                seed,
                step,
                law(name, role.value, step / 2000) if quantity == "alpha" else 0.0,
            )
            for role in roles
            for quantity in (AlignmentQuantity.ALPHA, AlignmentQuantity.U)
            for width in WIDTHS
            for seed in (0, 1, 2)
            for step in steps
        )
        for name in PARAMETERIZATIONS
    }
    initial = tuple(
        row(role, AlignmentQuantity.PRODUCT, width, seed, 0, start)
        for role in roles
        for width in WIDTHS
        for seed in (0, 1)
    )
    return replace(evidence(initial=initial), alignment=alignment)


def moving(name: str, role: str, done: float) -> float:
    """Falls by 0.15 from the first measurement to the last; the readout is 0.1 above the hidden layers."""
    return 0.75 - 0.2 * done + 0.1 * (role == "readout")


def test_claim_15_holds_where_alignment_moves() -> None:
    verdict = judged(15, aligned(moving))
    assert verdict.standing is HOLDS, verdict
    assert len(verdict.conditions) == 12
    training, layers = (c.measured for c in verdict.conditions[-2:])
    assert training is not None
    assert layers is not None
    assert training.estimate == pytest.approx(-0.15, abs=0.02)
    assert layers.estimate == pytest.approx(0.1, abs=0.02)
    hidden = verdict.conditions[2]
    assert hidden.what == "exponent of alpha, hidden, mean over training, standard"
    assert hidden.measured is not None
    assert hidden.measured.estimate == pytest.approx(0.75 - 0.2 * (0.25 + 0.5 + 1) / 3, abs=0.01)


def full_in_mup(name: str, role: str, done: float) -> float:
    return 1.1 if (name, role) == ("mup", "hidden") else moving(name, role, done)


def none_in_ntk(name: str, role: str, done: float) -> float:
    return 0.4 if (name, role) == ("ntk", "readout") else moving(name, role, done)


WRONG: dict[str, tuple[Law, dict[str, float], list[int]]] = {
    "starts at 0.65": (moving, {"start": 0.65}, [0, 1]),
    "full in muP's hidden layers": (full_in_mup, {}, [6]),
    "none in NTK's readout": (none_in_ntk, {}, [5]),
    "no change over training": (lambda name, role, done: 0.6 + 0.1 * (role == "readout"), {}, [10]),
    "no change over layers": (lambda name, role, done: 0.8 - 0.2 * done, {}, [11]),
    "0.04 is none": (lambda name, role, done: 0.6 + 0.04 * (role == "readout"), {"noise": 2e-4}, [10, 11]),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_claim_15_does_not_hold_where_it_is_false(name: str) -> None:
    law, others, wrong = WRONG[name]
    verdict = judged(15, aligned(law, **others))  # pyright: ignore[reportArgumentType]
    assert [k for k, standing in enumerate(standings(verdict)) if standing is DOES_NOT] == wrong
    assert verdict.standing is DOES_NOT


def test_one_parameterization_that_moves_is_enough_for_change() -> None:
    study = aligned(
        lambda name, role, done: 0.7 + (0.1 * done if (name, role) == ("ntk", "readout") else 0.0), noise=2e-4
    )
    training, layers = judged(15, study).conditions[-2:]
    assert training.standing is HOLDS  # 0.075, of NTK's readout
    assert training.what == "exponent of alpha, readout, last measured step less first, ntk"
    assert layers.standing is HOLDS
    assert layers.what.endswith("ntk")


def test_rows_may_stand_in_any_order() -> None:
    study = aligned(moving)
    backwards = {name: rows[::-1] for name, rows in study.alignment.items()}
    standing = [c.measured and c.measured.estimate for c in judged(15, study).conditions]
    turned = [
        c.measured and c.measured.estimate for c in judged(15, replace(study, alignment=backwards)).conditions
    ]
    assert turned == pytest.approx(standing, abs=1e-12)


def test_the_surest_of_eight_is_sure_for_all_eight() -> None:
    """Its half-width is to that of one alone as Student's quantiles of 8 degrees of freedom."""
    study = aligned(lambda name, role, done: 0.7 + 0.1 * done)
    shown = judged(15, study).conditions[-2]
    role, name = shown.what.split(", ")[1], shown.what.split(", ")[-1]
    rows = [
        row
        for row in study.alignment[name]
        if row.role == role and row.quantity == "alpha" and row.progress != 1000
    ]
    first, last = ([row for row in rows if row.progress == step] for step in (500, 2000))
    changes = [replace(b, log_gain=b.log_gain - a.log_gain) for a, b in zip(first, last, strict=True)]
    (alone,) = alignment_exponents(changes)
    assert shown.measured is not None
    assert alone.errors.widths == 0.0  # else the widths have a quantile of their own
    ratio = (shown.measured.high - shown.measured.estimate) / (alone.exponent.high - alone.exponent.value)
    assert ratio == pytest.approx(stats.t.ppf(1 - 0.05 / 16, 8) / stats.t.ppf(0.975, 8), rel=1e-9)


def test_noise_leaves_claim_15_open() -> None:
    assert judged(15, aligned(moving, noise=0.3)).standing is OPEN


def test_what_was_not_measured_is_not_run() -> None:
    study = aligned(moving)
    without = replace(study, alignment={k: v for k, v in study.alignment.items() if k != "ntk"})
    verdict = judged(15, without)
    assert verdict.standing is NOT_RUN
    assert verdict.conditions[4].reason == "the study has not measured alignment"
    unstarted = judged(15, replace(study, measurements=Measurements()))
    assert standings(unstarted)[:2] == [NOT_RUN, NOT_RUN]
    once = judged(15, aligned(moving, steps=(500,)))
    assert once.conditions[10].standing is OPEN
    assert "give a record with --evidence" in judged(14, evidence()).conditions[0].reason
