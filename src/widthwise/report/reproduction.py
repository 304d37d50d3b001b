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
    column_title,
    entry_text,
    metric_text,
    published_exponents,
    published_text,
)
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


JUDGED = """\
The claims and the condition of each were written down before any of these runs, and no run is made again until a
claim holds. A condition **holds** when its whole 95 % interval meets it, **does not hold** when its whole interval
contradicts it, and is otherwise **not decidable at this scale**. A claim of several conditions holds if all do, and
does not hold if one does not. Only prescriptions count that have finished all of their widths: a claim that needs
another is **not run yet**.

The best rate of a prescription and width is the minimum of a parabola through the losses within an octave of it, up to
the first above 1.2 times the best, where training breaks down; a sweep that found no worse rate on both sides has none.
The best loss is the minimum of a parabola through the nearest rates alone, moved to the mean of all seeds that trained
at the best of them; two prescriptions are compared seed by seed. Losses are held-out cross-entropies in nats a token.
The noise is that of the study's own seeds: of best rates pooled over the cells of an optimizer, of a difference of
losses that pair's own, in proportion to what all pairs have at each width. Either interval covers the fit's shape too.
*Trials* are the runs of the prescriptions that a claim rests on, those that diverged included; for claims 11 and 14
they are small measurements of their own, as is the start of claim 15."""


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
        exponents_markdown(comparison),
        "## Loss at the best rate, in the layout of Table E1",
        evaluation_markdown(comparison.evaluation),
        "## How well the rate transfers",
        metrics_markdown(comparison.metrics),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


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
    """Fit error, robustness and asymptotic gap, one row a prescription, with what they must not be used for."""
    head = ("prescription", "E, relative", "kappa", "R(inf), nats", "alpha", "beta", "gamma", "beware")
    rows: list[Sequence[str]] = []
    for m in metrics:
        values = (m.fit_error, m.kappa, m.gap, m.alpha, m.beta, m.gamma)
        rows.append((m.prescription, *(metric_text(value) for value in values), "; ".join(m.flags)))
    return markdown_table(head, rows)
