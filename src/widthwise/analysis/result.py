"""What the analysis finds, as values: per-cell optima, the fitted exponent, the loss given up, the verdict.

Logarithms are to the base 2 throughout, so that differences read as octaves. Nothing here is ever silently replaced:
what could not be determined is None and its status says why.
"""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided interval; a bound may be infinite."""

    estimate: float
    low: float
    high: float


class CellStatus(StrEnum):
    """Whether a cell's optimum may be used."""

    BRACKETED = "bracketed"
    EDGE_LOW = "best at the lowest rate"
    EDGE_HIGH = "best at the highest rate that trained"
    UNRESOLVED = "no minimum in the fit"


@dataclass(frozen=True)
class RatePoint:
    """All seeds of one rate in one cell: mean, lowest and highest loss of those that trained, and how many did."""

    rate: float
    loss: float | None
    low: float | None
    high: float | None
    trained: int
    diverged: int


@dataclass(frozen=True)
class CellOptimum:
    """The best learning rate of one (prescription, width), as log2 of the rate.

    `parabola` and `cubic` are the two fits' minima; `best` is the one the analysis uses, the parabola's, and `loss` is
    the loss at the optimum, mean of all seeds that trained at the best rate. `standard_error` comes from the noise
    pooled over cells (None with a single seed), `systematic` is the distance between the two minima. All are None
    unless the status is `bracketed`. `degrees_of_freedom` are those of the noise. `loss_error` is the standard error of
    `loss`, from the noise of the cells of that width, and `loss_freedom` its degrees of freedom.
    """

    prescription: str
    width: int
    status: CellStatus
    points: tuple[RatePoint, ...]
    best: float | None
    parabola: float | None
    cubic: float | None
    standard_error: float | None
    systematic: float | None
    loss: float | None
    degrees_of_freedom: int = 0
    loss_error: float | None = None
    loss_freedom: int = 0


@dataclass(frozen=True)
class ExponentFit:
    """The slope of log2(best rate) against log2(width): best rate ~ width^exponent.

    `parabola` and `cubic` are the slopes through either fit's minima; `exponent` is the parabola's. `statistical` is
    the t-interval of the pooled noise; `total` adds the parabola-cubic spread over cells. `widths` are those used.
    Numbers are None where fewer than two widths have a bracketed optimum, intervals also where one seed leaves the
    noise unknown.
    """

    prescription: str
    widths: tuple[int, ...]
    intercept: float | None
    exponent: float | None
    parabola: float | None
    cubic: float | None
    statistical: Interval | None
    total: Interval | None
    degrees_of_freedom: int


@dataclass(frozen=True)
class Regret:
    """The relative loss given up at the largest width by keeping the base width's best rate.

    `offset` is log2(kept rate / best rate at the largest width) with its interval; `loss` is the relative excess loss
    over the interval of the offset: 0.01 is one per cent. Where the largest width's best rate is at an edge of its grid
    there is no offset, and `loss` is a lower bound: estimate and low are equal, high is infinite.
    """

    base_width: int
    largest_width: int
    offset: Interval | None
    loss: Interval | None


class Verdict(StrEnum):
    """Does the base width's best rate stay good enough at the largest width?"""

    TRANSFERS = "transfers"
    DOES_NOT = "does not transfer"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class PrescriptionResult:
    """Everything found for one prescription; `reason` is one sentence with the numbers behind the verdict."""

    prescription: str
    cells: tuple[CellOptimum, ...]
    exponent: ExponentFit
    regret: Regret
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class GroupNoise:
    """The noise of one group of observations.

    Args:
        group: its name; empty where a table has no groups.
        sigma: standard deviation, in octaves, of one seed's optimum.
        degrees_of_freedom: pooled over distinct cells.
    """

    group: str
    sigma: float
    degrees_of_freedom: int


@dataclass(frozen=True)
class TransferResult:
    """The analysis of one table.

    Args:
        results: one per prescription, in order of first appearance.
        margin: the relative loss below which giving it up counts as transfer (0.01 is one per cent).
        level: the level of every interval, 0.95.
        noises: of every group whose noise is known; none with a single seed.
        notes: what the reader must know: cells not used, seeds missing, one sentence each.
    """

    results: tuple[PrescriptionResult, ...]
    margin: float
    level: float
    noises: tuple[GroupNoise, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        from widthwise.analysis.transfer_text import text

        return text(self)
