"""What a study measured of alignment, over training: the runs of one arm at each width's best rate, all their seeds."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from widthwise.records import (
    StoredStudy,
    best_runs,
    read_alignment,
    read_curves,
    read_layers,
    read_study,
    unfinished,
)
from widthwise.study.arms import RULES
from widthwise.theory import PARAMETERIZATIONS, SOLVER_QUANTITIES, OptimizerRule, Parameterization, Role

if TYPE_CHECKING:
    from widthwise.analysis import AlignmentRow

LEAST_WIDTHS = 3
Run = tuple[int, int]
"""Width and seed."""


@dataclass(frozen=True)
class MeasuredSeries:
    """Log gains over training.

    Args:
        rates: width -> the learning rate whose runs these are.
        seeds: of the runs.
        rows: every measurement; progress is the fraction of training done.
        losses: each run's training curve, (progress, loss).
    """

    arm: str
    parameterization: Parameterization
    optimizer: OptimizerRule
    rates: Mapping[int, float]
    seeds: tuple[int, ...]
    rows: "tuple[AlignmentRow, ...]"
    losses: Mapping[Run, tuple[tuple[float, float], ...]]


def measured_series(store: Path, *, arm: str | None = None) -> MeasuredSeries:
    """Read what a store holds of an arm.

    Args:
        store: of a study with `measure: {alignment: ...}`, at three widths or more.
        arm: whose runs; left out, the only one.

    Raises:
        ValueError: not a store, nothing measured, no such arm, a width that is not finished or has no rate that
            trained, or fewer than three widths.
    """
    study = read_study(store)
    try:
        return _series(store, study, _arm(study, arm))
    except ValueError as error:
        raise ValueError(f"store {str(store)!r}: {error}") from error


def _series(store: Path, study: StoredStudy, arm: str) -> MeasuredSeries:
    rates, runs = _best_runs(study, arm)
    recipes = {trial: json.loads(study.trials[trial].recipe) for trial in runs}
    rows = tuple(_rows(store, runs, recipes))
    _check_widths(arm, sorted({row.width for row in rows}), sorted(rates))
    curves = read_curves(store, trials=runs)
    row = next(row for row in study.arms if row.name == arm)
    return MeasuredSeries(
        arm=arm,
        parameterization=PARAMETERIZATIONS[row.parameterization],
        optimizer=RULES[row.optimizer],
        rates=rates,
        seeds=tuple(sorted({seed for _, seed in runs.values()})),
        rows=rows,
        losses={
            run: tuple((step / _steps(recipes[trial]), loss) for step, loss in curves.get(trial, ()))
            for trial, run in runs.items()
        },
    )


def _arm(study: StoredStudy, arm: str | None) -> str:
    names = [row.name for row in study.arms]
    if arm is None and len(names) > 1:
        raise ValueError(
            f"it has the arms {names}; say which one's alignment, --arm NAME (in a specification, arm: NAME)"
        )
    if arm is not None and arm not in names:
        raise ValueError(f"it has no arm {arm!r}; it has {names}")
    return names[0] if arm is None else arm


def _best_runs(study: StoredStudy, arm: str) -> tuple[dict[int, float], dict[int, Run]]:
    """Each width's best rate, and the trials there: id -> (width, seed)."""
    waiting = sorted(width for name, width in unfinished(study) if name == arm)
    if waiting:
        raise ValueError(
            f"arm {arm!r} has not finished width {waiting[0]}, whose best rate may yet be another; "
            "`widthwise study resume` goes on with it"
        )
    found = best_runs(study, arm)
    lacking = {cell.width for cell in study.cells if cell.arm == arm} - {one.width for one in found}
    if lacking:
        raise ValueError(
            f"arm {arm!r} has no learning rate at width {min(lacking)} that trained to its end with every seed; finish "
            "the study, or give it lower rates"
        )
    rates = {one.width: one.learning_rate for one in found}
    return rates, {trial: (one.width, seed) for one in found for seed, trial in one.trials.items()}


def _steps(recipe: Mapping[str, Any]) -> int:
    return recipe["schedule"]["steps"]


def _rows(
    store: Path, runs: Mapping[int, Run], recipes: Mapping[int, Mapping[str, Any]]
) -> "Iterator[AlignmentRow]":
    """Every measurement of these runs; what is undefined is NaN."""
    from widthwise.analysis import AlignmentRow

    layers = {(layer.width, layer.name): layer for layer in read_layers(store)}
    for trial, points in read_alignment(store, trials=runs).items():
        width, seed = runs[trial]
        for point in points:
            layer = layers[width, point.layer]
            role = Role(layer.role)
            for quantity in SOLVER_QUANTITIES:
                value = getattr(point, quantity)
                yield AlignmentRow(
                    width=width,
                    seed=seed,
                    layer=point.layer,
                    role=role,
                    quantity=quantity,
                    progress=point.step / _steps(recipes[trial]),
                    log_gain=math.nan if value is None else value,
                    fan_in=layer.fan_in,
                )


def _check_widths(arm: str, measured: list[int], widths: list[int]) -> None:
    if not measured:
        raise ValueError(
            f"no alignment was measured under arm {arm!r}; run the study with `measure: {{alignment: every 50 steps}}`"
        )
    if len(measured) < LEAST_WIDTHS:
        raise ValueError(
            f"alignment was measured at {len(measured)} width(s) {measured} of {widths}; a ratio at one width is no "
            f"exponent, and a slope needs {LEAST_WIDTHS} widths or more"
        )
