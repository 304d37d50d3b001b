"""Analysis: from a table of (width, prescription, rate, seed, loss) to exponents and transfer verdicts.

`read_table` reads anybody's CSV into `Observation`s; `transfer` does the rest. Inside, the runs of one prescription and
width form a cell (`cell`), whose best rate is a local fit (`optimum`, `polynomial`); the noise of all cells is pooled
(`noise`) and gives the interval of the exponent (`exponent`) and of the loss given up at the largest width (`regret`,
`loss_curve`), which decides the verdict (`verdict`). Numpy and scipy alone; the results are plain values (`result`).

`alignment_exponents` regresses measured log gains (`AlignmentRow`) on the width (`width_slope`): what the solver takes.
`over_training` makes one log gain a run of many, `measured_layers` the alignment of every role from rows.
"""

from widthwise.analysis.alignment_exponents import AlignmentExponent, Pool, alignment_exponents
from widthwise.analysis.alignment_rows import AlignmentRow, alignment_rows
from widthwise.analysis.measured_layers import measured_layers
from widthwise.analysis.observation import Observation
from widthwise.analysis.over_training import WHOLE, Weighting, over_training
from widthwise.analysis.result import (
    CellOptimum,
    CellStatus,
    ExponentFit,
    Interval,
    PrescriptionResult,
    RatePoint,
    Regret,
    TransferResult,
    Verdict,
)
from widthwise.analysis.table import read_table
from widthwise.analysis.transfer import MARGIN, transfer
from widthwise.analysis.validate import validate
from widthwise.analysis.width_slope import SlopeErrors

__all__ = [
    "MARGIN",
    "WHOLE",
    "AlignmentExponent",
    "AlignmentRow",
    "CellOptimum",
    "CellStatus",
    "ExponentFit",
    "Interval",
    "Observation",
    "Pool",
    "PrescriptionResult",
    "RatePoint",
    "Regret",
    "SlopeErrors",
    "TransferResult",
    "Verdict",
    "Weighting",
    "alignment_exponents",
    "alignment_rows",
    "measured_layers",
    "over_training",
    "read_table",
    "transfer",
    "validate",
]
