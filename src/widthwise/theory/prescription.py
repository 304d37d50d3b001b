"""Prescriptions: which exponents a user gives to the layers' learning rates.

`global` gives every layer the same rate; `full`, `mid` and `none` give each layer the largest stable exponent under
that alignment assumption. The base rate is what remains to be tuned; if the prescription's exponents match what
training needs, its optimum does not move with the width.
"""

from dataclasses import dataclass
from fractions import Fraction

from widthwise.theory.alignment import FULL, MID, NONE, AnyAlignment
from widthwise.theory.exponents import largest_stable_rate
from widthwise.theory.optimizer_rule import OptimizerRule
from widthwise.theory.parameterization import ZERO, Parameterization
from widthwise.theory.role import MATRIX_ROLES, Role


@dataclass(frozen=True)
class Prescription:
    """Per-layer rates that assume an alignment, or one rate for all layers (`alignment=None`).

    An alignment with exponents of its own for every layer names the layers by their roles, `hidden` and `readout`.
    """

    name: str
    alignment: AnyAlignment | None


GLOBAL_RATE = Prescription("global", None)
FULL_RATES = Prescription("full", FULL)
MID_RATES = Prescription("mid", MID)
NONE_RATES = Prescription("none", NONE)

PRESCRIPTIONS = {p.name: p for p in (GLOBAL_RATE, FULL_RATES, MID_RATES, NONE_RATES)}
"""The named prescriptions, by the names that specs use."""


def prescribed_exponent(
    parameterization: Parameterization, optimizer: OptimizerRule, prescription: Prescription, role: Role
) -> Fraction:
    """The exponent c that a prescription gives to a role's rate, in the parameterization's own gauge."""
    if prescription.alignment is None:
        return ZERO
    return largest_stable_rate(parameterization, optimizer, prescription.alignment, role)


def predicted_drift(
    parameterization: Parameterization,
    optimizer: OptimizerRule,
    prescription: Prescription,
    alignment: AnyAlignment,
) -> Fraction:
    """How the best base rate moves with the width, eta* ~ n^(-drift), if `alignment` is the true one.

        drift = max over roles of (largest stable c under `alignment` - prescribed c)

    0 says that the base rate transfers.

    Example:
        >>> from widthwise.theory import ADAM, FULL, STANDARD
        >>> predicted_drift(STANDARD, ADAM, GLOBAL_RATE, FULL)
        Fraction(1, 1)

    Source: Everett et al. 2024: a global rate must fall as the largest per-layer exponent says.
    """
    return max(
        largest_stable_rate(parameterization, optimizer, alignment, role)
        - prescribed_exponent(parameterization, optimizer, prescription, role)
        for role in MATRIX_ROLES
    )
