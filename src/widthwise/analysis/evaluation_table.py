"""The paper's Table E1 for any study: loss at the best rate, parameterization and optimizer by setting and width.

The columns are the paper's seven settings as far as the study has them, then the study's further ones. The loss is the
fitted one at the best rate, over all seeds that trained there; where the optimum is not bracketed it is the lowest mean
over seeds, and the entry says so. Its interval is of the noise of seeds at that width, pooled over the optimizer's
cells. The paper's entries are lowest losses of one sweep each, without an error.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from widthwise.analysis.arm_label import ArmLabel
from widthwise.analysis.fitted_table import FittedTable
from widthwise.analysis.noise import Noise, student_quantile
from widthwise.analysis.optimum import CellFit
from widthwise.analysis.optimum_loss import OptimumLoss
from widthwise.analysis.published import SETTINGS, table_e1


@dataclass(frozen=True)
class EvaluationColumn:
    """A setting: what a prescription is besides its parameterization and optimizer."""

    prescription: str
    constants: str = "default"
    epsilon: str = "constant"
    weight_decay: str = "none"
    horizon: str = "fixed"


@dataclass(frozen=True)
class EvaluationEntry:
    """A loss at the best rate.

    Args:
        loss: nats per token.
        half_width: of its interval; None where the noise is unknown or the optimum is not bracketed.
        bracketed: whether it is a fitted optimum's; else it is the lowest mean that was run.
    """

    loss: float
    half_width: float | None
    bracketed: bool


@dataclass(frozen=True)
class EvaluationRow:
    """One parameterization, optimizer and width; entries by column, None where the study has no such run."""

    optimizer: str
    parameterization: str
    width: int
    entries: tuple[EvaluationEntry | None, ...]


@dataclass(frozen=True)
class EvaluationTable:
    """Table E1's layout.

    Args:
        columns: the settings.
        rows: of the study, by optimizer, parameterization (in order of appearance) and ascending width.
        published: the paper's rows for the same optimizers, parameterizations and columns, its sizes.
    """

    columns: tuple[EvaluationColumn, ...]
    rows: tuple[EvaluationRow, ...]
    published: tuple[EvaluationRow, ...]


PAPER_COLUMNS: tuple[EvaluationColumn, ...] = tuple(
    EvaluationColumn(s.prescription, s.constants, s.epsilon) for s in SETTINGS.values()
)


def evaluation_table(
    table: FittedTable, labels: Mapping[str, ArmLabel], *, level: float = 0.95
) -> EvaluationTable:
    """Arrange a study as Table E1 does.

    Args:
        table: from `fit_table`.
        labels: what each of its prescriptions is made of; those without one are left out.
        level: of the intervals.

    Raises:
        ValueError: two prescriptions have the same label.
    """
    arms: dict[ArmLabel, str] = {}
    for name, label in labels.items():
        if name not in table.prescriptions:
            continue
        if label in arms:
            raise ValueError(
                f"prescriptions {arms[label]!r} and {name!r} are the same setting; name one of them"
            )
        arms[label] = name
    present = list(dict.fromkeys(_column(label) for label in arms))
    columns = tuple(c for c in PAPER_COLUMNS if c in present)
    columns += tuple(c for c in present if c not in PAPER_COLUMNS)
    families = list(dict.fromkeys((label.optimizer, label.parameterization) for label in arms))
    rows: list[EvaluationRow] = []
    for optimizer, parameterization in families:
        named = {
            _column(label): name
            for label, name in arms.items()
            if (label.optimizer, label.parameterization) == (optimizer, parameterization)
        }
        widths = sorted({fit.cell.width for name in named.values() for fit in table.prescriptions[name]})
        for width in widths:
            entries = tuple(
                _entry(table.cell(named[c], width), table.noise_at(table.group_of(named[c]), width), level)
                if c in named
                else None
                for c in columns
            )
            rows.append(EvaluationRow(optimizer, parameterization, width, entries))
    return EvaluationTable(columns, tuple(rows), _published(families, columns))


def _column(label: ArmLabel) -> EvaluationColumn:
    return EvaluationColumn(
        label.prescription, label.constants, label.epsilon, label.weight_decay, label.horizon
    )


def _entry(fit: CellFit | None, noise: Noise | None, level: float) -> EvaluationEntry | None:
    if fit is None or fit.best_index is None:
        return None
    if fit.local is None:
        return EvaluationEntry(float(fit.cell.mean()[fit.best_index]), None, bracketed=False)
    one, half = OptimumLoss(fit, fit.local), None
    if noise is not None:
        half = student_quantile(level, noise.degrees_of_freedom) * noise.level * math.sqrt(one.factor)
    return EvaluationEntry(one.mean, half, bracketed=True)


def _published(
    families: list[tuple[str, str]], columns: tuple[EvaluationColumn, ...]
) -> tuple[EvaluationRow, ...]:
    setting_columns = dict(zip(SETTINGS.values(), PAPER_COLUMNS, strict=True))
    losses = {
        (p.optimizer, p.parameterization, p.width, setting_columns[p.setting]): p.loss for p in table_e1()
    }
    widths = sorted({width for _, _, width, _ in losses})
    return tuple(
        EvaluationRow(optimizer, parameterization, width, entries)
        for optimizer, parameterization in families
        for width in widths
        if any(entries := tuple(
            EvaluationEntry(losses[key], None, bracketed=True)
            if (key := (optimizer, parameterization, width, column)) in losses
            else None
            for column in columns
        ))
    )  # fmt: skip
