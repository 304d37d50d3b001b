"""Training: token streams, the schedule, and populations of reference models.

`load_corpus` reads text, a `Recipe` says what a population shares, a `Member` what is its own, and `train_population`
returns each member's `Outcome`. `population_for` says how many members a device holds, `member_memory` why. torch and
numpy alone.
"""

from widthwise.train.choose_population import PopulationChoice, choose_population, population_for
from widthwise.train.corpus import PYTHON_STDLIB, VOCABULARY, Corpus, load_corpus
from widthwise.train.execution import Execution, execution_for
from widthwise.train.member import Divergence, Member, Outcome, Precision, Recipe
from widthwise.train.memory import member_memory, program_memory
from widthwise.train.micro_batch import WHOLE, ActivationPlan
from widthwise.train.population import Population, initial_parameters
from widthwise.train.schedule import WarmupCosine
from widthwise.train.step import TrainingStep
from widthwise.train.step_graph import Engine, engine_for
from widthwise.train.throughput import Throughput, throughput_of
from widthwise.train.train_population import train_population

__all__ = [
    "PYTHON_STDLIB",
    "VOCABULARY",
    "WHOLE",
    "ActivationPlan",
    "Corpus",
    "Divergence",
    "Engine",
    "Execution",
    "Member",
    "Outcome",
    "Population",
    "PopulationChoice",
    "Precision",
    "Recipe",
    "Throughput",
    "TrainingStep",
    "WarmupCosine",
    "choose_population",
    "engine_for",
    "execution_for",
    "initial_parameters",
    "load_corpus",
    "member_memory",
    "population_for",
    "program_memory",
    "throughput_of",
    "train_population",
]
