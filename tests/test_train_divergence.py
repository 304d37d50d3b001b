"""Divergence: what stopped being finite, at which step, and what becomes of the member."""

import math
from dataclasses import replace

import pytest
import torch

from populations import (
    ADAM_UPDATE,
    ATAN2_UPDATE,
    CPU,
    LETTERS,
    SGD_MOMENTUM,
    letter_corpus,
    make_recipe,
    mlp,
    numbers,
    trace,
    train,
    transformer,
)
from widthwise.optim import MemberUpdate, PopulationStep
from widthwise.scaling import TensorNumbers
from widthwise.theory import SGD
from widthwise.train import Divergence, LossLimit, Member, Outcome, train_population
from widthwise.train.health import Health

CORPUS = letter_corpus()
MODEL = mlp(8)


def sgd_members(rates: list[float]) -> list[Member]:
    model = transformer(16)
    return [Member(numbers(model, learning_rate=rate, optimizer=SGD), 0, 0) for rate in rates]


def test_a_rate_that_is_too_high_diverges_when_its_loss_does() -> None:
    """SGD at the best rate and at 4 and 8 times that; the step is where the trace of losses first fails."""
    members = sgd_members([1.0, 4.0, 8.0])
    recipe = make_recipe(transformer(16), SGD_MOMENTUM, steps=30, curve_points=30)
    healthy, *diverged = train(recipe, members, CORPUS)
    assert healthy.divergence is None
    assert len(healthy.curve) == 30
    losses = trace(recipe, members, CORPUS).losses
    for p, outcome in enumerate(diverged, start=1):
        first = 1 + losses[:, p].isfinite().long().argmin().item()
        assert 3 < first < 30
        assert outcome.divergence == Divergence(first, "non-finite loss")
        assert outcome.validation_loss is None
        assert [step for step, _ in outcome.curve] == list(range(1, first))


def test_an_infinite_start_diverges_at_the_first_step() -> None:
    rows = {name: TensorNumbers(float("inf"), 1.0, 0.0, 0.0) for name in MODEL.tensors()}
    (outcome,) = train(make_recipe(MODEL, SGD_MOMENTUM, steps=4), [Member(rows, 0, 0)], CORPUS)
    assert outcome == Outcome(None, Divergence(1, "non-finite loss"), ())


def readout_with_multiplier(multiplier: float, *, first_rate: float) -> Member:
    """An MLP whose readout is tiny and multiplied up again: its logits are of order one, its gradient `multiplier`.

    Only the first layer learns; when it grows by a factor, so do, in the next step, the logits and that gradient.
    """
    rows = {name: TensorNumbers(init=1.0, multiplier=1.0, rate=0.0, epsilon=1e-8) for name in MODEL.tensors()}
    rows["first_layer"] = TensorNumbers(init=1.0, multiplier=1.0, rate=first_rate, epsilon=1e-8)
    rows["readout"] = TensorNumbers(init=1 / multiplier, multiplier=multiplier, rate=0.0, epsilon=1e-8)
    return Member(rows, init_seed=0, data_seed=0)


@pytest.mark.parametrize("update", [SGD_MOMENTUM, ADAM_UPDATE, ATAN2_UPDATE], ids=["sgd", "adam", "atan2"])
@pytest.mark.parametrize(
    # 1e34 times a hidden layer of size 1 is below float32's 3e38; after a step at rate 1e8 that layer is above 1e5.
    ("first_rate", "step"),
    [(0.0, None), (1e8, 2)],
)
def test_an_infinite_gradient_is_found_when_the_loss_is_finite(
    update: MemberUpdate, first_rate: float, step: int | None
) -> None:
    member = readout_with_multiplier(1e34, first_rate=first_rate)
    recipe = make_recipe(MODEL, update, steps=3, warmup=0)
    run = trace(recipe, [member], CORPUS)
    assert run.losses[:2].isfinite().all()
    if update is SGD_MOMENTUM:
        assert run.findings == [(step, "non-finite gradient") if step else None]
    elif update is ADAM_UPDATE:  # the square of 1e34 overflows at once
        assert run.findings == [(1, "non-finite optimizer state")]
    else:
        assert run.findings == [(step, "non-finite gradient") if step else None]


