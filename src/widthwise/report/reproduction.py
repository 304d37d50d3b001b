"""A study beside the paper, as one Markdown document: claims, exponents, losses as in Table E1, transfer metrics."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from widthwise.analysis import (
    ArmLabel,
    ClaimVerdict,
    EvaluationEntry,
    EvaluationTable,
    Evidence,
    FittedTable,
    Metric,
    TransferMetrics,
    evaluation_table,
    fit_table,
    judge_claims,
    transfer_metrics,
)
from widthwise.analysis.evaluation_table import EvaluationColumn
from widthwise.analysis.published import CITATION, rate_laws
from widthwise.records import StoredStudy
from widthwise.report.claims_text import claims_markdown, interval_text
from widthwise.report.from_store import kept_width, observations, predictions
from widthwise.report.numbers import MISSING, fixed


@dataclass(frozen=True)
class Comparison:
    """A study, analysed for everything that stands beside the paper."""

    name: str
    table: FittedTable
    labels: Mapping[str, ArmLabel]
    predictions: Mapping[str, Mapping[str, str]]
    evidence: Evidence
    verdicts: tuple[ClaimVerdict, ...]
    metrics: tuple[TransferMetrics, ...]
    evaluation: EvaluationTable


def compare_study(study: StoredStudy, labels: Mapping[str, ArmLabel]) -> Comparison:
    """Analyse a store's finished widths.

    Args:
        labels: what each of its prescriptions is made of.

    Raises:
        ValueError: too little in it to analyse, or two prescriptions of the same label.
    """
    seen = observations(study)
    table = fit_table(seen)
    evidence = Evidence(table, labels, kept_width(study, seen))
    return Comparison(
        name=study.name,
        table=table,
        labels=labels,
        predictions=predictions(study),
        evidence=evidence,
        verdicts=judge_claims(evidence),
        metrics=transfer_metrics(table),
        evaluation=evaluation_table(table, labels),
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


def published_exponents(label: ArmLabel | None) -> str:
    """The paper's fitted exponents for a setting, both sweeps: "−0.94, −0.95"; empty where it states none."""
    if label is None or (label.optimizer, label.prescription, label.constants) != (
        "adam",
        "global",
        "default",
    ):
        return ""
    found = [
        law.exponent
        for law in rate_laws()
        if (law.parameterization, law.horizon) == (label.parameterization, label.horizon)
    ]
    return ", ".join(fixed(exponent, 2) for exponent in found)


def column_title(column: EvaluationColumn) -> str:
    """A setting in words, its defaults left out: "full, optimal constants"."""
    words = [column.prescription]
    words += [f"{column.constants} constants"] if column.constants != "default" else []
    words += [f"epsilon {column.epsilon}"] if column.epsilon not in ("constant", "none") else []
    words += [f"weight decay {column.weight_decay}"] if column.weight_decay != "none" else []
    words += [column.horizon] if column.horizon != "fixed" else []
    return ", ".join(words)


def entry_text(entry: EvaluationEntry | None) -> str:
    """A loss with its half-width: "2.5712 ± 0.0031"; a lowest mean that is no fitted optimum has a "≤"."""
    if entry is None:
        return MISSING
    if not entry.bracketed:
        return f"≤ {fixed(entry.loss, 4)}"
    half = "" if entry.half_width is None else f" ± {fixed(entry.half_width, 4)}"
    return f"{fixed(entry.loss, 4)}{half}"


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


def published_text(entry: EvaluationEntry | None) -> str:
    """One of the paper's losses, in its three decimals."""
    return MISSING if entry is None else fixed(entry.loss, 3)


def metrics_markdown(metrics: Iterable[TransferMetrics]) -> str:
    """Fit error, robustness and asymptotic gap, one row a prescription, with what they must not be used for."""
    head = ("prescription", "E, relative", "kappa", "R(inf), nats", "alpha", "beta", "gamma", "beware")
    rows: list[Sequence[str]] = []
    for m in metrics:
        values = (m.fit_error, m.kappa, m.gap, m.alpha, m.beta, m.gamma)
        rows.append((m.prescription, *(metric_text(value) for value in values), "; ".join(m.flags)))
    return _table(head, rows)


def metric_text(metric: Metric | None) -> str:
    """A metric with its interval, to four decimals where it is small."""
    if metric is None:
        return MISSING
    digits = 4 if math.fabs(metric.estimate) < 0.1 else 3
    if metric.interval is None:
        return fixed(metric.estimate, digits)
    low, high = fixed(metric.interval.low, digits), fixed(metric.interval.high, digits)
    return f"{fixed(metric.estimate, digits)} [{low}, {high}]"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)
