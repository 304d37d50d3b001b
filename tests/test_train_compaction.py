"""Compaction: the living go on alone, with the bits they would have had, by a record that is written first."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from populations import (
    ADAM_UPDATE,
    ATAN2_UPDATE,
    CPU,
    SGD_MOMENTUM,
    letter_corpus,
    make_recipe,
    mlp,
    numbers,
    transformer,
)
from widthwise.optim import MemberUpdate
from widthwise.train import (
    Engine,
    LossLimit,
    Member,
    Outcome,
    Population,
    Recipe,
    Revision,
    stage,
    train_population,
)
from widthwise.train.compaction import RecordInMemory, in_force, members_at, pays
from widthwise.train.micro_batch import WHOLE
from widthwise.train.stage import Job, Stage, Start

CORPUS = letter_corpus()
MODEL = transformer(32)
"""32: sizes at which rounding does not depend on the number of members; see `test_train_population`."""
EVERYBODY = (0, 1, 2, 3)


def members(rates: Sequence[float]) -> list[Member]:
    return [Member(numbers(MODEL, learning_rate=rate), i, 1 - i % 2) for i, rate in enumerate(rates)]


DEAD = 1e30
RATES = [1e-2, DEAD, 5e-3, DEAD]
"""Two die at the first steps: half."""


def train(
    recipe: Recipe, rates: Sequence[float], record: RecordInMemory | None = None
) -> tuple[Outcome, ...]:
    return train_population(recipe, members(rates), CORPUS, device=CPU, record=record)


def recipe_of(update: MemberUpdate = ADAM_UPDATE, *, steps: int = 15) -> Recipe:
    return make_recipe(MODEL, update, steps=steps, curve_points=7)


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every five steps."""
    monkeypatch.setattr(sys.modules["widthwise.train.train_population"], "_POLL", 5)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], Any]:
    """Run something with compaction put out of action."""

    def run(work: Callable[[], Any]) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(Stage, "compaction_pays", lambda *_: False)
            return work()

    return run


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[int, ...]]]:
    """(steps done, members) of every stage from here on."""
    built: list[tuple[int, tuple[int, ...]]] = []
    original = Stage.__init__

    def building(self: Stage, job: Job, start: Start, batches: Any) -> None:
        built.append((start.done, start.members))
        original(self, job, start, batches)

    monkeypatch.setattr(Stage, "__init__", building)
    return built


@pytest.mark.parametrize("update", [SGD_MOMENTUM, ADAM_UPDATE, ATAN2_UPDATE], ids=["sgd", "adam", "atan2"])
def test_the_living_keep_their_bits_and_the_dead_their_results(
    update: MemberUpdate, never: Any, stages: list[Any]
) -> None:
    record = RecordInMemory(Revision(0, EVERYBODY))
    compacted = train(recipe_of(update), RATES, record)
    assert stages == [(0, EVERYBODY), (5, (0, 2))]
    assert record.revisions() == [Revision(0, EVERYBODY), Revision(5, (0, 2))]
    assert compacted == never(lambda: train(recipe_of(update), RATES))
    assert stages[2:] == [(0, EVERYBODY)]
    assert [o.divergence is None for o in compacted] == [True, False, True, False]
    assert len({o.validation_loss for o in compacted}) == 3


def test_a_population_is_compacted_again_and_again(never: Any, stages: list[Any]) -> None:
    """The loss limit ends two more at step 2 + 5: of eight, four are left after 5 steps and two after 10."""
    recipe = replace(recipe_of(), loss_limit=LossLimit(margin=1.0, steps=5))
    blind = replace(members([1e-30])[0], numbers=members([1e-30])[0].numbers)
    huge = {name: replace(n, init=n.init * 64) for name, n in blind.numbers.items()}
    crowd = members([1e-2, DEAD, DEAD, 1e-2, 5e-3, DEAD, 5e-3, DEAD])
    crowd[3] = crowd[6] = Member(huge, 0, 0)

    def run() -> tuple[Outcome, ...]:
        return train_population(recipe, crowd, CORPUS, device=CPU)

    outcomes = run()
    assert stages == [(0, tuple(range(8))), (5, (0, 3, 4, 6)), (10, (0, 4))]
    assert outcomes == never(run)
    for position in (3, 6):
        assert outcomes[position].divergence is not None
        assert outcomes[position].divergence.step == 2 + 5  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize("rates", [[1e-2, 1e-2, 5e-3, DEAD], [1e-2, 1e-2, 5e-3, 5e-3]])
def test_more_than_half_stay_together(rates: list[float], stages: list[Any]) -> None:
    train(recipe_of(), rates)
    assert len(stages) == 1


def test_nothing_is_decided_at_the_end(stages: list[Any]) -> None:
    """At the last step there is nobody to train further."""
    train(recipe_of(steps=5), RATES)
    assert len(stages) == 1


def test_a_change_is_recorded_before_anything_else_happens(stages: list[Any]) -> None:
    done: list[int] = []

    class Full(RecordInMemory):
        def revise(self, revision: Revision) -> None:
            assert revision == Revision(5, (0, 2))
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        train_population(
            recipe_of(),
            members(RATES),
            CORPUS,
            device=CPU,
            progress=done.append,
            record=Full(Revision(0, EVERYBODY)),
        )
    assert done == [5]
    assert stages == [(0, EVERYBODY)]


