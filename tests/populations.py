"""Small populations on synthetic text, for the tests of training and of the models."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from widthwise.models import MLP, ReferenceModel, Transformer
from widthwise.optim import AdamAtan2Update, AdamUpdate, MemberUpdate, SgdUpdate
from widthwise.scaling import (
    TRANSFORMER_ROLES,
    Anchor,
    EpsilonPolicy,
    Gauge,
    TensorNumbers,
    TensorRole,
    assign_roles,
    make_reference_plan,
    mlp_roles,
    resolve,
)
from widthwise.theory import ADAM, FULL_RATES, STANDARD, OptimizerRule, Parameterization, Prescription
from widthwise.train import (
    Corpus,
    Member,
    Outcome,
    Population,
    Precision,
    Recipe,
    TrainingStep,
    WarmupCosine,
    train_population,
)
from widthwise.train.batches import Batches

CPU = torch.device("cpu")
LETTERS = 32
"""Tokens of `letter_corpus`; a vocabulary this small keeps the models small."""
BASE_WIDTH = 4

SGD_MOMENTUM = SgdUpdate(momentum=0.9)
ADAM_UPDATE = AdamUpdate(beta1=0.9, beta2=0.98)
ATAN2_UPDATE = AdamAtan2Update(beta1=0.9, beta2=0.98, a=1.0, b=1.0)


@cache
def letters(length: int, seed: int = 0) -> np.ndarray:
    """Tokens below `LETTERS` with much to learn: 24 words, each with two likely successors, 0 between words."""
    rng = np.random.default_rng(seed)
    words = [rng.integers(1, LETTERS, size=rng.integers(2, 6)) for _ in range(24)]
    successors = rng.integers(24, size=(24, 2))
    pieces: list[np.ndarray] = []
    word = 0
    while sum(map(len, pieces)) < length:
        pieces += [words[word], np.zeros(1, np.int64)]
        word = successors[word, rng.integers(2)]
    return np.concatenate(pieces)[:length].astype(np.uint8)


def letter_corpus(train: int = 3000, validation: int = 400) -> Corpus:
    tokens = letters(train + validation)
    return Corpus(name="letters", train=tokens[:train], validation=tokens[train:], digest="")


def transformer(width: int, *, depth: int = 1, context: int = 8) -> Transformer:
    return Transformer(width=width, depth=depth, head_dim=4, vocabulary=LETTERS, context=context)


def mlp(width: int, *, depth: int = 1, context: int = 8) -> MLP:
    return MLP(width=width, depth=depth, window=3, vocabulary=LETTERS, context=context)


def model_roles(model: ReferenceModel) -> dict[str, TensorRole]:
    rules = TRANSFORMER_ROLES if isinstance(model, Transformer) else mlp_roles(model.window)
    return assign_roles(model.tensors(), rules)


def numbers(
    model: ReferenceModel,
    *,
    learning_rate: float,
    adam_epsilon: float = 1e-8,
    parameterization: Parameterization = STANDARD,
    optimizer: OptimizerRule = ADAM,
    prescription: Prescription = FULL_RATES,
    anchor: Anchor = Anchor.RELATIVE,
    gauge: Gauge = Gauge.FOLDED,
    epsilon: EpsilonPolicy = EpsilonPolicy.CONSTANT,
) -> dict[str, TensorNumbers]:
    """The numbers of one run, relative to a base width of 4."""
    plan = make_reference_plan(
        model_roles(model),
        width=model.width,
        base_width=BASE_WIDTH,
        parameterization=parameterization,
        optimizer=optimizer,
        prescription=prescription,
        anchor=anchor,
        gauge=gauge,
        epsilon=epsilon,
    )
    return dict(resolve(plan, learning_rate=learning_rate, epsilon=adam_epsilon))


def make_recipe(
    model: ReferenceModel,
    update: MemberUpdate,
    *,
    steps: int,
    warmup: int = 2,
    floor: float = 0.0,
    batch: int = 4,
    precision: Precision = Precision.FLOAT32,
    validation_windows: int = 10,
    curve_points: int | None = None,
) -> Recipe:
    """A recipe whose curve has one point per step unless told otherwise."""
    return Recipe(
        model=model,
        update=update,
        schedule=WarmupCosine(steps=steps, warmup=warmup, floor=floor),
        batch=batch,
        precision=precision,
        validation_windows=validation_windows,
        curve_points=steps if curve_points is None else curve_points,
    )


def train(recipe: Recipe, members: Sequence[Member], corpus: Corpus) -> tuple[Outcome, ...]:
    return train_population(recipe, members, corpus, device=CPU)


@dataclass(frozen=True)
class Trace:
    """Every loss of a run, [steps, P], the parameters after it, and which members diverged."""

    losses: Tensor
    parameters: dict[str, Tensor]
    findings: list[tuple[int, str] | None]


def trace(recipe: Recipe, members: Sequence[Member], corpus: Corpus) -> Trace:
    """Train step by step, keeping what `train_population` does not return."""
    steps, context = recipe.schedule.steps, recipe.model.context
    seeds = sorted({member.data_seed for member in members})
    streams = torch.tensor([seeds.index(member.data_seed) for member in members])
    batches = Batches(corpus, seeds, steps=steps, batch=recipe.batch, context=context, device=CPU)
    population = Population(recipe, members, CPU)
    step = TrainingStep(recipe, population, batches, streams)
    for _ in range(steps):
        step.run()
    return Trace(step.losses_LxP, population.parameters, step.health.findings(population.optimizer))
