"""What a page shows: the analysis, and around it whatever is known about how the numbers came about."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from widthwise.analysis.arm_label import ArmLabel
from widthwise.analysis.observation import Observation
from widthwise.analysis.result import TransferResult
from widthwise.report.alignment_series import ArmAlignment
from widthwise.report.page_table import PageTable


@dataclass(frozen=True)
class TrainingCurve:
    """The loss of one run over its steps."""

    prescription: str
    width: int
    rate: float
    seed: int
    steps: tuple[int, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True)
class PageData:
    """The content of one report.

    Args:
        title: the study's or the table's name.
        observations: every run.
        analysis: what was found in them.
        predictions: prescription -> assumption ("full alignment", "no alignment") -> the exponent of the best rate
            that theory predicts, as an exact fraction's text such as "-1" or "-1/2"; empty for a table of unknown
            origin.
        standing: how far a study has come that has not ended; empty for one that has.
        counts: trial status -> number of trials ("completed", "diverged", "failed", "pending").
        curves: training curves, possibly none, possibly not of every run.
        curve_count: of how many runs they are, where not of these alone.
        spec: the study's specification as text, if there is one.
        machine: facts about the machine and versions, label -> text.
        alignment: what was measured of it, by prescription; empty if nothing was.
        failures: one line for each diverged or failed trial: its name and its reason.
        labels: prescription -> what it is made of, where that is known.
        parameters: width -> the number of parameters, where that is known.
        tables: further tables, shown after the figures.
    """

    title: str
    observations: tuple[Observation, ...]
    analysis: TransferResult
    predictions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    standing: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    curves: tuple[TrainingCurve, ...] = ()
    curve_count: int | None = None
    spec: str | None = None
    machine: Mapping[str, str] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    alignment: tuple[ArmAlignment, ...] = ()
    labels: Mapping[str, ArmLabel] = field(default_factory=dict)
    parameters: Mapping[int, int] = field(default_factory=dict)
    tables: tuple[PageTable, ...] = ()
