"""`train.train_population` with every tensor split over the processes of a group, which all call it alike."""

from collections.abc import Sequence

import torch

from widthwise.train import (
    WHOLE,
    ActivationPlan,
    Checkpoints,
    Corpus,
    Engine,
    Member,
    Outcome,
    Recipe,
    Record,
)
from widthwise.train.stage import Job
from widthwise.train.train_population import Progress, train_job
from widthwise.wide.sharded_checkpoint import ShardedKeeper
from widthwise.wide.sharded_population import ShardedPopulation


def train_sharded(
    recipe: Recipe,
    members: Sequence[Member],
    corpus: Corpus,
    *,
    device: torch.device,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
    record: Record | None = None,
    activations: ActivationPlan = WHOLE,
) -> tuple[Outcome, ...]:
    """Train all members to the horizon, over all processes; each returns every outcome, the same.

    What is measured of alignment is measured of whole tensors, gathered one at a time, on each process.

    Args:
        device: this process's.
        progress: may differ between processes.
        checkpoints: their path is a folder, which all processes see; written by any number of processes, they are
            read by any other.
        record: must hold the same on all processes, which come to the same revisions; one of them may write these
            down for good.

    The rest, and what becomes of members that diverge, as `train_population` has it.

    Raises:
        ValueError: as `train_population`; or the processes divide neither the batch nor some tensor.
    """
    job = Job(recipe, members, corpus, device, Engine(), activations, ShardedPopulation)
    keeper = None if checkpoints is None else ShardedKeeper(checkpoints, recipe, members, device)
    return train_job(job, progress=progress, keeper=keeper, record=record)
