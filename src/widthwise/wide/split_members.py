"""A population whose members are split over processes: each trains its own, and all get everyone's outcome.

Members never touch each other, so this is `train_population` of some members in each process, and nothing is sent until
the end. It is what to use where a member fits on one device; `ShardedTraining` is for those that do not.
"""

import json
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import torch
import torch.distributed as dist

from widthwise.records import AlignmentPoint, Since
from widthwise.train import Corpus, Divergence, Member, Outcome, Recipe, train_population
from widthwise.wide.processes import gathered_texts


def members_of(rank: int, processes: int, members: int) -> range:
    """The positions that a process trains: neighbours, whose rates are near each other, the first ones one more.

    Raises:
        ValueError: fewer members than processes.

    Example:
        >>> [list(members_of(rank, 2, 5)) for rank in range(2)]
        [[0, 1, 2], [3, 4]]
    """
    if members < processes:
        raise ValueError(
            f"{members} members over {processes} processes: {processes - members} would have none; "
            f"start at most {members}, or split the tensors (ShardedTraining)"
        )
    each, more = divmod(members, processes)
    start = rank * each + min(rank, more)
    return range(start, start + each + (rank < more))


def train_split(
    recipe: Recipe, members: Sequence[Member], corpus: Corpus, *, device: torch.device
) -> tuple[Outcome, ...]:
    """Train all members over the processes of the group; every process returns all outcomes, in the members' order.

    Raises:
        ValueError: fewer members than processes.
    """
    mine = members_of(dist.get_rank(), dist.get_world_size(), len(members))
    outcomes = train_population(recipe, members[mine.start : mine.stop], corpus, device=device)
    texts = gathered_texts(json.dumps([_packed(outcome) for outcome in outcomes]), device)
    return tuple(_unpacked(packed) for text in texts for packed in json.loads(text))


def _packed(outcome: Outcome) -> list[Any]:
    divergence = None if outcome.divergence is None else astuple(outcome.divergence)
    return [outcome.validation_loss, divergence, outcome.curve, [astuple(p) for p in outcome.alignment]]


def _unpacked(packed: list[Any]) -> Outcome:
    validation, divergence, curve, alignment = packed
    return Outcome(
        validation,
        None if divergence is None else Divergence(*divergence),
        tuple((step, loss) for step, loss in curve),
        tuple(AlignmentPoint(step, layer, Since(since), *gains) for step, layer, since, *gains in alignment),
    )
