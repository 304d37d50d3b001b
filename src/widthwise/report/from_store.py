"""From a study's store to the values that the analysis and the page take."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from widthwise.analysis import MARGIN, ArmLabel, FittedTable, Observation, TransferResult, fit_table, transfer
from widthwise.records import (
    CellRow,
    StoredStudy,
    TrialRow,
    TrialStatus,
    read_alignment,
    read_curves,
    read_layers,
    read_study,
    unfinished,
)
from widthwise.report.alignment_series import arm_alignments
from widthwise.report.cost_table import cost_page_table
from widthwise.report.model_size import BYTES, parameter_count
from widthwise.report.page_data import PageData, TrainingCurve
from widthwise.report.page_table import PageTable
from widthwise.report.paper_tables import (
    evaluation_page_table,
    metrics_page_table,
    sensitivity_page_table,
)

MOST_CURVES = 2000
"""So many curves are read at most; a figure draws fewer still."""
MOST_FAILURES = 200
"""So many trials that diverged or failed have a line of their own."""


def observations(study: StoredStudy) -> tuple[Observation, ...]:
    """The runs of every width that an arm has finished, for arms that have finished two: the rest is no result yet.

    A width whose rates are still being planned is not finished, though all of its trials have ended.

    Optimizers scatter differently, so each is a group of its own; arms that share a run share its optimizer.

    Raises:
        ValueError: no arm has finished two widths.
    """
    pending = unfinished(study)
    finished = {(c.arm, c.width) for c in study.cells} - pending
    widths = Counter(arm for arm, _ in finished)
    if pending and not any(count > 1 for count in widths.values()):
        raise ValueError(
            f"study {study.name!r} has finished no two widths of a prescription yet; "
            "`widthwise study resume` goes on with it"
        )
    kept = {(arm, width) for arm, width in finished if widths[arm] > 1 or not pending}
    return tuple(_observations(study, kept))


def whole_observations(study: StoredStudy) -> tuple[Observation, ...]:
    """The runs of the arms that have finished every one of their widths, two or more; none if no arm has.

    Nothing that a judgement takes from them changes as the study goes on, but the noise that is pooled with others.
    """
    cells = {(cell.arm, cell.width) for cell in study.cells}
    begun = {arm for arm, _ in unfinished(study)}
    widths = Counter(arm for arm, _ in cells)
    return tuple(_observations(study, {(a, w) for a, w in cells if a not in begun and widths[a] > 1}))


def _observations(study: StoredStudy, kept: Set[tuple[str, int]]) -> Iterator[Observation]:
    optimizers = {arm.name: arm.optimizer for arm in study.arms}
    for cell in study.cells:
        if (cell.arm, cell.width) in kept:
            trial = study.trials[cell.trial]
            yield Observation(
                prescription=cell.arm,
                width=cell.width,
                rate=cell.learning_rate,
                seed=cell.seed,
                loss=trial.validation_loss,
                run=trial.identity,
                group=optimizers[cell.arm],
            )


def predictions(study: StoredStudy) -> Mapping[str, Mapping[str, str]]:
    """Theory's exponent of the best rate, per arm and alignment assumption."""
    return {
        arm.name: {"full alignment": arm.predicted_full, "no alignment": arm.predicted_none}
        for arm in study.arms
    }


def study_transfer(study: StoredStudy, *, margin: float = MARGIN) -> TransferResult:
    """The analysis of a study's finished widths.

    The rate that is kept is the best one of the study's base width, or of its smallest width if the base width was not
    trained.

    Args:
        margin: the relative loss below which giving it up counts as transfer.

    Raises:
        ValueError: too little in it to analyse.
    """
    seen = observations(study)
    return _analyse(study, seen, fit_table(seen), margin)


def study_page_data(
    store: Path | str, *, margin: float = MARGIN, labels: Mapping[str, ArmLabel] | None = None
) -> PageData:
    """Read a store, analyse it as `study_transfer` does, and gather what its page shows.

    Args:
        store: the file.
        margin: the relative loss below which giving it up counts as transfer.
        labels: what each prescription is made of, where it is known.

    Raises:
        ValueError: not a store, or too little in it to analyse.
    """
    study = read_study(store)
    seen = observations(study)
    table = fit_table(seen)
    layers = read_layers(store)
    return PageData(
        title=study.name,
        observations=seen,
        analysis=_analyse(study, seen, table, margin),
        predictions=predictions(study),
        standing=standing(study),
        counts=Counter(trial.status.value for trial in study.trials.values()),
        curves=_curves(store, study),
        curve_count=len(study.cells),
        spec=study.spec,
        machine=study.hosts[-1] if study.hosts else {},
        failures=_failures(study),
        labels=labels or {},
        parameters=_parameters(study),
        tables=_tables(study, table, labels or {}),
        alignment=arm_alignments(study, layers, read_alignment(store), read_curves(store)) if layers else (),
    )


def _analyse(
    study: StoredStudy, seen: tuple[Observation, ...], table: FittedTable, margin: float
) -> TransferResult:
    result = transfer(table, base_width=kept_width(study, seen), margin=margin)
    return replace(result, notes=(*result.notes, *_sweep_notes(study)))


