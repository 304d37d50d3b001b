"""A population against its members alone, and against an ordinary training loop with torch.optim.Adam."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from populations import (
    ADAM_UPDATE,
    ATAN2_UPDATE,
    CPU,
    SGD_MOMENTUM,
    Trace,
    letter_corpus,
    make_recipe,
    numbers,
    trace,
    train,
    transformer,
)
from widthwise.models import member_cross_entropy
from widthwise.optim import MemberUpdate
from widthwise.scaling import Gauge
from widthwise.theory import ADAM, MEAN_FIELD, MUP, NTK, SGD, STANDARD, OptimizerRule
from widthwise.train import Member, Population, Recipe, initial_parameters, train_population
from widthwise.train.batches import Batches, validation_windows

CORPUS = letter_corpus()
MODEL = transformer(32)
"""32, because torch's arctangent rounds the last elements of an array differently: with other sizes a member of an
Adam-atan2 population and the same member alone differ by an ulp at step 1, before the dynamics amplify it."""

OPTIMIZERS = {
    # The best rate of 20 steps at this size, within a factor of 2.
    "sgd": (SGD_MOMENTUM, SGD, 0.5),
    "adam": (ADAM_UPDATE, ADAM, 0.125),
    "atan2": (ATAN2_UPDATE, ADAM, 0.125),
}
optimizers = pytest.mark.parametrize(("update", "rule", "best"), OPTIMIZERS.values(), ids=OPTIMIZERS)


def mixed_members(rule: OptimizerRule, best: float) -> list[Member]:
    """Six members that share no rate, parameterization, gauge or seeds; rates up to twice the best."""
    kinds = [(STANDARD, Gauge.FOLDED), (MUP, Gauge.EXPLICIT), (NTK, Gauge.EXPLICIT)]
    kinds += [(MEAN_FIELD, Gauge.FOLDED), (MUP, Gauge.FOLDED), (STANDARD, Gauge.EXPLICIT)]
    return [
        Member(
            numbers(
                MODEL,
                learning_rate=best * 2.0 ** (1 - i),
                parameterization=parameterization,
                optimizer=rule,
                gauge=gauge,
            ),
            init_seed=i // 2,
            data_seed=i % 3,
        )
        for i, (parameterization, gauge) in enumerate(kinds)
    ]


@optimizers
def test_a_member_trains_as_it_would_alone(update: MemberUpdate, rule: OptimizerRule, best: float) -> None:
    """Losses of 20 steps and the validation loss, to 1e-5.

    Elementwise arithmetic is the same; a batched product may sum in another order than a single one, 1e-7 per step,
    which rates at and above the best amplify by a few per step.
    """
    recipe = make_recipe(MODEL, update, steps=20)
    members = mixed_members(rule, best)
    for together, member in zip(train(recipe, members, CORPUS), members, strict=True):
        (alone,) = train(recipe, [member], CORPUS)
        assert together.divergence is None
        assert alone.divergence is None
        assert together.validation_loss == pytest.approx(alone.validation_loss, rel=1e-5)
        np.testing.assert_allclose(together.curve, alone.curve, rtol=1e-5)


def test_order_and_company_leave_the_seeds_streams_alone() -> None:
    """Reversed, the members have other neighbours, another draw order and other positions among the data seeds."""
    recipe = make_recipe(MODEL, ADAM_UPDATE, steps=5)
    members = mixed_members(ADAM, 0.125)
    forward, backward = train(recipe, members, CORPUS), train(recipe, members[::-1], CORPUS)
    for one, other in zip(forward, backward[::-1], strict=True):
        np.testing.assert_allclose(one.curve, other.curve, rtol=1e-5)
    assert len({outcome.curve for outcome in forward}) == len(members)


def test_a_run_repeats_bit_for_bit() -> None:
    recipe = make_recipe(MODEL, ATAN2_UPDATE, steps=10)
    members = mixed_members(ADAM, 0.125)
    assert train(recipe, members, CORPUS) == train(recipe, members, CORPUS)


def ordinary_training(recipe: Recipe, member: Member) -> tuple[list[float], float]:
    """One model, torch.optim.Adam with a group per tensor, the schedule set by hand: losses and validation loss."""
    model = recipe.model
    context, steps = model.context, recipe.schedule.steps
    start = initial_parameters(recipe, [member], CPU)
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in start.items()}
    multipliers = {name: torch.tensor([row.multiplier]) for name, row in member.numbers.items()}
    groups = [
        {"params": [leaf], "lr": member.numbers[name].rate, "eps": member.numbers[name].epsilon}
        for name, leaf in leaves.items()
    ]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.98))
    batches = Batches(
        CORPUS, [member.data_seed], steps=steps, batch=recipe.batch, context=context, device=CPU
    )

    def loss_of(tokens: torch.Tensor) -> torch.Tensor:
        logits = model.logits(leaves, tokens[:, :, :-1], multipliers=multipliers)
        return member_cross_entropy(logits, tokens[:, :, 1:].flatten(1)).mean()

    losses = []
    for step in range(1, steps + 1):
        warm = 4
        cosine = (1 + np.cos(np.pi * (step - warm) / (steps - warm))) / 2
        for group, row in zip(optimizer.param_groups, member.numbers.values(), strict=True):
            group["lr"] = row.rate * (step / warm if step <= warm else cosine)
        optimizer.zero_grad()
        loss = loss_of(batches.at(step))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    windows = validation_windows(CORPUS, windows=recipe.validation_windows, context=context, device=CPU)
    with torch.no_grad():
        validation = [loss_of(window[None, None]).item() for window in windows]
    return losses, float(np.mean(validation))


@pytest.mark.parametrize("gauge", Gauge)
def test_equals_an_ordinary_training_loop(gauge: Gauge) -> None:
    """Two members of two rates. Float32 roundings in other places, 1e-7 per step, grow a few times in 12 steps.

    Ten validation windows in batches of 4 leave a short last piece, which must not weigh as much as the others.
    """
    recipe = make_recipe(MODEL, ADAM_UPDATE, steps=12, warmup=4, validation_windows=10)
    members = [
        Member(
            numbers(MODEL, learning_rate=rate, adam_epsilon=1e-4, parameterization=MUP, gauge=gauge),
            init_seed=seed,
            data_seed=seed,
        )
        for seed, rate in enumerate((0.02, 0.05))
    ]
    for outcome, member in zip(train(recipe, members, CORPUS), members, strict=True):
        losses, validation = ordinary_training(recipe, member)
        assert [step for step, _ in outcome.curve] == list(range(1, 13))
        np.testing.assert_allclose([loss for _, loss in outcome.curve], losses, rtol=1e-5)
        assert outcome.validation_loss == pytest.approx(validation, rel=1e-5)
        assert losses[-1] < losses[0] - 0.3


def with_numbers(member: Member, **changes: float) -> Member:
    """The member with the same change to every tensor."""
    return replace(member, numbers={name: replace(row, **changes) for name, row in member.numbers.items()})


def others(run: Trace, dead: int) -> list[torch.Tensor]:
    """Losses and parameters of all members but one."""
    kept = [p for p in range(run.losses.shape[1]) if p != dead]
    return [run.losses[:, kept], *(tensor[kept] for tensor in run.parameters.values())]


@optimizers
@pytest.mark.parametrize("ruin", [{"rate": 1e36}, {"init": float("inf")}, {"init": float("nan")}], ids=str)
@pytest.mark.parametrize("dead", [0, 2, 5])
def test_a_member_that_dies_leaves_the_others_bits(
    update: MemberUpdate, rule: OptimizerRule, best: float, ruin: dict[str, float], dead: int
) -> None:
    recipe = make_recipe(transformer(32), update, steps=6)
    members = mixed_members(rule, best)
    healthy = trace(recipe, members, CORPUS)
    members[dead] = with_numbers(members[dead], **ruin)
    ruined = trace(recipe, members, CORPUS)
    assert ruined.losses[-1, dead].isnan()
    assert all(tensor[dead].isnan().any() for tensor in ruined.parameters.values())
    for one, other in zip(others(ruined, dead), others(healthy, dead), strict=True):
        assert torch.equal(one, other)
    assert [p for p, finding in enumerate(ruined.findings) if finding] == [dead]
    assert healthy.findings == [None] * len(members)


def test_outcomes_of_the_others_stay_the_same() -> None:
    """Validation losses and curves too."""
    recipe = make_recipe(MODEL, ADAM_UPDATE, steps=6)
    members = mixed_members(ADAM, 0.125)
    healthy = train(recipe, members, CORPUS)
    members[1] = with_numbers(members[1], init=float("inf"))
    ruined = train(recipe, members, CORPUS)
    assert ruined[1].validation_loss is None
    assert [o for p, o in enumerate(ruined) if p != 1] == [o for p, o in enumerate(healthy) if p != 1]


def recorded_batches(monkeypatch: pytest.MonkeyPatch, recipe: Recipe, members: list[Member]) -> torch.Tensor:
    """The tokens that a run trains on, [steps, P, B, T + 1]."""
    seen = []
    original = Population.losses

    def losses(self: Population, parameters: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
        if torch.is_grad_enabled():  # not the validation's
            seen.append(tokens.clone())
        return original(self, parameters, tokens)

    with monkeypatch.context() as patch:
        patch.setattr(Population, "losses", losses)
        train(recipe, members, CORPUS)
    return torch.stack(seen)


def test_a_data_seed_names_its_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same at another width, alone or in company, in any order; init seeds play no part."""
    small, large = transformer(8), transformer(16)
    tokens = {}
    for model, seeds in ((small, [7, 3, 7]), (small, [3]), (small, [7]), (large, [3])):
        row = numbers(model, learning_rate=0.01)
        members = [Member(row, init_seed=i, data_seed=seed) for i, seed in enumerate(seeds)]
        recipe = make_recipe(model, ADAM_UPDATE, steps=4)
        tokens[model.width, *seeds] = recorded_batches(monkeypatch, recipe, members)
    mixed = tokens[8, 7, 3, 7]
    assert mixed.shape == (4, 3, 4, 9)
    assert torch.equal(mixed[:, 0], tokens[8, 7][:, 0])
    assert torch.equal(mixed[:, 1], tokens[8, 3][:, 0])
    assert torch.equal(mixed[:, 2], mixed[:, 0])
    assert torch.equal(tokens[16, 3], tokens[8, 3])
    assert not torch.equal(mixed[:, 0], mixed[:, 1])
    assert len({step.numpy().tobytes() for step in mixed[:, 0]}) == 4


