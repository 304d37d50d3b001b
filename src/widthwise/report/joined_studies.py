"""Several stores of one model, text and training, as one table: what each has finished, under names of their own."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from widthwise.analysis import AlignmentRow, ArmLabel, Observation
from widthwise.records import StoredStudy
from widthwise.report.from_store import predictions, whole_observations

_SAME = ("corpus", "batch", "precision", "validation_windows", "divergence")


@dataclass(frozen=True)
class LabelledStudy:
    """A store and what its prescriptions are made of.

    Args:
        labels: of every prescription, finished or not.
        epsilon: Adam's where a label says no number.
        alignment: prescription -> what was measured in its runs at the best rates.
    """

    study: StoredStudy
    labels: Mapping[str, ArmLabel]
    epsilon: float | None = None
    alignment: Mapping[str, tuple[AlignmentRow, ...]] = field(
        default_factory=dict[str, tuple[AlignmentRow, ...]]
    )


@dataclass(frozen=True)
class JoinedStudies:
    """One table of them all.

    Args:
        observations: of the prescriptions that are finished at all of their widths.
        labels: of all prescriptions.
        predictions: theory's exponents of all prescriptions.
        alignment: what was measured of the finished ones.
    """

    name: str
    observations: tuple[Observation, ...]
    labels: Mapping[str, ArmLabel]
    predictions: Mapping[str, Mapping[str, str]]
    epsilon: float | None
    alignment: Mapping[str, tuple[AlignmentRow, ...]]


def join_studies(studies: Sequence[LabelledStudy]) -> JoinedStudies:
    """Put the finished prescriptions of stores into one table.

    Of a setting that several have finished, the first one's runs count. A name that an earlier study has already gets
    its study's name behind it.

    Raises:
        ValueError: two studies of different models, texts or training, or nothing finished in any.
    """
    for other in studies[1:]:
        _require_alike(studies[0], other)
    observations: list[Observation] = []
    labels: dict[str, ArmLabel] = {}
    theory: dict[str, Mapping[str, str]] = {}
    alignment: dict[str, tuple[AlignmentRow, ...]] = {}
    for one in studies:
        whole = whole_observations(one.study)
        finished = {o.prescription for o in whole}
        taken = {labels[o.prescription] for o in observations}
        dropped = {arm for arm in finished if one.labels[arm] in taken}
        names = {arm: arm if arm not in labels else f"{arm} ({one.study.name})" for arm in one.labels}
        observations += [_renamed(o, names[o.prescription]) for o in whole if o.prescription not in dropped]
        for arm, predicted in predictions(one.study).items():
            if arm not in dropped:
                labels[names[arm]] = one.labels[arm]
                theory[names[arm]] = predicted
        alignment |= {names[a]: rows for a, rows in one.alignment.items() if a in finished - dropped}
    if not observations:
        listed = ", ".join(repr(one.study.name) for one in studies)
        raise ValueError(
            f"{listed}: no prescription has finished all of its widths, two or more; `widthwise study resume` goes on "
            "with a study"
        )
    name = ", ".join(dict.fromkeys(one.study.name for one in studies))
    return JoinedStudies(name, tuple(observations), labels, theory, studies[0].epsilon, alignment)


def _renamed(observation: Observation, name: str) -> Observation:
    return observation if observation.prescription == name else replace(observation, prescription=name)


def _require_alike(first: LabelledStudy, second: LabelledStudy) -> None:
    facts, others = _facts(first), _facts(second)
    unlike = [
        f"{field} {facts[field]} and {others[field]}" for field in facts if facts[field] != others[field]
    ]
    if unlike:
        raise ValueError(
            f"studies {first.study.name!r} and {second.study.name!r} are not to be compared: they have "
            f"{'; '.join(unlike)}. Judge each by itself"
        )


def _facts(one: LabelledStudy) -> dict[str, Any]:
    """What every trial has in common, and the steps of its fixed horizons."""
    study = one.study
    recipe = json.loads(next(iter(study.trials.values())).recipe)
    model = {field: value for field, value in recipe.get("model", {}).items() if field != "width"}
    fixed = {arm for arm, label in one.labels.items() if label.horizon == "fixed"}
    trials = {cell.arm: cell.trial for cell in study.cells if cell.arm in fixed}
    steps = {json.loads(study.trials[trial].recipe)["schedule"]["steps"] for trial in trials.values()}
    common = {field: recipe.get(field) for field in _SAME}
    return {
        "base width": study.base_width,
        "model": model,
        **common,
        "steps": sorted(steps),
        "epsilon": one.epsilon,
    }
