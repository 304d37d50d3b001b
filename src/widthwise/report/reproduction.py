"""Studies beside the paper, as one Markdown document: claims, exponents, losses as in Table E1, transfer metrics."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from widthwise.analysis import (
    ArmLabel,
    ClaimVerdict,
    EvaluationTable,
    Evidence,
    FittedTable,
    Measurements,
    TransferMetrics,
    evaluation_table,
    fit_table,
    judge_claims,
    transfer_metrics,
)
from widthwise.analysis.published import CITATION
from widthwise.report.claims_text import claims_in_short, claims_markdown, interval_text, markdown_table
from widthwise.report.joined_studies import LabelledStudy, join_studies
from widthwise.report.numbers import MISSING, fixed
from widthwise.report.paper_text import (
    beware,
    column_title,
    entry_text,
    metric_text,
    published_exponents,
    published_text,
)
from widthwise.report.reproduction_words import EXPONENTS, JUDGED, LOSSES, METRICS, RECOMPUTED
from widthwise.report.study_setting import PROGRESS_HEAD, progress_rows, setting_rows, unfinished_line


@dataclass(frozen=True)
class Comparison:
    """Studies, analysed for everything that stands beside the paper."""

    name: str
    studies: tuple[LabelledStudy, ...]
    table: FittedTable
    labels: Mapping[str, ArmLabel]
    predictions: Mapping[str, Mapping[str, str]]
    evidence: Evidence
    verdicts: tuple[ClaimVerdict, ...]
    metrics: tuple[TransferMetrics, ...]
    evaluation: EvaluationTable


def compare_studies(studies: Sequence[LabelledStudy], measurements: Measurements | None = None) -> Comparison:
    """Analyse the prescriptions that stores have finished.

    Args:
        studies: one or more, of the same model, text and training.
        measurements: what claims need that no study has.

    Raises:
        ValueError: studies that are not to be compared, nothing finished in any of them, or two prescriptions of one
            study with the same label.
    """
    joined = join_studies(studies)
    table = fit_table(joined.observations, least_rates=1)  # a sweep that ended at a limit may have had few
    evidence = Evidence(
        table,
        joined.labels,
        studies[0].study.base_width,
        epsilon=joined.epsilon,
        alignment=joined.alignment,
        measurements=measurements or Measurements(),
    )
    return Comparison(
        name=joined.name,
        studies=tuple(studies),
        table=table,
        labels=joined.labels,
        predictions=joined.predictions,
        evidence=evidence,
        verdicts=judge_claims(evidence),
        metrics=transfer_metrics(table),
        evaluation=evaluation_table(table, joined.labels),
    )


def comparison_markdown(comparison: Comparison, *, text: str | None = None) -> str:
    """The document.

    Args:
        text: what the studies' text is, in words.
    """
    studies = comparison.studies
    parts = [
        f"# {comparison.name}, beside the paper",
        f"The paper is {CITATION}. This page is what `widthwise study claims` prints of the studies' stores.",
        "## What was trained",
        markdown_table(("", "the paper", "here"), setting_rows(studies, text=text)),
        markdown_table(PROGRESS_HEAD, progress_rows(studies)),
        unfinished_line(studies),
        "## How a claim is judged",
        JUDGED,
        "## Claims in short",
        claims_in_short(comparison.verdicts).strip(),
        "## Claims, condition by condition",
        claims_markdown(comparison.verdicts).strip(),
        "## Exponents of the best rate",
        EXPONENTS,
        exponents_markdown(comparison),
        "## Loss at the best rate, in the layout of Table E1",
        LOSSES,
        evaluation_markdown(comparison.evaluation),
        "## How well the rate transfers",
        METRICS,
        metrics_markdown(comparison.metrics),
        "## How to recompute the numbers",
        RECOMPUTED,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def exponents_markdown(comparison: Comparison) -> str:
    """Theory's exponents, the measured one and its widths, and the paper's two fits, one row a prescription."""
    rows: list[Sequence[str]] = []
    for name, result in comparison.evidence.results.items():
        theory = comparison.predictions.get(name, {})
        measured = result.exponent.total
        estimate = result.exponent.exponent
        rows.append(
            (
                name, theory.get("full alignment", MISSING), theory.get("no alignment", MISSING),
                interval_text(measured) if measured else fixed(estimate, 3),
                ", ".join(map(str, result.exponent.widths)) or MISSING,
                published_exponents(comparison.labels.get(name)) or MISSING,
            )
        )  # fmt: skip
    head = ("prescription", "theory, full alignment", "theory, no alignment", "measured", "widths", "paper")
    return markdown_table(head, rows)


def evaluation_markdown(table: EvaluationTable) -> str:
    """The study's rows and under each family the paper's, in the same columns."""
    head = ("optimizer", "parameterization", "width", *(column_title(c) for c in table.columns))
    rows: list[Sequence[str]] = []
    for family in dict.fromkeys((row.optimizer, row.parameterization) for row in table.rows):
        for whose, source in ((table.rows, ""), (table.published, "paper, ")):
            for row in whose:
                if (row.optimizer, row.parameterization) == family:
                    texts = [entry_text(e) if not source else published_text(e) for e in row.entries]
                    rows.append((*family, f"{source}{row.width}", *texts))
    return markdown_table(head, rows)


def metrics_markdown(metrics: Iterable[TransferMetrics]) -> str:
    """Fit error, robustness and asymptotic gap, one row a prescription; those without any are named below."""
    head = ("prescription", "E, relative", "kappa", "R(inf), nats", "alpha", "beta", "gamma", "beware")
    rows: list[Sequence[str]] = []
    references: list[str | None] = []
    without: dict[str, list[str]] = {}
    for m in metrics:
        if m.fit_error is None:
            without.setdefault("; ".join(m.flags), []).append(m.prescription)
            continue
        references.append(m.reference)
        values = (m.fit_error, m.kappa, m.gap, m.alpha, m.beta, m.gamma)
        rows.append((m.prescription, *(metric_text(value) for value in values), beware(m.flags)))
    lines = [f"R(inf) is against {name}." for name in dict.fromkeys(references) if name is not None]
    lines += [f"{why}: {', '.join(names)}." for why, names in without.items()]
    return "\n\n".join([*([markdown_table(head, rows)] if rows else []), *lines])