def test_an_infinite_second_moment_is_found_though_nothing_else_shows_it() -> None:
    """Gradients of 1e16, then 1e22: finite, their square is not; m / infinity makes it a step of zero."""
    recipe = make_recipe(MODEL, ADAM_UPDATE, steps=8, warmup=0)
    member = readout_with_multiplier(1e16, first_rate=1e6)
    run = trace(recipe, [member], CORPUS)
    assert run.losses.isfinite().all()
    assert all(tensor.isfinite().all() for tensor in run.parameters.values())
    (outcome,) = train(recipe, [member], CORPUS)
    assert outcome.divergence == Divergence(2, "non-finite optimizer state")
    assert outcome.validation_loss is None


def test_the_last_update_may_be_the_one_that_fails() -> None:
    """All training losses are finite; the parameters after the last step are not (at floor 0 its rate would be 0)."""
    rows = {name: TensorNumbers(1.0, 1.0, 1e38, 0.0) for name in MODEL.tensors()}
    recipe = make_recipe(MODEL, SGD_MOMENTUM, steps=1, warmup=0, floor=1.0)
    (outcome,) = train(recipe, [Member(rows, 0, 0)], CORPUS)
    assert outcome.divergence == Divergence(1, "non-finite validation loss")
    assert outcome.validation_loss is None
    assert len(outcome.curve) == 1


def steps_told(members: list[Member]) -> list[int]:
    told: list[int] = []
    recipe = make_recipe(transformer(16), SGD_MOMENTUM, steps=60)
    train_population(recipe, members, CORPUS, device=CPU, progress=told.append)
    return told


def test_a_population_of_the_dead_stops_early() -> None:
    """At the next look, after 20 steps; one living member keeps it going."""
    assert steps_told(sgd_members([1e20, 8.0])) == [20]
    assert steps_told(sgd_members([1e20, 0.1])) == [20, 40, 60]


def test_a_population_that_stopped_early_has_its_curves_until_then() -> None:
    recipe = make_recipe(transformer(16), SGD_MOMENTUM, steps=60)
    for outcome in train(recipe, sgd_members([8.0, 4.0]), CORPUS):
        assert outcome.divergence is not None
        assert len(outcome.curve) == outcome.divergence.step - 1 < 20


NOW = {"tensor": torch.zeros(2, 3)}


def health_after(
    losses: list[list[float]],
    gradients: list[list[float]],
    update: MemberUpdate = SGD_MOMENTUM,
    *,
    limit: LossLimit | None = None,
) -> tuple[list[tuple[int, str] | None], bool]:
    """The findings on two members whose losses, and all of whose gradients' entries, are these, step by step."""
    zeros = {"tensor": torch.zeros(2)}
    optimizer = PopulationStep(update, NOW, rates=zeros, epsilons=zeros)
    health = Health(replace(make_recipe(MODEL, update, steps=10), loss_limit=limit), 2, CPU)
    for step, (loss, gradient) in enumerate(zip(losses, gradients, strict=True), start=1):
        optimizer.step_({"tensor": torch.tensor(gradient)[:, None].expand(2, 3)}, factor=1.0)
        # A tensor of the device or a number: it is the same.
        health.observe(torch.tensor([step]) if step % 2 else step, torch.tensor(loss))
    return health.findings(optimizer), not any(health.alive(optimizer))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_health_names_the_place(bad: float) -> None:
    fine = [1.0, 1.0]
    assert health_after([fine, [1.0, bad]], [fine, fine]) == ([None, (2, "non-finite loss")], False)
    assert health_after([fine, fine], [fine, [1.0, bad]]) == ([None, (2, "non-finite gradient")], False)
    for update, reason in [(ADAM_UPDATE, (2, "non-finite optimizer state")), (ATAN2_UPDATE, None)]:
        assert health_after([fine, fine], [fine, [1.0, 1e30]], update) == ([None, reason], False)


def test_health_keeps_the_first_finding_and_the_first_reason() -> None:
    nan = float("nan")
    findings, dead = health_after([[1.0, 1.0], [1.0, nan], [1.0, nan]], [[1.0, nan], [1.0, nan], [1.0, nan]])
    assert findings == [None, (1, "non-finite gradient")]
    assert not dead
    findings, dead = health_after([[1.0, nan], [nan, nan]], [[1.0, nan], [nan, nan]])
    assert findings == [(2, "non-finite loss"), (1, "non-finite loss")]
    assert dead