def recorded(*later: Revision) -> RecordInMemory:
    record = RecordInMemory(Revision(0, EVERYBODY))
    for revision in later:
        record.revise(revision)
    return record


def test_what_is_recorded_is_repeated(never: Any, stages: list[Any]) -> None:
    """At a step, and with members, at which this run would not have changed anything; then it decides again."""
    record = recorded(Revision(6, (2, 0, 1)))
    outcomes = train(recipe_of(), [1e-2, DEAD, 5e-3, DEAD], record)
    assert stages == [(0, EVERYBODY), (6, (2, 0, 1))]
    assert outcomes == never(lambda: train(recipe_of(), RATES))


def test_after_what_is_recorded_a_run_decides(stages: list[Any]) -> None:
    train(recipe_of(), [1e-2, DEAD, DEAD, DEAD], record := recorded(Revision(5, (0, 1))))
    assert stages == [(0, EVERYBODY), (5, (0, 1)), (10, (0,))]
    assert record.revisions()[-1] == Revision(10, (0,))


def test_who_is_alive_stays_whatever_is_recorded(stages: list[Any]) -> None:
    """An accelerator may repeat a run with other last bits, and so with other survivors."""
    outcomes = train(recipe_of(), RATES, record := recorded(Revision(5, (2, 3))))
    assert stages == [(0, EVERYBODY), (5, (2, 3, 0))]
    assert Revision(5, (2, 3, 0)) in record.revisions()
    assert [o.validation_loss is None for o in outcomes] == [False, True, False, True]


def test_later_records_stand() -> None:
    revisions = [Revision(0, (0, 1, 2)), Revision(10, (0, 1)), Revision(60, (1,)), Revision(10, (0, 2))]
    assert in_force(revisions) == [revisions[0], revisions[3]]
    assert [members_at(revisions, step) for step in (0, 9, 10, 100)] == [
        (0, 1, 2), (0, 1, 2), (0, 2), (0, 2),
    ]  # fmt: skip
    assert members_at([Revision(10, (0,))], 9) is None
    assert in_force([*revisions, Revision(0, (2, 1))]) == [Revision(0, (2, 1))]


def test_when_it_pays() -> None:
    """100 steps of 0.4 s, half of which is saved: 20 s."""
    costs = {"steps_left": 100, "seconds_a_step": 0.4, "share_saved": 0.5}
    assert pays(**costs, preparation_seconds=19.9)
    assert not pays(**costs, preparation_seconds=20.0)


@pytest.mark.parametrize(("steps", "worth_it"), [(619, False), (621, True)])
def test_a_compiled_population_is_compacted_where_that_pays(
    monkeypatch: pytest.MonkeyPatch, steps: int, worth_it: bool
) -> None:
    """30 s until the first step is done, then 0.1 s a step: after 20 steps, half of 60 s is what 600 more cost."""
    now = [0.0]
    monkeypatch.setattr("widthwise.train.stage.time.monotonic", lambda: now[0])
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    recipe = recipe_of(SGD_MOMENTUM, steps=steps)
    job = Job(recipe, members(RATES), CORPUS, CPU, Engine(compiled=True), WHOLE)
    from widthwise.train.batches import Batches

    batches = Batches(CORPUS, [0, 1], steps=steps, batch=recipe.batch, context=8, device=CPU)
    stage = Stage(job, Start(0, EVERYBODY, None), batches)
    now[0] = 30.0
    stage.advance()
    assert not stage.compaction_pays(2)  # no step measured yet
    for _ in range(19):
        now[0] += 0.1
        stage.advance()
    assert stage.compaction_pays(2) is worth_it
    assert not stage.compaction_pays(4)


def test_a_stage_with_few_steps_left_is_neither_compiled_nor_recorded() -> None:
    """A record's first call is several steps at once: they must not lie behind the horizon."""
    recipe, both = recipe_of(steps=1000), Engine(captured=True, compiled=True)
    job = Job(recipe, members(RATES), CORPUS, CPU, both, WHOLE)
    population = Population(recipe, members(RATES), CPU)
    chosen = {
        done: stage._engine(job, population, Start(done, EVERYBODY, None)) for done in (0, 800, 801, 980, 981)
    }
    assert chosen == {
        0: both,
        800: both,
        801: Engine(captured=True),
        980: Engine(captured=True),
        981: Engine(),
    }


@pytest.mark.slow
def test_populations_of_many_shapes_are_compiled_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler keeps eight forms of a function and refuses a ninth."""
    original = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, **options: original(function, backend="eager", **options)
    )
    small = mlp(8)
    member = Member(numbers(small, learning_rate=0.01), 0, 0)
    recipe = make_recipe(small, SGD_MOMENTUM, steps=1, warmup=0)
    for count in range(1, 10):
        outcomes = train_population(
            recipe, [member] * count, CORPUS, device=CPU, engine=Engine(compiled=True)
        )
        assert len(outcomes) == count