def test_no_members_are_refused() -> None:
    with pytest.raises(ValueError, match="needs at least one member; none were given"):
        train(make_recipe(MODEL, ADAM_UPDATE, steps=4), [], CORPUS)


def test_numbers_of_another_model_are_refused() -> None:
    good = Member(numbers(MODEL, learning_rate=0.1), 0, 0)
    lacking = dict(good.numbers)
    lacking["head"] = lacking.pop("readout")
    message = r"member 1 and the model disagree about the tensors \['head', 'readout'\]"
    with pytest.raises(ValueError, match=message):
        train(make_recipe(MODEL, ADAM_UPDATE, steps=4), [good, Member(lacking, 0, 0)], CORPUS)


def test_a_corpus_shorter_than_a_batch_is_refused() -> None:
    recipe = make_recipe(MODEL, ADAM_UPDATE, steps=4, batch=8)
    member = Member(numbers(MODEL, learning_rate=0.1), 0, 0)
    with pytest.raises(ValueError, match="has 71 training tokens, fewer than the 72 that a batch of 8 x 8"):
        train(recipe, [member], letter_corpus(train=71))
    train(recipe, [member], letter_corpus(train=72))


def test_progress_is_told_the_steps_done() -> None:
    """Every 20 steps, and at the end."""
    told: list[int] = []
    recipe = make_recipe(transformer(8), SGD_MOMENTUM, steps=45)
    member = Member(numbers(recipe.model, learning_rate=0.01, optimizer=SGD), 0, 0)
    train_population(recipe, [member], CORPUS, device=CPU, progress=told.append)
    assert told == [20, 40, 45]
