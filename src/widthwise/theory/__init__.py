"""The theory of width scaling: roles, parameterizations, optimizers, alignment, and the exponents they imply.

Standard library alone. `exponent_table` is the paper's table; `role_exponents` one cell of it; `shift_gauge` rewrites a
cell with another multiplier; `predicted_drift` says how the best learning rate moves under a prescription.
"""

from widthwise.theory.alignment import ALIGNMENTS, FULL, NONE, Alignment
from widthwise.theory.exponents import (
    ExponentRow,
    RoleExponents,
    exponent_table,
    gradient_exponent,
    largest_stable_rate,
    role_exponents,
)
from widthwise.theory.gauge import rate_power, shift_gauge
from widthwise.theory.optimizer_rule import ADAFACTOR, ADAM, OPTIMIZER_RULES, SGD, OptimizerRule
from widthwise.theory.parameterization import (
    MEAN_FIELD,
    MUP,
    NTK,
    PARAMETERIZATIONS,
    STANDARD,
    InitExponents,
    Parameterization,
)
from widthwise.theory.prescription import (
    FULL_RATES,
    GLOBAL_RATE,
    NONE_RATES,
    PRESCRIPTIONS,
    Prescription,
    predicted_drift,
    prescribed_exponent,
)
from widthwise.theory.role import MATRIX_ROLES, Role

__all__ = [
    "ADAFACTOR",
    "ADAM",
    "ALIGNMENTS",
    "FULL",
    "FULL_RATES",
    "GLOBAL_RATE",
    "MATRIX_ROLES",
    "MEAN_FIELD",
    "MUP",
    "NONE",
    "NONE_RATES",
    "NTK",
    "OPTIMIZER_RULES",
    "PARAMETERIZATIONS",
    "PRESCRIPTIONS",
    "SGD",
    "STANDARD",
    "Alignment",
    "ExponentRow",
    "InitExponents",
    "OptimizerRule",
    "Parameterization",
    "Prescription",
    "Role",
    "RoleExponents",
    "exponent_table",
    "gradient_exponent",
    "largest_stable_rate",
    "predicted_drift",
    "prescribed_exponent",
    "rate_power",
    "role_exponents",
    "shift_gauge",
]
