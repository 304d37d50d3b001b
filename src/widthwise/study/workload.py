"""How much work a population is, for the time that is left: tokens times parameters."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from widthwise.records import PopulationStatus, StoredStudy
from widthwise.study.own_spec import OWN
from widthwise.study.recipe import Recipe, canonical_json

if TYPE_CHECKING:
    from widthwise.train import Recipe as TrainRecipe


@dataclass(frozen=True)
class Workload:
    """The size of one population: `tokens` over all members and steps, `work` in tokens times parameters."""

    width: int
    members: int
    steps: int
    tokens: int
    work: float


def workloads(study: StoredStudy) -> Mapping[int, Workload]:
    """The workload of every population that was not split, by its id (imports torch for the models' shapes)."""
    from widthwise.study.runner import train_recipe

    loads: dict[int, Workload] = {}
    alone: dict[
        str, Workload
    ] = {}  # one member of a shape: a large study has many populations and few shapes
    for population in study.populations:
        if population.status is PopulationStatus.SPLIT:
            continue
        stored = json.loads(study.trials[population.trials[0]].recipe)
        if stored["model"]["kind"] == OWN:
            loads[population.id] = _own(stored)
            continue
        shape = canonical_json({key: stored[key] for key in ("model", "schedule", "batch")})
        if shape not in alone:
            alone[shape] = _alone(train_recipe(stored))
        one, members = alone[shape], len(population.trials)
        loads[population.id] = replace(
            one, members=members, tokens=members * one.tokens, work=members * one.work
        )
    return loads


def _alone(recipe: "TrainRecipe") -> Workload:
    tokens = recipe.schedule.steps * recipe.batch * recipe.model.context
    return Workload(
        width=recipe.model.width,
        members=1,
        steps=recipe.schedule.steps,
        tokens=tokens,
        work=float(tokens) * recipe.model.parameter_count,
    )


def _own(recipe: Recipe) -> Workload:
    """Of one trial of a user's own function, whose tokens nobody knows: steps times the width squared."""
    width, steps = recipe["model"]["width"], recipe["schedule"]["steps"]
    return Workload(width=width, members=1, steps=steps, tokens=0, work=float(steps) * width**2)
