"""What a study measured of alignment, arm by arm: the runs at each width's best rate, as ratios and as exponents."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from widthwise.analysis import (
    AlignmentExponent,
    AlignmentRatio,
    AlignmentRow,
    Pool,
    alignment_exponents,
    alignment_ratios,
    over_training,
)
from widthwise.records import AlignmentPoint, BestRuns, LayerRow, StoredStudy, best_runs
from widthwise.theory import SOLVER_QUANTITIES, Role

LEAST_WIDTHS = 3
Points = Mapping[int, Sequence[AlignmentPoint]]
Curves = Mapping[int, Sequence[tuple[int, float]]]


@dataclass(frozen=True)
class Alignments:
    """Ratios at every width, and exponents over the widths; no exponents where there are fewer than three."""

    ratios: tuple[AlignmentRatio, ...] = ()
    exponents: tuple[AlignmentExponent, ...] = ()


@dataclass(frozen=True)
class ArmAlignment:
    """The alignment of one prescription, pooled by role.

    Args:
        rates: width -> the learning rate whose runs these are.
        steps: at every step that was measured; exponents at those that every width has.
        mean: over training, each run weighed by how its loss fell.
        missing: why there are no exponents or no means; empty if there are.
    """

    prescription: str
    rates: Mapping[int, float]
    steps: Alignments
    mean: Alignments
    missing: str


def arm_alignments(
    study: StoredStudy, layers: Sequence[LayerRow], points: Points, curves: Curves
) -> tuple[ArmAlignment, ...]:
    """The alignment of every arm whose runs at the best rate were measured, in the study's order.

    Args:
        layers, points, curves: as `records` reads them.
    """
    if not points:
        return ()
    found: list[ArmAlignment] = []
    for arm in study.arms:
        runs = _measured_runs(study, arm.name, points)
        if runs:
            found.append(_arm(arm.name, runs, _rows(runs, points, layers), curves))
    return tuple(found)


def measured_rows(
    study: StoredStudy, layers: Sequence[LayerRow], points: Points
) -> Mapping[str, tuple[AlignmentRow, ...]]:
    """Arm -> every measurement of its runs at the best rates, progress in steps; arms without any are absent.

    Args:
        layers, points: as `records` reads them.
    """
    runs = {arm.name: _measured_runs(study, arm.name, points) for arm in study.arms} if points else {}
    return {name: tuple(_rows(found, points, layers)) for name, found in runs.items() if found}


def _measured_runs(study: StoredStudy, arm: str, points: Points) -> list[BestRuns]:
    return [one for one in best_runs(study, arm) if all(t in points for t in one.trials.values())]


def _arm(name: str, runs: Sequence[BestRuns], rows: list[AlignmentRow], curves: Curves) -> ArmAlignment:
    missing: list[str] = []
    if len(runs) < LEAST_WIDTHS:
        missing.append(f"an exponent needs {LEAST_WIDTHS} widths, and there are {len(runs)}")
    losses = {(one.width, seed): curves.get(id_, ()) for one in runs for seed, id_ in one.trials.items()}
    means: tuple[AlignmentRow, ...] = ()
    try:
        means = over_training(rows, losses)
    except ValueError as error:
        missing.append(f"no mean over training: {error}")
    shared = set.intersection(*({row.progress for row in rows if row.width == one.width} for one in runs))
    return ArmAlignment(
        prescription=name,
        rates={one.width: one.learning_rate for one in runs},
        steps=Alignments(
            alignment_ratios(rows), _exponents([row for row in rows if row.progress in shared], runs)
        ),
        mean=Alignments(alignment_ratios(means), _exponents(means, runs)),
        missing="; ".join(missing),
    )


def _exponents(rows: Sequence[AlignmentRow], runs: Sequence[BestRuns]) -> tuple[AlignmentExponent, ...]:
    return alignment_exponents(rows, pool=Pool.ROLE) if len(runs) >= LEAST_WIDTHS else ()


def _rows(runs: Sequence[BestRuns], points: Points, layers: Sequence[LayerRow]) -> list[AlignmentRow]:
    """Every measurement of these runs, its progress in steps."""
    facts = {(layer.width, layer.name): layer for layer in layers}
    return [
        AlignmentRow(
            width=one.width,
            seed=seed,
            layer=point.layer,
            role=Role(facts[one.width, point.layer].role),
            quantity=quantity,
            progress=point.step,
            log_gain=math.nan if (value := getattr(point, quantity.value)) is None else value,
            fan_in=facts[one.width, point.layer].fan_in,
        )
        for one in runs
        for seed, trial in one.trials.items()
        for point in points[trial]
        for quantity in SOLVER_QUANTITIES
    ]
