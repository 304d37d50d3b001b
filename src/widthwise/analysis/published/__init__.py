"""What the paper measured, as data: its table of losses and its fitted laws of the best rate.

`everett2024_table_e1.csv` is Table E1 (loss at the best learning rate: three optimizers, four parameterizations, six
sizes, seven settings), `everett2024_rate_laws.csv` the power laws best rate = coefficient width^exponent of Appendix K
and Figure I2 (Adam, one global rate, default constants). Appendix K and Figure I2 are two sweeps of one setting: their
difference is the error bar of a fitted exponent.

Source: Everett et al., Scaling Exponents Across Parameterizations and Optimizers (arXiv 2407.05872), ICML 2024.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

CITATION = "Everett et al. 2024, arXiv 2407.05872"

PARAMETERIZATIONS: Mapping[str, str] = {"STP": "standard", "NTK": "ntk", "muP": "mup", "MFP": "mean-field"}
OPTIMIZERS: Mapping[str, str] = {"SGD": "sgd", "Adam": "adam", "Adam+PS": "adam-ps"}


@dataclass(frozen=True)
class Setting:
    """One column of Table E1.

    Args:
        prescription: of the layers' rates: `global`, `full` or `none`.
        constants: `default`, all 1, or `optimal`, tuned once at the base width.
        epsilon: `constant` or `per-layer`.
    """

    prescription: str
    constants: str
    epsilon: str


SETTINGS: Mapping[str, Setting] = {
    "global_default": Setting("global", "default", "constant"),
    "global_optimal": Setting("global", "optimal", "constant"),
    "perlayer_full_default": Setting("full", "default", "constant"),
    "perlayer_full_optimal": Setting("full", "optimal", "constant"),
    "perlayer_none_optimal": Setting("none", "optimal", "constant"),
    "perlayer_full_optimal_perlayereps": Setting("full", "optimal", "per-layer"),
    "perlayer_none_optimal_perlayereps": Setting("none", "optimal", "per-layer"),
}
"""The columns of Table E1, in its order."""


@dataclass(frozen=True)
class PublishedLoss:
    """One number of Table E1, nats per token."""

    optimizer: str
    parameterization: str
    size: str
    width: int
    setting: Setting
    loss: float


@dataclass(frozen=True)
class RateLaw:
    """best rate = coefficient width^exponent, with Adam, one global rate and default constants.

    Args:
        source: `Appendix K` or `Figure I2`.
        horizon: `fixed` (50,000 steps) or `compute-optimal` (20 tokens per non-embedding parameter).
    """

    source: str
    horizon: str
    parameterization: str
    coefficient: float
    exponent: float


@cache
def table_e1() -> tuple[PublishedLoss, ...]:
    """Table E1, row by row; what the paper leaves empty is left out.

    Example:
        >>> best = min((p for p in table_e1() if p.width == 16384), key=lambda p: p.loss)
        >>> best.optimizer, best.parameterization, best.setting.prescription, best.loss
        ('adam-ps', 'ntk', 'none', 2.554)
    """
    return tuple(
        PublishedLoss(
            optimizer=OPTIMIZERS[row["optimizer"]],
            parameterization=PARAMETERIZATIONS[row["parameterization"]],
            size=row["size"],
            width=int(row["D"]),
            setting=setting,
            loss=float(row[column]),
        )
        for row in _rows("everett2024_table_e1.csv")
        for column, setting in SETTINGS.items()
        if row[column]
    )


@cache
def rate_laws() -> tuple[RateLaw, ...]:
    """The fitted laws of the best rate.

    Example:
        >>> [law.exponent for law in rate_laws() if law.parameterization == "mup"]
        [-1.15, -1.09, -1.38]
    """
    return tuple(
        RateLaw(
            source=row["source"],
            horizon=row["horizon"],
            parameterization=row["parameterization"],
            coefficient=float(row["coefficient"]),
            exponent=float(row["exponent"]),
        )
        for row in _rows("everett2024_rate_laws.csv")
    )


def _rows(name: str) -> list[dict[str, str]]:
    with files("widthwise.analysis.published").joinpath(name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))
