"""Training learns, its curve averages the right steps, and bfloat16 stays close to float32."""

from math import log

import numpy as np
import pytest
import torch

from populations import (
    ADAM_UPDATE,
    ATAN2_UPDATE,
    SGD_MOMENTUM,
    letter_corpus,
    letters,
    make_recipe,
    numbers,
    trace,
    train,
    transformer,
)
from widthwise.models import MLP, ReferenceModel, Transformer
from widthwise.optim import MemberUpdate
from widthwise.theory import ADAM, SGD, OptimizerRule
from widthwise.train import VOCABULARY, Corpus, Member, Precision

CORPUS = letter_corpus()


def byte_corpus() -> Corpus:
    """The letters as bytes of text, `a` and on, with spaces between words."""
    tokens = letters(8000)
    text = np.where(tokens == 0, ord(" "), tokens + ord("a") - 1).astype(np.uint8)
    return Corpus(name="text", train=text[:7000], validation=text[7000:], digest="")


def frequency_entropy(tokens: np.ndarray) -> float:
    """Nats per token of the best guess that sees no context."""
    shares = np.bincount(tokens) / len(tokens)
    return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())


@pytest.mark.parametrize(
    "model",
    [
        Transformer(width=32, depth=1, head_dim=8, vocabulary=VOCABULARY, context=16),
        MLP(width=32, depth=1, window=3, vocabulary=VOCABULARY, context=16),
    ],
    ids=["transformer", "mlp"],
)
@pytest.mark.parametrize(
    ("update", "rule", "rate"),
    [(SGD_MOMENTUM, SGD, 0.5), (ADAM_UPDATE, ADAM, 0.06), (ATAN2_UPDATE, ADAM, 0.06)],
    ids=["sgd", "adam", "atan2"],
)
def test_training_learns_to_use_the_context(
    model: ReferenceModel, update: MemberUpdate, rule: OptimizerRule, rate: float
) -> None:
    """It starts about ln 256 = 5.5 and ends, after 60 steps, below what letter frequencies alone could give, 3.0."""
    corpus = byte_corpus()
    member = Member(numbers(model, learning_rate=rate, optimizer=rule), init_seed=0, data_seed=0)
    (outcome,) = train(make_recipe(model, update, steps=60, batch=8), [member], corpus)
    assert outcome.divergence is None
    assert outcome.curve[0][1] == pytest.approx(log(VOCABULARY), abs=1.5)
    blind = frequency_entropy(corpus.validation)
    assert blind == pytest.approx(3.0, abs=0.1)
    assert outcome.validation_loss is not None
    assert outcome.validation_loss < blind - 0.1


@pytest.mark.parametrize(
    ("steps", "points", "ends"),
    [(10, 3, [3, 7, 10]), (10, 10, list(range(1, 11))), (4, 50, [1, 2, 3, 4]), (7, 1, [7]), (6, 2, [3, 6])],
)
def test_a_curve_averages_the_steps_since_its_last_point(steps: int, points: int, ends: list[int]) -> None:
    """A point stands at the last of the steps that it averages; no step is left out or counted twice."""
    model = transformer(8)
    members = [Member(numbers(model, learning_rate=rate), 0, 0) for rate in (0.01, 0.1)]
    losses = trace(make_recipe(model, ADAM_UPDATE, steps=steps), members, CORPUS).losses.double().numpy()
    outcomes = train(make_recipe(model, ADAM_UPDATE, steps=steps, curve_points=points), members, CORPUS)
    for p, outcome in enumerate(outcomes):
        starts = [0, *ends[:-1]]
        expected = [losses[start:end, p].mean() for start, end in zip(starts, ends, strict=True)]
        assert [step for step, _ in outcome.curve] == ends
        assert [loss for _, loss in outcome.curve] == pytest.approx(expected, rel=1e-14)


def test_the_curve_of_a_diverged_member_ends_before_it() -> None:
    """A stretch with a loss that is not finite has no point."""
    model = transformer(16)
    member = Member(numbers(model, learning_rate=8.0, optimizer=SGD), 0, 0)
    recipe = make_recipe(model, SGD_MOMENTUM, steps=20, curve_points=5)
    (outcome,) = train(recipe, [member], CORPUS)
    assert outcome.divergence is not None
    assert 8 < outcome.divergence.step <= 12
    assert [step for step, _ in outcome.curve] == [4, 8]


def test_bfloat16_stays_close_to_float32() -> None:
    """Eight bits: a logit of size 4 is rounded by 2^-9 * 4 about ten times on its way, 0.05 in all; the loss averages
    over tokens, and 20 steps at a moderate rate amplify little."""
    model = transformer(16)
    losses = {}
    for precision in Precision:
        recipe = make_recipe(model, ADAM_UPDATE, steps=20, precision=precision)
        members = [Member(numbers(model, learning_rate=rate), 0, 0) for rate in (0.01, 0.03)]
        outcomes = train(recipe, members, CORPUS)
        losses[precision] = [o.validation_loss for o in outcomes]
        parameters = trace(recipe, members, CORPUS).parameters
        assert {tensor.dtype for tensor in parameters.values()} == {torch.float32}
        assert all(o.curve[-1][1] < o.curve[0][1] - 0.5 for o in outcomes)
    assert losses[Precision.BFLOAT16] == pytest.approx(losses[Precision.FLOAT32], abs=0.05)
    assert losses[Precision.BFLOAT16] != losses[Precision.FLOAT32]
