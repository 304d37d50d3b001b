"""Training: token streams, the schedule, and populations of reference models.

`load_corpus` reads text, a `Recipe` says what a population shares, a `Member` what is its own, and `train_population`
returns each member's `Outcome`. torch and numpy alone.
"""

from widthwise.train.corpus import PYTHON_STDLIB, VOCABULARY, Corpus, load_corpus
from widthwise.train.member import Divergence, Member, Outcome, Precision, Recipe
from widthwise.train.micro_batch import WHOLE, ActivationPlan
from widthwise.train.population import Population, initial_parameters
from widthwise.train.schedule import WarmupCosine
from widthwise.train.step import TrainingStep
from widthwise.train.step_graph import Engine, engine_for
from widthwise.train.train_population import train_population

__all__ = [
    "PYTHON_STDLIB",
    "VOCABULARY",
    "WHOLE",
    "ActivationPlan",
    "Corpus",
    "Divergence",
    "Engine",
    "Member",
    "Outcome",
    "Population",
    "Precision",
    "Recipe",
    "TrainingStep",
    "WarmupCosine",
    "engine_for",
    "initial_parameters",
    "load_corpus",
    "train_population",
]
