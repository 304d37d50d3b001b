"""Training: token streams, the schedule, and populations of reference models.

`load_corpus` reads text, a `Recipe` says what a population shares, a `Member` what is its own, and `train_population`
returns each member's `Outcome`. torch and numpy alone.
"""

from widthwise.train.corpus import PYTHON_STDLIB, VOCABULARY, Corpus, load_corpus
from widthwise.train.member import Divergence, Member, Outcome, Precision, Recipe
from widthwise.train.population import Population, initial_parameters, train_population
from widthwise.train.schedule import WarmupCosine

__all__ = [
    "PYTHON_STDLIB",
    "VOCABULARY",
    "Corpus",
    "Divergence",
    "Member",
    "Outcome",
    "Population",
    "Precision",
    "Recipe",
    "WarmupCosine",
    "initial_parameters",
    "load_corpus",
    "train_population",
]
