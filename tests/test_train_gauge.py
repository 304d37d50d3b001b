"""The gauge symmetry on whole training runs: a multiplier in the forward pass, or folded into the rest.

The base width is 4 and the ratios are powers of 4, so every multiplier is a power of two, and multiplying by it rounds
nothing. The two runs then agree in every bit, which no approximation could, unless a number leaves the normal range.
"""

from dataclasses import replace

import pytest

from populations import (
    ADAM_UPDATE,
    ATAN2_UPDATE,
    SGD_MOMENTUM,
    letter_corpus,
    make_recipe,
    mlp,
    numbers,
    train,
    transformer,
)
from widthwise.models import ReferenceModel
from widthwise.optim import MemberUpdate
from widthwise.scaling import Anchor, EpsilonPolicy, Gauge, TensorNumbers
from widthwise.theory import ADAM, MEAN_FIELD, MUP, NTK, SGD, OptimizerRule
from widthwise.train import Member, Outcome

CORPUS = letter_corpus()
STEPS = 30
MULTIPLIED = (MUP, NTK, MEAN_FIELD)
"""The parameterizations that have multipliers."""


def numbers_of(
    model: ReferenceModel,
    rule: OptimizerRule,
    gauge: Gauge,
    *,
    anchor: Anchor = Anchor.RELATIVE,
    epsilon: EpsilonPolicy = EpsilonPolicy.CONSTANT,
) -> list[dict[str, TensorNumbers]]:
    """One run of each parameterization; rates well below the best, so that nothing diverges."""
    return [
        numbers(
            model,
            learning_rate=0.1 if rule is SGD else 0.02,
            adam_epsilon=1e-4,  # large enough against these gradients to be seen
            parameterization=parameterization,
            optimizer=rule,
            anchor=anchor,
            gauge=gauge,
            epsilon=epsilon,
        )
        for parameterization in MULTIPLIED
    ]


def outcomes(
    model: ReferenceModel, update: MemberUpdate, runs: list[dict[str, TensorNumbers]]
) -> tuple[Outcome, ...]:
    recipe = make_recipe(model, update, steps=STEPS, batch=2)
    return train(recipe, [Member(run, init_seed=0, data_seed=0) for run in runs], CORPUS)


def require_training(results: tuple[Outcome, ...]) -> None:
    """Equal bits of runs that failed would prove nothing."""
    for outcome in results:
        assert outcome.divergence is None
        assert len(outcome.curve) == STEPS
        assert outcome.curve[-1][1] < outcome.curve[0][1] - 0.5


@pytest.mark.parametrize("width", [16, 64, 256], ids=lambda width: f"ratio {width // 4}")
@pytest.mark.parametrize(
    ("update", "rule"), [(SGD_MOMENTUM, SGD), (ATAN2_UPDATE, ADAM)], ids=["sgd", "atan2"]
)
def test_both_gauges_train_the_same_bits(width: int, update: MemberUpdate, rule: OptimizerRule) -> None:
    """All losses of 30 steps and the validation loss."""
    model = transformer(width)
    explicit = outcomes(model, update, numbers_of(model, rule, Gauge.EXPLICIT))
    require_training(explicit)
    assert outcomes(model, update, numbers_of(model, rule, Gauge.FOLDED)) == explicit


@pytest.mark.parametrize("epsilon", EpsilonPolicy)
@pytest.mark.parametrize("width", [16, 64], ids=lambda width: f"ratio {width // 4}")
def test_adam_does_so_when_its_epsilon_is_folded(width: int, epsilon: EpsilonPolicy) -> None:
    model = transformer(width)
    explicit = outcomes(model, ADAM_UPDATE, numbers_of(model, ADAM, Gauge.EXPLICIT, epsilon=epsilon))
    require_training(explicit)
    folded = outcomes(model, ADAM_UPDATE, numbers_of(model, ADAM, Gauge.FOLDED, epsilon=epsilon))
    assert folded == explicit


@pytest.mark.parametrize(
    ("update", "rule"),
    [(SGD_MOMENTUM, SGD), (ATAN2_UPDATE, ADAM), (ADAM_UPDATE, ADAM)],
    ids=["sgd", "atan2", "adam"],
)
@pytest.mark.parametrize("model", [transformer(16), mlp(16)], ids=["transformer", "mlp"])
def test_absolute_plans_fold_too(model: ReferenceModel, update: MemberUpdate, rule: OptimizerRule) -> None:
    """Here the multiplier n^(-a) itself is folded, base width included; losses need not fall under these rates."""
    absolute = {gauge: numbers_of(model, rule, gauge, anchor=Anchor.ABSOLUTE) for gauge in Gauge}
    explicit, folded = (outcomes(model, update, absolute[gauge]) for gauge in Gauge)
    assert explicit == folded
    assert all(outcome.divergence is None for outcome in explicit)


@pytest.mark.parametrize("wrong", ["init", "rate", "epsilon"])
def test_folding_all_but_one_number_is_another_run(wrong: str) -> None:
    """The control: each of the three foldings is needed, in every parameterization."""
    model = transformer(16)
    explicit = numbers_of(model, ADAM, Gauge.EXPLICIT)
    mistaken = [
        {name: replace(row, **{wrong: getattr(unfolded[name], wrong)}) for name, row in folded.items()}
        for unfolded, folded in zip(explicit, numbers_of(model, ADAM, Gauge.FOLDED), strict=True)
    ]
    pairs = zip(outcomes(model, ADAM_UPDATE, explicit), outcomes(model, ADAM_UPDATE, mistaken), strict=True)
    assert all(right.curve[-1] != mistake.curve[-1] for right, mistake in pairs)
