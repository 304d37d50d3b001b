"""What studies trained, beside what the paper did: what was scaled down, and how far the studies have come."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from widthwise.records import StoredStudy, unfinished
from widthwise.report.joined_studies import LabelledStudy
from widthwise.report.model_size import BYTES, parameter_count

UNKNOWN = "known to the training function alone"
Row = tuple[str, str, str]
"""What, in the paper, here."""

PAPER: Mapping[str, str] = {
    "model": "decoder-only Transformer, 8 blocks, head dimension 128, context 512",
    "vocabulary": "32,101 tokens of SentencePiece (T5)",
    "widths": "128 to 16,384, fourteen of them",
    "parameters": "9,858,432 to 26,830,356,480",
    "text": "C4, English",
    "batch": "256 sequences",
    "steps": "50,000; compute-optimal: 20 tokens a non-embedding parameter",
    "tokens a model": "6.55e9",
    "precision": "not known",
    "held-out loss": "not known on how much",
    "seeds": "not known",
}
"""Everett et al. 2024, as its readers quote it where the paper does not say."""


def setting_rows(studies: Sequence[LabelledStudy], *, text: str | None = None) -> list[Row]:
    """The settings of the paper and of the studies, which agree but for their widths and horizons.

    Args:
        text: what the studies' text is, in words; its hash unless said.
    """
    recipes = [json.loads(trial.recipe) for one in studies for trial in _samples(one.study)]
    models = sorted((recipe["model"] for recipe in recipes), key=lambda model: model["width"])
    first = recipes[0]
    tokens = sorted({r["schedule"]["steps"] * r["batch"] * r["model"].get("context", 1) for r in recipes})
    counts = [count for model in (models[0], models[-1]) if (count := parameter_count(model)) is not None]
    digest = f"SHA-256 {studies[0].study.corpus[:16]}"
    seeds = sorted({cell.seed for one in studies for cell in one.study.cells})
    here = {
        "model": _model(models[0]),
        "vocabulary": f"{models[0].get('vocabulary', BYTES):,} tokens"
        + ("" if "vocabulary" in models[0] else ", bytes"),
        "widths": _listed(sorted({model["width"] for model in models})),
        "parameters": " to ".join(f"{count:,}" for count in dict.fromkeys(counts)),
        "text": digest if text is None else f"{text} ({digest})",
        "batch": f"{first['batch']} sequences",
        "steps": _listed(sorted({recipe["schedule"]["steps"] for recipe in recipes})),
        "tokens a model": " to ".join(f"{count:.3g}" for count in dict.fromkeys((tokens[0], tokens[-1]))),
        "precision": str(first.get("precision", "")),
        "held-out loss": f"{first.get('validation_windows', 0)} windows of the context's length",
        "seeds": _listed(seeds) + ": where rates are swept the first searches, all train at the best rate",
    }
    if models[0].get("kind") == "own":
        here |= dict.fromkeys(
            ("vocabulary", "parameters", "text", "tokens a model", "held-out loss"), UNKNOWN
        )
        here["batch"] = f"{first['batch']}"
    return [(what, PAPER[what], here[what]) for what in PAPER]


def _samples(study: StoredStudy) -> list[Any]:
    """A trial of every arm and width."""
    trials = {(cell.arm, cell.width): cell.trial for cell in study.cells}
    return [study.trials[trial] for trial in dict.fromkeys(trials.values())]


def _model(model: Mapping[str, Any]) -> str:
    if model.get("kind") == "own":
        return f"that of {model['runner']}, version {model['version']}"
    if model.get("kind") != "transformer":
        return str(model.get("kind"))
    blocks = f"{model['depth']} block{'s' * (model['depth'] > 1)}"
    return (
        f"decoder-only Transformer, {blocks}, head dimension {model['head_dim']}, context {model['context']}"
    )


def _listed(values: Sequence[int]) -> str:
    return ", ".join(f"{value:,}" for value in values)


def progress_rows(studies: Sequence[LabelledStudy]) -> list[tuple[str, ...]]:
    """A row a study: its prescriptions, those that have finished all their widths, how its trials ended, and hours."""
    rows: list[tuple[str, ...]] = []
    for one in studies:
        study = one.study
        begun = {arm for arm, _ in unfinished(study)}
        ends = Counter(trial.status.value for trial in study.trials.values())
        hours = sum(population.seconds or 0.0 for population in study.populations) / 3600
        trials = ", ".join(f"{ends[status]:,} {status}" for status in sorted(ends))
        done = f"{len(study.arms) - len(begun)} of {len(study.arms)}"
        rows.append((study.name, done, trials, f"{hours:.2f}", _devices(study)))
    return rows


PROGRESS_HEAD = ("study", "prescriptions finished", "trials", "hours of training", "on")


def _devices(study: StoredStudy) -> str:
    return ", ".join(dict.fromkeys(facts["device"] for facts in study.hosts if "device" in facts))


def unfinished_line(studies: Sequence[LabelledStudy]) -> str:
    """Which prescriptions are not finished; empty if all are."""
    waiting: dict[int, list[str]] = {}
    for one in studies:
        for arm, width in sorted(unfinished(one.study)):
            waiting.setdefault(width, []).append(arm)
    lines = [f"* width {width:,}: {', '.join(waiting[width])}" for width in sorted(waiting)]
    return "\n".join(["Not finished:", "", *lines]) if lines else ""
