"""How much work a population is, for the time that is left: tokens times parameters."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from widthwise.records import PopulationStatus, StoredStudy
from widthwise.study.own_spec import OWN
from widthwise.study.recipe import Recipe


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
    for population in study.populations:
        if population.status is PopulationStatus.SPLIT:
            continue
        stored = json.loads(study.trials[population.trials[0]].recipe)
        if stored["model"]["kind"] == OWN:
            loads[population.id] = _own(stored)
            continue
        recipe = train_recipe(stored)
        members = len(population.trials)
        tokens = members * recipe.schedule.steps * recipe.batch * recipe.model.context
        loads[population.id] = Workload(
            width=recipe.model.width,
            members=members,
            steps=recipe.schedule.steps,
            tokens=tokens,
            work=float(tokens) * recipe.model.parameter_count,
        )
    return loads


def _own(recipe: Recipe) -> Workload:
    """Of one trial of a user's own function, whose tokens nobody knows: steps times the width squared."""
    width, steps = recipe["model"]["width"], recipe["schedule"]["steps"]
    return Workload(width=width, members=1, steps=steps, tokens=0, work=float(steps) * width**2)
