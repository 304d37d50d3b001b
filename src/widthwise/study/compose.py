"""Which trials train side by side: those of one shape, ordered by rate, in populations of a size that a rule says."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from widthwise.records import CellRow
from widthwise.study.recipe import Recipe, canonical_json


@dataclass(frozen=True)
class PlannedTrial:
    """A trial before it has run.

    Args:
        text: its recipe's canonical JSON.
        shape: its recipe's `shape_key`.
    """

    id: int
    identity: str
    text: str
    shape: str

    @property
    def recipe(self) -> Recipe:
        """What the text says, read again at every call: few of a large study's trials are asked."""
        return json.loads(self.text)


@dataclass(frozen=True)
class PopulationSize:
    """How many trials of one shape train side by side at most, and how their steps run.

    Args:
        members: P.
        micro_batches, recompute: see `train.ActivationPlan`; like P, no part of a trial's identity.
    """

    members: int
    micro_batches: int = 1
    recompute: bool = False


Sizes = Callable[[Recipe, int], PopulationSize]
"""(the recipe of one of them, how many trials have its shape) -> the size of their populations."""


def require_size(members: int) -> int:
    """The size of a population, checked.

    Raises:
        ValueError: it is below 1.
    """
    if members < 1:
        raise ValueError(f"population size {members} must be at least 1")
    return members


OWN_FIELDS = frozenset({"tensors", "multipliers", "decays", "seeds"})
"""What each trial of a population may have of its own."""


def shape_key(recipe: Recipe) -> str:
    """What trials of one population have in common: all of the recipe but the numbers and the seeds."""
    return canonical_json({field: value for field, value in recipe.items() if field not in OWN_FIELDS})


def compose(
    trials: Sequence[PlannedTrial], cells: Sequence[CellRow], sizes: Sizes
) -> list[tuple[tuple[int, ...], PopulationSize]]:
    """Group by shape, order by rate (those which diverge sit together), and cut evenly."""
    rates: dict[int, float] = {}
    for cell in cells:
        rates.setdefault(cell.trial, cell.learning_rate)
    shapes: dict[str, list[PlannedTrial]] = {}
    for trial in trials:
        shapes.setdefault(trial.shape, []).append(trial)
    populations: list[tuple[tuple[int, ...], PopulationSize]] = []
    for alike in shapes.values():
        size = sizes(alike[0].recipe, len(alike))
        ordered = sorted((trial.id for trial in alike), key=lambda id_: (rates[id_], id_))
        bounds = [0, *accumulate(even_parts(len(ordered), size.members))]
        populations += [(tuple(ordered[a:b]), size) for a, b in pairwise(bounds)]
    return populations


def even_parts(total: int, most: int) -> list[int]:
    """The sizes of the fewest parts of at most `most`, as even as they can be.

    Example:
        >>> even_parts(8, 3)
        [2, 3, 3]
    """
    count = -(-total // most)
    bounds = [total * i // count for i in range(count + 1)]
    return [b - a for a, b in pairwise(bounds)]