def standing(study: StoredStudy) -> str:
    """How far a study has come that has not ended, and what is judged meanwhile; empty for one that has."""
    begun = {arm for arm, _ in unfinished(study)}
    if not begun:
        return ""
    arms = {cell.arm for cell in study.cells}
    judged = len({seen.prescription for seen in observations(study)} & begun)
    return (
        f"The study has not ended: {len(arms - begun)} of {len(arms)} prescriptions have finished all of their widths; "
        f"{judged} more are judged by the widths that they have finished."
    )


def _sweep_notes(study: StoredStudy) -> list[str]:
    """What the reader must know of planned rates: which are still planned, and which searches ended otherwise."""
    notes = [
        f"{row.arm}, width {row.width}: its sweep ended as {row.outcome!r}: {row.reason}."
        for row in study.sweeps
        if row.done and row.outcome not in (None, "bracketed")
    ]
    going_on = [f"{row.arm} ({row.width})" for row in study.sweeps if not row.done]
    if going_on:
        listed = ", ".join(going_on[:5]) + (f" and {len(going_on) - 5} more" if len(going_on) > 5 else "")
        notes.append(f"Rates are still being planned, and left out here: {listed}.")
    return notes


def _models(study: StoredStudy) -> Mapping[int, Mapping[str, Any]]:
    """The recipe's model at every width."""
    trials = {cell.width: cell.trial for cell in study.cells}
    return {width: json.loads(study.trials[trial].recipe)["model"] for width, trial in sorted(trials.items())}


def _parameters(study: StoredStudy) -> Mapping[int, int]:
    counts = {width: parameter_count(model) for width, model in _models(study).items()}
    return {width: count for width, count in counts.items() if count is not None}


def _tables(study: StoredStudy, table: FittedTable, labels: Mapping[str, ArmLabel]) -> tuple[PageTable, ...]:
    start = initial_loss(study)
    found = (
        evaluation_page_table(table, labels, published=start is not None),
        metrics_page_table(table),
        sensitivity_page_table(table, start),
        cost_page_table(study),
    )
    return tuple(one for one in found if one is not None)


def initial_loss(study: StoredStudy) -> float | None:
    """ln V, the loss of a model that knows nothing; None where models are the user's own.

    The store keeps no loss at initialization; the reference models' is ln V up to the spread of their first logits.
    """
    models = _models(study).values()
    if any(parameter_count(model) is None for model in models):
        return None
    return max(math.log(model.get("vocabulary", BYTES)) for model in models)


def kept_width(study: StoredStudy, seen: tuple[Observation, ...]) -> int | None:
    """The width whose best rate is kept: the base width if every arm has it and a larger one; else None, each's own."""
    widths: dict[str, set[int]] = {}
    for observation in seen:
        widths.setdefault(observation.prescription, set()).add(observation.width)
    known = all(study.base_width in found and study.base_width < max(found) for found in widths.values())
    return study.base_width if known else None


def _curves(store: Path | str, study: StoredStudy) -> tuple[TrainingCurve, ...]:
    """The curves of every run, or of so many that a figure can choose among them: whole seeds, the first ones."""
    seeds = Counter(cell.seed for cell in study.cells)
    kept, count = set[int](), 0
    for seed in sorted(seeds):
        if count and count + seeds[seed] > MOST_CURVES:
            break
        kept, count = kept | {seed}, count + seeds[seed]
    cells = [cell for cell in study.cells if cell.seed in kept]
    step = max(1, math.ceil(len(cells) / MOST_CURVES))
    cells = cells[::step]
    points = read_curves(
        store, trials={cell.trial for cell in cells} if len(cells) < len(study.cells) else None
    )
    return tuple(
        TrainingCurve(
            prescription=cell.arm,
            width=cell.width,
            rate=cell.learning_rate,
            seed=cell.seed,
            steps=tuple(step for step, _ in points[cell.trial]),
            losses=tuple(loss for _, loss in points[cell.trial]),
        )
        for cell in cells
        if cell.trial in points
    )


def _failures(study: StoredStudy) -> tuple[str, ...]:
    """A line for each, failed trials before diverged ones, and one that counts those that are left out."""
    cells: dict[int, list[CellRow]] = {}
    for cell in study.cells:
        cells.setdefault(cell.trial, []).append(cell)
    ended = [trial for trial in study.trials.values() if trial.reason is not None]
    if len(ended) > MOST_FAILURES:
        ended.sort(key=lambda trial: trial.status is not TrialStatus.FAILED)
    lines = [_failure(trial, cells[trial.id]) for trial in ended[:MOST_FAILURES]]
    rest = len(ended) - len(lines)
    return (*lines, f"and {rest} more, which `widthwise study export` lists") if rest else tuple(lines)


def _failure(trial: TrialRow, cells: list[CellRow]) -> str:
    arms, first = ", ".join(cell.arm for cell in cells), cells[0]
    where = "" if trial.step is None else f" at step {trial.step}"
    return (
        f"{arms}, width {first.width}, rate {first.learning_rate:.3g}, seed {first.seed}: "
        f"{trial.status.value}{where}, {trial.reason}"
    )
