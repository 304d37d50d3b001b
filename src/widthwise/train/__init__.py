"""Training: token streams, the schedule, and populations of reference models.

`load_corpus` reads text, a `Recipe` says what a population shares, a `Member` what is its own, and `train_population`
returns each member's `Outcome`. `Checkpoints` keep its state on the way, a `Record` what became of its members.
`population_for` says how many members a device holds, `member_memory` why. torch and numpy alone.
"""

from widthwise.train.alignment_plan import AlignmentPlan, matrix_layers
from widthwise.train.available import KEPT_SHARE, device_bytes
from widthwise.train.checkpoint import (
    Checkpoint,
    Checkpoints,
    load_checkpoint,
    part_of_checkpoint,
    run_identity,
    save_checkpoint,
)
from widthwise.train.choose_population import PopulationChoice, choose_population, population_for
from widthwise.train.compaction import Record, Revision, members_at
from widthwise.train.corpus import VOCABULARY, Corpus, load_corpus
from widthwise.train.documents import C4, PYTHON_STDLIB, has_records
from widthwise.train.execution import Execution, execution_for, execution_on
from widthwise.train.host_batches import TOKENS_SHARE
from widthwise.train.member import Divergence, LossLimit, Member, Outcome, Precision, Recipe
from widthwise.train.memory import member_memory, program_memory
from widthwise.train.micro_batch import WHOLE, ActivationPlan
from widthwise.train.population import Population, initial_parameters
from widthwise.train.schedule import WarmupCosine
from widthwise.train.stage import free_memory
from widthwise.train.step import TrainingStep
from widthwise.train.step_graph import Engine, engine_for
from widthwise.train.throughput import Throughput, throughput_of
from widthwise.train.token_corpus import load_tokens
from widthwise.train.tokenizer import Tokenizer, load_tokenizer
from widthwise.train.train_population import train_population

__all__ = [
    "C4",
    "KEPT_SHARE",
    "PYTHON_STDLIB",
    "TOKENS_SHARE",
    "VOCABULARY",
    "WHOLE",
    "ActivationPlan",
    "AlignmentPlan",
    "Checkpoint",
    "Checkpoints",
    "Corpus",
    "Divergence",
    "Engine",
    "Execution",
    "LossLimit",
    "Member",
    "Outcome",
    "Population",
    "PopulationChoice",
    "Precision",
    "Recipe",
    "Record",
    "Revision",
    "Throughput",
    "Tokenizer",
    "TrainingStep",
    "WarmupCosine",
    "choose_population",
    "device_bytes",
    "engine_for",
    "execution_for",
    "execution_on",
    "free_memory",
    "has_records",
    "initial_parameters",
    "load_checkpoint",
    "load_corpus",
    "load_tokenizer",
    "load_tokens",
    "matrix_layers",
    "member_memory",
    "members_at",
    "part_of_checkpoint",
    "population_for",
    "program_memory",
    "run_identity",
    "save_checkpoint",
    "throughput_of",
    "train_population",
]