def test_the_largest_finite_numbers_are_finite() -> None:
    """Two entries whose square, and whose sum, overflow."""
    large = torch.finfo(torch.float32).max
    assert health_after([[large, -large]], [[large, -large]]) == ([None, None], False)


# A loss that is finite and too high

THREE = LossLimit(margin=1.0, steps=3)
HIGH = math.log(LETTERS) + 1.001
LOW = math.log(LETTERS) + 0.999
REASON = "loss above ln V + 1 for 3 steps"


def found_at(losses: list[float], limit: LossLimit | None = THREE) -> int | None:
    """The step at which a member of these losses is found to have diverged; the warm-up is 2 steps."""
    both = [[loss, LOW] for loss in losses]
    (finding, other), dead = health_after(both, [[1.0, 1.0]] * len(losses), limit=limit)
    assert (other, dead) == (None, False)
    assert finding is None or finding[1] == REASON
    return None if finding is None else finding[0]


@pytest.mark.parametrize(
    ("losses", "step"),
    [
        ([HIGH] * 8, 5),  # steps 3, 4 and 5: the two of the warm-up do not count
        ([HIGH] * 4, None),
        ([LOW] * 5 + [HIGH] * 3, 8),
        ([LOW] * 5 + [HIGH] * 2, None),
        ([HIGH] * 4 + [LOW] + [HIGH] * 2, None),  # a row that was broken
        ([HIGH] * 4 + [LOW] + [HIGH] * 3, 8),
        ([HIGH] * 5 + [LOW] * 3, 5),  # who comes back had diverged
        ([LOW] * 8, None),
    ],
    ids=str,
)
def test_a_loss_that_stays_too_high_after_the_warm_up(losses: list[float], step: int | None) -> None:
    assert found_at(losses) == step
    assert found_at(losses, None) is None


def test_what_is_not_finite_is_no_high_loss() -> None:
    """It is a finding of its own, and the first stands."""
    nan = float("nan")
    findings, _ = health_after([[HIGH, LOW]] * 4 + [[nan, LOW]], [[1.0, 1.0]] * 5, limit=THREE)
    assert findings == [(5, "non-finite loss"), None]
    findings, _ = health_after([[HIGH, LOW]] * 5 + [[nan, LOW]], [[1.0, 1.0]] * 6, limit=THREE)
    assert findings == [(5, REASON), None]


@pytest.mark.parametrize("company", [0, 3])
def test_a_start_far_above_chance_has_the_warm_up_to_come_down(company: int) -> None:
    """Logits 64 times too large. Without a rate the loss stays there, with one it falls below ln V during a warm-up
    of 40 steps, and the member is as good as any; however many train beside it."""
    model = mlp(8)
    recipe = replace(make_recipe(model, SGD_MOMENTUM, steps=80, warmup=40), loss_limit=THREE)

    def member(rate: float) -> Member:
        fixed = numbers(model, learning_rate=rate, optimizer=SGD)
        return Member({name: replace(n, init=n.init * 4) for name, n in fixed.items()}, 0, 0)

    learning, stuck, *_ = train(recipe, [member(0.02), member(1e-30)] + [member(0.02)] * company, CORPUS)
    assert learning.curve[0][1] > HIGH + 5
    assert learning.divergence is None
    assert learning.validation_loss is not None
    assert stuck.divergence == Divergence(40 + 3, REASON)
    assert [step for step, _ in stuck.curve] == list(range(1, 44))
    assert stuck.validation_loss is None


def test_a_population_that_only_sits_too_high_stops() -> None:
    model = transformer(16)
    loud = {name: replace(n, init=n.init * 64) for name, n in numbers(model, learning_rate=1e-30).items()}
    told: list[int] = []
    recipe = replace(make_recipe(model, SGD_MOMENTUM, steps=60), loss_limit=THREE)
    train_population(recipe, [Member(loud, 0, 0)], CORPUS, device=CPU, progress=told.append)
    assert told == [20]


@pytest.mark.parametrize(
    ("margin", "steps", "says"),
    [
        (-0.5, 3, "margin is -0.5; it must be at least 0"),
        (math.inf, 3, "margin is inf"),
        (1.0, 0, "steps are 0"),
    ],
)
def test_limits_that_make_no_sense(margin: float, steps: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        LossLimit(margin=margin, steps=steps)
