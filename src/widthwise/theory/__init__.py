"""The theory of width scaling: roles, parameterizations, optimizers, alignment, and the exponents they imply.

Standard library alone (scipy where the solver needs it). `solve` gives the largest stable learning-rate exponents of
any network with their proof; `exponent_table` is the paper's table; `role_exponents` one cell of it; `shift_gauge`
rewrites a cell with another multiplier; `predicted_drift` says how the best learning rate moves under a prescription.
"""

from widthwise.theory.alignment import (
    ALIGNMENTS,
    FULL,
    MID,
    NONE,
    Alignment,
    AnyAlignment,
    PerLayerAlignment,
    alignment_at,
    weakest_update,
)
from widthwise.theory.alignment_quantity import SOLVER_QUANTITIES, AlignmentQuantity
from widthwise.theory.comparison import Comparison, compare
from widthwise.theory.conditions import Kind, Logits
from widthwise.theory.corners import ParetoCorners, pareto_corners
from widthwise.theory.explain import Binding
from widthwise.theory.exponents import (
    ExponentRow,
    RoleExponents,
    exponent_table,
    largest_stable_rate,
    role_exponents,
)
from widthwise.theory.gauge import GaugeEffect, gauge_effect, rate_power, shift_gauge
from widthwise.theory.gradient import gradient_exponent
from widthwise.theory.linear_program import Certificate, InfeasibleError, UncertifiedError
from widthwise.theory.measured import MeasuredAlignment, MeasuredExponent, measured_alignment
from widthwise.theory.measured_gain import MeasuredGain
from widthwise.theory.measured_prescription import measured_drift, measured_prescription
from widthwise.theory.measured_rates import MeasuredRates, RateInterval, solve_measured
from widthwise.theory.nearest_preset import NearestPreset, PresetReading, nearest_preset
from widthwise.theory.network import ROLE_CHAIN, Join, Layer, Network, chain
from widthwise.theory.optimizer_rule import (
    ADAFACTOR,
    ADAM,
    ADAM_ATAN2,
    ADAM_PS,
    LION,
    MUON,
    OPTIMIZER_RULES,
    PAPER_OPTIMIZERS,
    RMSPROP,
    SGD,
    OptimizerRule,
)
from widthwise.theory.parameterization import (
    MEAN_FIELD,
    MUP,
    NTK,
    PARAMETERIZATIONS,
    STANDARD,
    InitExponents,
    Parameterization,
)
from widthwise.theory.preference import (
    PARETO_OVER_FULL,
    SMALLEST_TOTAL,
    Lexicographic,
    ParetoOverFull,
    Preference,
    SmallestTotal,
)
from widthwise.theory.prescription import (
    FULL_RATES,
    GLOBAL_RATE,
    MID_RATES,
    NONE_RATES,
    PRESCRIPTIONS,
    Prescription,
    predicted_drift,
    prescribed_exponent,
)
from widthwise.theory.role import MATRIX_ROLES, Role
from widthwise.theory.settled import OMEGA_TOLERANCE, at_most_full, settle, settle_omega
from widthwise.theory.solution import LayerSolution, Solution
from widthwise.theory.solver import solve

__all__ = [
    "ADAFACTOR",
    "ADAM",
    "ADAM_ATAN2",
    "ADAM_PS",
    "ALIGNMENTS",
    "FULL",
    "FULL_RATES",
    "GLOBAL_RATE",
    "LION",
    "MATRIX_ROLES",
    "MEAN_FIELD",
    "MID",
    "MID_RATES",
    "MUON",
    "MUP",
    "NONE",
    "NONE_RATES",
    "NTK",
    "OMEGA_TOLERANCE",
    "OPTIMIZER_RULES",
    "PAPER_OPTIMIZERS",
    "PARAMETERIZATIONS",
    "PARETO_OVER_FULL",
    "PRESCRIPTIONS",
    "RMSPROP",
    "ROLE_CHAIN",
    "SGD",
    "SMALLEST_TOTAL",
    "SOLVER_QUANTITIES",
    "STANDARD",
    "Alignment",
    "AlignmentQuantity",
    "AnyAlignment",
    "Binding",
    "Certificate",
    "Comparison",
    "ExponentRow",
    "GaugeEffect",
    "InfeasibleError",
    "InitExponents",
    "Join",
    "Kind",
    "Layer",
    "LayerSolution",
    "Lexicographic",
    "Logits",
    "MeasuredAlignment",
    "MeasuredExponent",
    "MeasuredGain",
    "MeasuredRates",
    "NearestPreset",
    "Network",
    "OptimizerRule",
    "Parameterization",
    "ParetoCorners",
    "ParetoOverFull",
    "PerLayerAlignment",
    "Preference",
    "Prescription",
    "PresetReading",
    "RateInterval",
    "Role",
    "RoleExponents",
    "SmallestTotal",
    "Solution",
    "UncertifiedError",
    "alignment_at",
    "at_most_full",
    "chain",
    "compare",
    "exponent_table",
    "gauge_effect",
    "gradient_exponent",
    "largest_stable_rate",
    "measured_alignment",
    "measured_drift",
    "measured_prescription",
    "nearest_preset",
    "pareto_corners",
    "predicted_drift",
    "prescribed_exponent",
    "rate_power",
    "role_exponents",
    "settle",
    "settle_omega",
    "shift_gauge",
    "solve",
    "solve_measured",
    "weakest_update",
]
