"""What a prescription gives, and how far the best base rate must then move with the width."""

from fractions import Fraction

import pytest

from widthwise.theory import (
    ADAFACTOR,
    ADAM,
    ALIGNMENTS,
    FULL,
    FULL_RATES,
    GLOBAL_RATE,
    MEAN_FIELD,
    MID,
    MID_RATES,
    MUP,
    NONE,
    NONE_RATES,
    NTK,
    OPTIMIZER_RULES,
    PAPER_OPTIMIZERS,
    PARAMETERIZATIONS,
    PRESCRIPTIONS,
    SGD,
    STANDARD,
    Alignment,
    OptimizerRule,
    Parameterization,
    Prescription,
    Role,
    largest_stable_rate,
    predicted_drift,
    prescribed_exponent,
)

HALF, ONE, ZERO = Fraction(1, 2), Fraction(1), Fraction(0)


@pytest.mark.parametrize(
    ("alignment", "drifts"),
    [(FULL, (ONE, HALF, ONE, HALF)), (NONE, (HALF, ZERO, HALF, ZERO))],
    ids=["full", "none"],
)
def test_global_adam_rate_falls_as_the_paper_says(alignment: Alignment, drifts: tuple[Fraction, ...]) -> None:
    """Everett et al. 2024: eta* ~ n^(-max c), for standard, NTK, muP and mean field."""
    found = tuple(predicted_drift(p, ADAM, GLOBAL_RATE, alignment) for p in (STANDARD, NTK, MUP, MEAN_FIELD))
    assert found == drifts


@pytest.mark.parametrize("optimizer", OPTIMIZER_RULES.values(), ids=lambda optimizer: optimizer.name)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS.values(), ids=lambda p: p.name)
def test_rates_that_assume_the_truth_transfer(
    parameterization: Parameterization, optimizer: OptimizerRule
) -> None:
    assert predicted_drift(parameterization, optimizer, FULL_RATES, FULL) == 0
    assert predicted_drift(parameterization, optimizer, MID_RATES, MID) == 0
    assert predicted_drift(parameterization, optimizer, NONE_RATES, NONE) == 0


@pytest.mark.parametrize(
    ("parameterization", "optimizer", "prescription", "alignment", "drift"),
    [
        # Worked by hand from the table, role by role: embedding, hidden, readout.
        (STANDARD, ADAM, NONE_RATES, FULL, HALF),  # 0-0, 1-1/2, 1-1/2
        (STANDARD, ADAM, FULL_RATES, NONE, ZERO),  # 0-0, 1/2-1, 1/2-1: the embedding binds
        (STANDARD, ADAM, MID_RATES, FULL, HALF / 2),  # 0-0, 1-3/4, 1-3/4
        (NTK, ADAFACTOR, GLOBAL_RATE, FULL, HALF),  # 0, 1/2, 1/2
        (MUP, SGD, GLOBAL_RATE, FULL, ZERO),  # 0, 0, 0
        (MUP, SGD, GLOBAL_RATE, NONE, ZERO),  # 0, -1/2, 0
        (MEAN_FIELD, SGD, GLOBAL_RATE, FULL, -ONE),  # -1, -1, -1: the best rate grows
        (STANDARD, SGD, GLOBAL_RATE, FULL, ONE),  # -1/2, 1/2, 1
    ],
)
def test_drifts_worked_by_hand(
    parameterization: Parameterization,
    optimizer: OptimizerRule,
    prescription: Prescription,
    alignment: Alignment,
    drift: Fraction,
) -> None:
    assert predicted_drift(parameterization, optimizer, prescription, alignment) == drift


@pytest.mark.parametrize("role", list(Role))
def test_prescribed_exponents(role: Role) -> None:
    assert prescribed_exponent(STANDARD, ADAM, GLOBAL_RATE, role) == 0
    for prescription, alignment in ((FULL_RATES, FULL), (MID_RATES, MID), (NONE_RATES, NONE)):
        expected = largest_stable_rate(STANDARD, ADAM, alignment, role)
        assert prescribed_exponent(STANDARD, ADAM, prescription, role) == expected


def test_names_are_the_ones_that_specs_use() -> None:
    assert list(PRESCRIPTIONS) == ["global", "full", "mid", "none"]
    assert list(PARAMETERIZATIONS) == ["standard", "ntk", "mup", "mean-field"]
    assert list(OPTIMIZER_RULES) == [
        *("sgd", "adam", "adafactor", "adam-atan2", "rmsprop", "lion", "adam-ps", "muon")
    ]
    assert [rule.name for rule in PAPER_OPTIMIZERS] == ["sgd", "adam", "adafactor"]
    assert list(ALIGNMENTS) == ["full", "mid", "none"]
    assert [str(role) for role in Role] == ["embedding", "hidden", "readout", "vector", "fixed"]
