"""Analysis: from a table of (width, prescription, rate, seed, loss) to exponents and transfer verdicts.

`read_table` reads anybody's CSV into `Observation`s; `transfer` does the rest. Inside, the runs of one prescription and
width form a cell (`cell`), whose best rate is a local fit (`optimum`, `polynomial`); the noise of all cells is pooled
(`noise`) and gives the interval of the exponent (`exponent`) and of the loss given up at the largest width (`regret`,
`loss_curve`), which decides the verdict (`verdict`). Numpy and scipy alone; the results are plain values (`result`).

`fit_table` is the first half of that, on which the rest stands: `transfer_metrics` (fit error, robustness, asymptotic
gap; `loss_law`, `resample`), `sensitivity` and `headroom` of a cell, and, for prescriptions whose parts are known
(`ArmLabel`), `evaluation_table` (the paper's Table E1) and `judge_claims` (`evidence`, `claim`), both beside what the
paper published (`published`).

`alignment_exponents` regresses measured log gains (`AlignmentRow`) on the width (`width_slope`): what the solver takes.
`over_training` makes one log gain a run of many, `measured_layers` the alignment of every role from rows, and
`alignment_ratios` the ratios of single widths.
"""

from widthwise.analysis.alignment_exponents import AlignmentExponent, Pool, alignment_exponents
from widthwise.analysis.alignment_ratio import AlignmentRatio, alignment_ratios
from widthwise.analysis.alignment_rows import AlignmentRow, alignment_rows
from widthwise.analysis.arm_label import ArmLabel
from widthwise.analysis.claim import ClaimVerdict, Condition, Standing
from widthwise.analysis.claims import judge_claims
from widthwise.analysis.evaluation_table import (
    EvaluationColumn,
    EvaluationEntry,
    EvaluationRow,
    EvaluationTable,
    evaluation_table,
)
from widthwise.analysis.evidence import Evidence
from widthwise.analysis.fitted_table import FittedTable, fit_table
from widthwise.analysis.measured_layers import measured_layers, measured_over_training
from widthwise.analysis.measurements import GaugePair, GradientSize, Measurements
from widthwise.analysis.observation import Observation
from widthwise.analysis.over_training import WHOLE, Weighting, over_training
from widthwise.analysis.result import (
    CellOptimum,
    CellStatus,
    ExponentFit,
    GroupNoise,
    Interval,
    PrescriptionResult,
    RatePoint,
    Regret,
    TransferResult,
    Verdict,
)
from widthwise.analysis.sensitivity import Headroom, Sensitivity, headroom, sensitivity
from widthwise.analysis.size_slope import Sized, SizeSlope, size_slope
from widthwise.analysis.table import read_table
from widthwise.analysis.transfer import MARGIN, transfer
from widthwise.analysis.transfer_metrics import Metric, TransferMetrics, transfer_metrics
from widthwise.analysis.validate import validate
from widthwise.analysis.width_slope import SlopeErrors, WidthSlope

__all__ = [
    "MARGIN",
    "WHOLE",
    "AlignmentExponent",
    "AlignmentRatio",
    "AlignmentRow",
    "ArmLabel",
    "CellOptimum",
    "CellStatus",
    "ClaimVerdict",
    "Condition",
    "EvaluationColumn",
    "EvaluationEntry",
    "EvaluationRow",
    "EvaluationTable",
    "Evidence",
    "ExponentFit",
    "FittedTable",
    "GaugePair",
    "GradientSize",
    "GroupNoise",
    "Headroom",
    "Interval",
    "Measurements",
    "Metric",
    "Observation",
    "Pool",
    "PrescriptionResult",
    "RatePoint",
    "Regret",
    "Sensitivity",
    "SizeSlope",
    "Sized",
    "SlopeErrors",
    "Standing",
    "TransferMetrics",
    "TransferResult",
    "Verdict",
    "Weighting",
    "WidthSlope",
    "alignment_exponents",
    "alignment_ratios",
    "alignment_rows",
    "evaluation_table",
    "fit_table",
    "headroom",
    "judge_claims",
    "measured_layers",
    "measured_over_training",
    "over_training",
    "read_table",
    "sensitivity",
    "size_slope",
    "transfer",
    "transfer_metrics",
    "validate",
]
