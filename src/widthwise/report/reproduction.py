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
from widthwise.report.claims_text import claims_markdown, interval_text
from widthwise.report.from_store import kept_width
from widthwise.report.joined_studies import LabelledStudy, join_studies
from widthwise.report.numbers import MISSING, fixed
from widthwise.report.paper_text import (
    column_title,
    entry_text,
    metric_text,
    published_exponents,
    published_text,
)


@dataclass(frozen=True)
class Comparison:
    """Studies, analysed for everything that stands beside the paper."""

    name: str
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
    table = fit_table(joined.observations)
    base = kept_width(studies[0].study, joined.observations)
    evidence = Evidence(
        table,
        joined.labels,
        base,
        epsilon=joined.epsilon,
        alignment=joined.alignment,
        measurements=measurements or Measurements(),
    )
    return Comparison(
        name=joined.name,
        table=table,
        labels=joined.labels,
        predictions=joined.predictions,
        evidence=evidence,
        verdicts=judge_claims(evidence),
        metrics=transfer_metrics(table),
        evaluation=evaluation_table(table, joined.labels),
    )


def comparison_markdown(comparison: Comparison) -> str:
    """The document."""
    widths = sorted({fit.cell.width for fits in comparison.table.prescriptions.values() for fit in fits})
    parts = [
        f"# {comparison.name}, beside the paper",
        f"Widths {', '.join(map(str, widths))}. The paper is {CITATION}. Every interval is a 95 % one.",
        "## Claims",
        claims_markdown(comparison.verdicts).strip(),
        "## Exponents of the best rate",
        exponents_markdown(comparison),
        "## Loss at the best rate, in the layout of Table E1",
        evaluation_markdown(comparison.evaluation),
        "## How well the rate transfers",
        metrics_markdown(comparison.metrics),
    ]
    return "\n\n".join(parts) + "\n"


def exponents_markdown(comparison: Comparison) -> str:
    """Theory's exponents, the measured one, and the paper's two fits where it states them, one row a prescription."""
    rows: list[Sequence[str]] = []
    for name, result in comparison.evidence.results.items():
        theory = comparison.predictions.get(name, {})
        measured = result.exponent.total
        estimate = result.exponent.exponent
        rows.append(
            (
                name, theory.get("full alignment", MISSING), theory.get("no alignment", MISSING),
                interval_text(measured) if measured else fixed(estimate, 3),
                published_exponents(comparison.labels.get(name)) or MISSING,
            )
        )  # fmt: skip
    head = ("prescription", "theory, full alignment", "theory, no alignment", "measured", "paper")
    return _table(head, rows)


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
    return _table(head, rows)


def metrics_markdown(metrics: Iterable[TransferMetrics]) -> str:
    """Fit error, robustness and asymptotic gap, one row a prescription, with what they must not be used for."""
    head = ("prescription", "E, relative", "kappa", "R(inf), nats", "alpha", "beta", "gamma", "beware")
    rows: list[Sequence[str]] = []
    for m in metrics:
        values = (m.fit_error, m.kappa, m.gap, m.alpha, m.beta, m.gamma)
        rows.append((m.prescription, *(metric_text(value) for value in values), "; ".join(m.flags)))
    return _table(head, rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)
