"""Page tables of what the paper and its successors report: Table E1, transfer metrics, what a wrong rate costs."""

from collections.abc import Mapping

from widthwise.analysis import (
    ArmLabel,
    FittedTable,
    TransferMetrics,
    evaluation_table,
    headroom,
    sensitivity,
    transfer_metrics,
)
from widthwise.analysis.noise import Noise
from widthwise.analysis.optimum import CellFit
from widthwise.analysis.published import CITATION
from widthwise.report.numbers import INFINITY, MISSING, fixed, rate_label
from widthwise.report.page_table import PageRow, PageTable, as_page_table
from widthwise.report.paper_text import beware, column_title, entry_text, metric_text, published_text
from widthwise.report.words import MOST_NAMES


def evaluation_page_table(
    table: FittedTable, labels: Mapping[str, ArmLabel], *, published: bool = True
) -> PageTable | None:
    """The study in the layout of Table E1.

    None where the parts of a prescription are unknown, or two are the same setting, such as one rate grid in two arms.

    Args:
        published: whether the paper's own numbers stand under each family's; nothing compares another task's with them.
    """
    known = {name: label for name, label in labels.items() if name in table.prescriptions}
    if len(known) < len(table.prescriptions) or len(set(known.values())) < len(known):
        return None
    found = evaluation_table(table, known)
    rows: list[PageRow] = []
    for family in dict.fromkeys((row.optimizer, row.parameterization) for row in found.rows):
        for row in found.rows:
            if (row.optimizer, row.parameterization) == family:
                texts = (str(row.width), *(entry_text(entry) for entry in row.entries))
                rows.append(PageRow(" ".join(family), texts, width=row.width))
        for row in found.published if published else ():
            if (row.optimizer, row.parameterization) == family:
                texts = (str(row.width), *(published_text(entry) for entry in row.entries))
                rows.append(PageRow(f"{' '.join(family)}, paper", texts, quiet=True))
    return as_page_table(
        "evaluation",
        "Loss at the best rate",
        "Rows and columns as in the paper's Table E1. With ±: the fitted loss and the half-width of its 95 % interval; "
        "≤: the lowest mean of a width whose optimum is not bracketed."
        + (
            f" The paper's own numbers, at its sizes, stand under each family ({CITATION})."
            if published
            else ""
        ),
        ("optimizer, parameterization", "width", *(column_title(column) for column in found.columns)),
        rows,
        folded=len(rows) > 40,
    )


def metrics_page_table(table: FittedTable) -> PageTable | None:
    """Fit error, robustness and asymptotic gap."""
    rows = [_metrics_row(metrics) for metrics in transfer_metrics(table)]
    return as_page_table(
        "metrics",
        "How well the rate transfers, in three numbers",
        "E: by how much three laws (loss, best rate, curvature over the width) miss the fitted losses within an octave "
        "of the best rate, relative to the loss. kappa: below 0, errors of an extrapolated rate fade as models widen. "
        "R(∞): the loss at infinite width less that of the prescription where it is lowest, of those with a sure fit, "
        "nats. Intervals are 95 %, by resampling seeds and fits.",
        ("prescription", "E", "kappa", "R(∞)", "beware"),
        rows,
        folded=len(rows) > MOST_NAMES,
    )


def _metrics_row(metrics: TransferMetrics) -> PageRow:
    values = (metrics.fit_error, metrics.kappa, metrics.gap)
    texts = tuple(metric_text(value) for value in values)
    return PageRow(metrics.prescription, (*texts, beware(metrics.flags)), prescription=metrics.prescription)


def sensitivity_page_table(table: FittedTable, initial_loss: float | None) -> PageTable | None:
    """Learning-rate sensitivity and the distance from the best rate to the edge of stability, per cell.

    Args:
        initial_loss: of a model before training; None where it is not known, and sensitivity is left out.
    """
    rows = [
        PageRow(
            name,
            (
                str(fit.cell.width),
                *_sensitivity_texts(fit, initial_loss),
                *_headroom_texts(fit, table.noise_of(name)),
            ),
            prescription=name,
            width=fit.cell.width,
        )
        for name, fits in table.prescriptions.items()
        for fit in fits
    ]
    title = (
        "From the best rate to the edge of stability" if initial_loss is None else "What a wrong rate costs"
    )
    caption = (
        "A rate is unstable if a seed diverged there or its loss is above 1.2 times the best; the edge lies between "
        "the largest stable rate and the next."
    )
    if initial_loss is not None:
        caption = (
            "Sensitivity: the mean over the swept rates of the loss, at most the initial one, less the best loss, nats "
            f"(Wortsman et al. 2023); widths swept over different rates cannot be compared. {caption}"
        )
    return as_page_table(
        "sensitivity",
        title,
        caption,
        (
            "prescription",
            "width",
            "sensitivity",
            "rates swept",
            "largest stable rate",
            "octaves from best to edge",
        ),
        rows,
        folded=True,
    )


def _sensitivity_texts(fit: CellFit, initial_loss: float | None) -> tuple[str, str]:
    found = None if initial_loss is None else sensitivity(fit.cell, initial_loss=initial_loss)
    if found is None:
        return "", ""
    half = "" if found.interval is None else f" ± {fixed(found.interval.high - found.value, 4)}"
    return f"{fixed(found.value, 4)}{half}", f"{rate_label(found.rates[0])} to {rate_label(found.rates[1])}"


def _headroom_texts(fit: CellFit, noise: Noise | None) -> tuple[str, str]:
    room = headroom(fit, noise)
    if room is None:
        return MISSING, MISSING
    low, high = (fixed(end, 2) for end in (room.octaves.low, room.octaves.high))
    return rate_label(room.largest_stable), f"{low} or more" if high == INFINITY else f"{low} to {high}"
