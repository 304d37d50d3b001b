"""Analysis: from a table of (width, prescription, rate, seed, loss) to exponents and transfer verdicts.

`read_table` reads anybody's CSV into `Observation`s; `transfer` does the rest. Inside, the runs of one prescription and
width form a cell (`cell`), whose best rate is a local fit (`optimum`, `polynomial`); the noise of all cells is pooled
(`noise`) and gives the interval of the exponent (`exponent`) and of the loss given up at the largest width (`regret`,
`loss_curve`), which decides the verdict (`verdict`). Numpy and scipy alone; the results are plain values (`result`).
"""

from widthwise.analysis.observation import Observation
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

__all__ = [
    "MARGIN",
    "CellOptimum",
    "CellStatus",
    "ExponentFit",
    "Interval",
    "Observation",
    "PrescriptionResult",
    "RatePoint",
    "Regret",
    "TransferResult",
    "Verdict",
    "read_table",
    "transfer",
    "validate",
]
