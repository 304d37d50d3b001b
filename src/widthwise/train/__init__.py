"""Training: token streams, the schedule, and populations of reference models.

`load_corpus` reads text, a `Recipe` says what a population shares, a `Member` what is its own, and `train_population`
returns each member's `Outcome`. `Checkpoints` keep its state on the way, a `Record` what became of its members. torch
and numpy alone.
"""

from widthwise.train.checkpoint import (
    Checkpoint,
    Checkpoints,
    load_checkpoint,
    part_of_checkpoint,
    run_identity,
    save_checkpoint,
)
from widthwise.train.compaction import Record, Revision, members_at
from widthwise.train.corpus import PYTHON_STDLIB, VOCABULARY, Corpus, load_corpus
from widthwise.train.member import Divergence, LossLimit, Member, Outcome, Precision, Recipe
from widthwise.train.population import Population, initial_parameters
from widthwise.train.schedule import WarmupCosine
from widthwise.train.stage import free_memory
from widthwise.train.step import TrainingStep
from widthwise.train.step_graph import Engine, engine_for
from widthwise.train.train_population import train_population

__all__ = [
    "PYTHON_STDLIB",
    "VOCABULARY",
    "Checkpoint",
    "Checkpoints",
    "Corpus",
    "Divergence",
    "Engine",
    "LossLimit",
    "Member",
    "Outcome",
    "Population",
    "Precision",
    "Recipe",
    "Record",
    "Revision",
    "TrainingStep",
    "WarmupCosine",
    "engine_for",
    "free_memory",
    "initial_parameters",
    "load_checkpoint",
    "load_corpus",
    "members_at",
    "part_of_checkpoint",
    "run_identity",
    "save_checkpoint",
    "train_population",
]
