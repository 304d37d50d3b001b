"""The search for constants at the base width, decided from a store: what to try next, and what was found.

One search for each parameterization and optimizer of a specification: at the base width no prescription changes a rate,
so that all of them share it. It begins with the specification's rates at constants of 1; the best of them is the base
rate of all proposals, and each of them is told as a point on the diagonal. Proposals come in batches that fill
populations of all searches together. When a range has had its trials and the optimum lies near one of its ends, the
range is put around the optimum and searched again.

Source: Everett et al. 2024 (arXiv 2407.05872), C.4, as its readers quote it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from widthwise.records import CellRow, ProposalRow, StoredStudy, TrialStatus
from widthwise.scaling import RateConstants
from widthwise.study.arm_spec import ArmSpec, ConstantsSpec
from widthwise.study.proposals import (
    MOST_PHASES,
    ROLES,
    Ranges,
    Tried,
    as_tuple,
    best_of,
    inside,
    propose,
    recentred,
)
from widthwise.study.rate_spec import RateList
from widthwise.study.spec import StudySpec

NEAR = 0.005
"""Nats above the best loss within which constants count as near-optimal: two to three times the noise of a seed."""
BATCHES = 8
"""In how many batches the trials of a range are proposed, unless the specification asks for smaller ones."""


@dataclass(frozen=True)
class FoundConstants:
    """The result of one search.

    Args:
        arm: the search's name, `optimizer-parameterization`.
        learning_rate: the base rate that the constants multiply.
        constants: the best of those tried, defaults included.
        loss: theirs.
        default_loss: the best with constants of 1.
        tried, diverged: how many proposals have ended, and how many of them diverged.
        near: the lowest and highest of each role among those within `NEAR` of the best loss.
        at_edge: the roles whose constant still lies near an end of its range.
    """

    arm: str
    parameterization: str
    optimizer: str
    learning_rate: float
    constants: RateConstants
    loss: float
    default_loss: float
    tried: int
    diverged: int
    near: Ranges
    at_edge: tuple[str, ...]


@dataclass(frozen=True)
class _Search:
    """Where one search stands: its base rate, its trials in order, the ranges and phase it has come to."""

    arm: str
    learning_rate: float
    history: tuple[Tried, ...]
    ranges: Ranges
    phase: int
    in_phase: int


def search_spec(spec: StudySpec) -> StudySpec:
    """The study that a search begins with: every search as an arm, at the base width, with constants of 1.

    Searched are the parameterizations and optimizers of the arms whose constants are `searched`; of all, if none is.
    """
    asked = [part for part in spec.arms if any(choice.searched for choice in part.constants)] or spec.arms
    arms: dict[str, ArmSpec] = {}
    for part in asked:
        optimizer = part.optimizer or spec.optimizer
        rates = (part.learning_rates or spec.learning_rates).rates()
        for parameterization in part.parameterization:
            name = f"{optimizer.kind}-{parameterization}"
            update = {
                "parameterization": (parameterization,),
                "rates": part.rates[:1],
                "name": name,
                "constants": (ConstantsSpec(name="default"),),
                "epsilon": None,
                "horizon": None if part.horizon is None else part.horizon[:1],
                "widths": None,
                "learning_rates": RateList(values=rates),
            }
            arms.setdefault(name, part.model_copy(update=update))
    update = {"arms": tuple(arms.values()), "widths": (spec.base,), "base_width": spec.base}
    return spec.model_copy(update={**update, "seeds": spec.seeds[:1], "measure": None})


def next_proposals(study: StoredStudy, spec: StudySpec, *, trials: int) -> list[ProposalRow]:
    """The next batch of every search that goes on, when nothing is pending; their `trial` is yet to be known.

    Args:
        spec: the specification searched for.
        trials: of each range.
    """
    asked = spec.constants_search
    batch = min(asked.batch, max(1, -(-trials // BATCHES)))
    rows: list[ProposalRow] = []
    for search in _searches(study, spec, trials):
        count = min(batch, trials - search.in_phase)
        if count <= 0:
            continue
        first = 1 + sum(row.arm == search.arm for row in study.proposals)
        found = propose(search.history, search.ranges, count=count, seed=spec.seeds[0])
        rows += [
            ProposalRow(search.arm, number, search.phase, *as_tuple(constants), search.learning_rate, trial=0)
            for number, constants in enumerate(found, start=first)
        ]
    return rows


def proposal_spec(spec: StudySpec, rows: Sequence[ProposalRow]) -> StudySpec:
    """The study whose arms are these proposals, in order: what their trials are resolved from."""
    begun = search_spec(spec)
    arms = {part.name: part for part in begun.arms}
    proposed = [
        arms[row.arm].model_copy(
            update={
                "name": f"{row.arm}-{row.number}",
                "constants": (
                    ConstantsSpec(
                        name="proposed", embedding=row.embedding, hidden=row.hidden, readout=row.readout
                    ),
                ),
                "learning_rates": RateList(values=(row.learning_rate,)),
            }
        )
        for row in rows
    ]
    return begun.model_copy(update={"arms": tuple(proposed)})


def found_constants(study: StoredStudy, spec: StudySpec) -> tuple[FoundConstants, ...]:
    """What each search has found so far; one in which nothing trained is absent."""
    arms = {arm.name: arm for arm in study.arms}
    found: list[FoundConstants] = []
    for search in _searches(study, spec):
        best = best_of([tried for tried in search.history if inside(tried.constants, search.ranges)])
        default = best_of(_on_diagonal(study, search.arm, search.learning_rate))
        assert best is not None
        assert default is not None
        assert best.loss is not None
        assert default.loss is not None
        close = [
            as_tuple(t.constants) for t in search.history if t.loss is not None and t.loss <= best.loss + NEAR
        ]
        moved = recentred(search.ranges, best.constants)
        rows = [row for row in study.proposals if row.arm == search.arm]
        ended = [study.trials[row.trial].status for row in rows]
        found.append(
            FoundConstants(
                arm=search.arm,
                parameterization=arms[search.arm].parameterization,
                optimizer=arms[search.arm].optimizer,
                learning_rate=search.learning_rate,
                constants=best.constants,
                loss=best.loss,
                default_loss=default.loss,
                tried=sum(status is not TrialStatus.PENDING for status in ended),
                diverged=sum(status is TrialStatus.DIVERGED for status in ended),
                near=_extremes(close),
                at_edge=tuple(
                    role
                    for role, old, new in zip(ROLES, search.ranges, moved or search.ranges, strict=True)
                    if old != new
                ),
            )
        )
    return tuple(found)


def _extremes(triples: Sequence[tuple[float, float, float]]) -> Ranges:
    lows, highs = (tuple(pick(column) for column in zip(*triples, strict=True)) for pick in (min, max))
    first, second, third = zip(lows, highs, strict=True)
    return first, second, third


def _on_diagonal(study: StoredStudy, arm: str, learning_rate: float) -> list[Tried]:
    """The rates at constants of 1, as constants at one base rate."""
    cells = [cell for cell in study.cells if cell.arm == arm]
    factors = [(cell.learning_rate / learning_rate, _loss(study, cell.trial)) for cell in cells]
    return [Tried(RateConstants(factor, factor, factor), loss) for factor, loss in factors]


def _loss(study: StoredStudy, trial: int) -> float | None:
    return study.trials[trial].validation_loss


def _base_rate(study: StoredStudy, arm: str) -> float | None:
    """The best rate at constants of 1; None if none trained, or some are yet to."""
    cells: list[tuple[float, CellRow]] = []
    for cell in study.cells:
        if cell.arm == arm:
            if study.trials[cell.trial].status is TrialStatus.PENDING:
                return None
            if (loss := _loss(study, cell.trial)) is not None:
                cells.append((loss, cell))
    return min(cells, key=lambda pair: (pair[0], pair[1].learning_rate))[1].learning_rate if cells else None


def _searches(study: StoredStudy, spec: StudySpec, trials: int | None = None) -> Iterator[_Search]:
    """Every search that has a base rate, with the phase that it has come to.

    Args:
        trials: of each range; None to stay where the proposals so far are.
    """
    asked = spec.constants_search
    whole = (asked.lowest, asked.highest)
    for arm in study.arms:
        rate = _base_rate(study, arm.name)
        if rate is None:
            continue
        history = _on_diagonal(study, arm.name, rate)
        ranges: Ranges = (whole, whole, whole)
        mine = [row for row in study.proposals if row.arm == arm.name]
        for phase in range(MOST_PHASES):
            rows = [row for row in mine if row.phase == phase]
            ended = [row for row in rows if study.trials[row.trial].status is not TrialStatus.PENDING]
            history += [
                Tried(RateConstants(row.embedding, row.hidden, row.readout), _loss(study, row.trial))
                for row in ended
            ]
            best = best_of([tried for tried in history if inside(tried.constants, ranges)])
            moved = recentred(ranges, best.constants) if best is not None else None
            if trials is None:
                goes_on = any(row.phase > phase for row in mine)
            else:
                goes_on = len(ended) >= trials and phase < MOST_PHASES - 1
            if moved is None or not goes_on:
                yield _Search(arm.name, rate, tuple(history), ranges, phase, len(rows))
                break
            ranges = moved
