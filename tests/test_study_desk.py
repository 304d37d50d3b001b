"""The desk: what is given out, what becomes of it when workers are lost, and that nobody else is heard."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from study_example import DIGEST, ended, tiny_plan, tiny_text
from widthwise.records import RevisionRow, read_study
from widthwise.study.desk import Desk, TrainingError, named
from widthwise.study.processes import _ProcessCrew
from widthwise.study.run_state import RunState, Tracker
from widthwise.study.store import create_store, writing
from widthwise.study.task import AtStep, Begun, Job, LostWorkerError, Raised, Revise, Task, Trained, Warned
from widthwise.study.worker import Recorded, ToWriter

LOST = "ignore:population .* its worker was lost:UserWarning"


@dataclass
class Office:
    """A desk over a store of six populations of four: two of width 8 and four of width 16."""

    store: Path
    desk: Desk
    told: list[RunState]

    def task(self) -> Task:
        task = self.desk.next_task()
        assert task is not None
        return task


def open_desk(folder: Path, *, longest_first: bool) -> Iterator[Office]:
    store, text, told = folder / "s.sqlite", tiny_text(), list[RunState]()
    create_store(store, name="tiny", spec=text, corpus=DIGEST, plan=tiny_plan())
    with writing(store) as writer:
        study = read_study(store)
        tracker = Tracker(study, told.append)
        job = Job(text, DIGEST, "cpu", store, 60.0)
        yield Office(store, Desk(job, writer, None, tracker, study, longest_first=longest_first), told)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    yield from open_desk(tmp_path, longest_first=False)


@pytest.fixture
def long_first(tmp_path: Path) -> Iterator[Office]:
    yield from open_desk(tmp_path, longest_first=True)


def finish(office: Office, task: Task, *, host: int | None = None) -> None:
    results = tuple(ended(trial, 2.0) for trial in task.population.trials)
    office.desk.take(task, Trained(results, 1.5), host=host)


def test_one_after_another_in_the_order_of_the_store(office: Office) -> None:
    assert [office.task().population.id for _ in range(6)] == [1, 2, 3, 4, 5, 6]
    assert (office.desk.next_task(), office.desk.waiting(), office.desk.at_work) == (None, 0, 6)


def test_the_widest_first(long_first: Office) -> None:
    assert [long_first.task().population.id for _ in range(6)] == [3, 4, 5, 6, 1, 2]


def test_results_come_in_any_order_and_say_who_trained(office: Office) -> None:
    first, second = office.task(), office.task()
    hosts = [office.desk.register({"machine": name}) for name in ("one", "two")]
    finish(office, second, host=hosts[0])
    finish(office, first, host=hosts[1])
    assert [p.completed for p in read_study(office.store).populations] == [True, True, *[False] * 4]
    assert office.told[-1].trials_done == 8
    assert office.told[-1].at_work == ()


def test_a_revision_is_on_the_disk_when_it_is_answered(office: Office) -> None:
    task = office.task()
    trials = task.population.trials[1:]
    office.desk.take(task, Revise(20, trials))
    assert read_study(office.store).populations[0].revisions[-1] == RevisionRow(20, trials)


@pytest.mark.filterwarnings(LOST)
def test_what_is_lost_is_given_out_again_as_the_store_has_it(office: Office) -> None:
    lost, other = office.task(), office.task()
    office.desk.take(lost, Revise(20, lost.population.trials[:2]))
    office.desk.lose(lost, "killed")
    assert office.desk.waiting() == 5
    again = office.task()
    assert (again.population.id, again.attempt) == (1, 1)
    assert [r.from_step for r in again.population.revisions] == [0, 20]
    assert office.desk.hears(other.key)


@pytest.mark.filterwarnings(LOST)
@pytest.mark.parametrize("message", [AtStep(3), Revise(3, (1,)), Trained((), 1.0), Raised("x", False, "")])
def test_who_was_given_up_is_not_heard(office: Office, message: object) -> None:
    lost = office.task()
    office.desk.lose(lost, "killed")
    office.task()
    before = read_study(office.store)
    with pytest.raises(LostWorkerError, match="population 1 is another worker's by now"):
        office.desk.take(lost, message)  # pyright: ignore[reportArgumentType]
    office.desk.lose(lost, "killed again")  # it is not: that was another's attempt
    assert office.desk.at_work == 1
    assert read_study(office.store) == before


@pytest.mark.filterwarnings(LOST)
def test_three_workers_lost_at_one_place_are_enough(office: Office) -> None:
    for _ in range(2):
        office.desk.lose(office.task(), "killed")
    with pytest.raises(
        TrainingError, match=r"^population 1 \(trials 1 to 4\): 3 workers were lost.* one killed;"
    ):
        office.desk.lose(office.task(), "killed")


@pytest.mark.filterwarnings(LOST)
def test_workers_that_begin_no_further_on_are_counted(office: Office) -> None:
    """From one checkpoint again and again, or from before it: nobody has got on."""
    for step in (2, 1):
        task = office.task()
        office.desk.take(task, Begun(step))
        office.desk.lose(task, "killed")
    task = office.task()
    office.desk.take(task, Begun(2))
    with pytest.raises(TrainingError, match="3 workers were lost over it"):
        office.desk.lose(task, "killed")


@pytest.mark.filterwarnings(LOST)
def test_each_population_has_its_own_losses(office: Office) -> None:
    """One machine that goes takes the workers of several populations with it, and none of them is to blame."""
    for _ in range(2):
        tasks = [office.task() for _ in range(3)]
        assert [task.population.id for task in tasks] == [1, 2, 3]
        for task in tasks:
            office.desk.lose(task, "killed")
    assert office.desk.waiting() == 6


@pytest.mark.filterwarnings(LOST)
def test_a_population_that_gets_on_may_lose_more(office: Office) -> None:
    for step in (0, 1, 2, 3):
        for _ in range(2):
            task = office.task()
            office.desk.take(task, Begun(step))
            office.desk.lose(task, "killed")
    assert office.desk.waiting() == 6


def test_errors_name_the_population(office: Office) -> None:
    task = office.task()
    with pytest.raises(ValueError, match=r"^population 1 \(trials 1 to 4\): too wide$"):
        office.desk.take(task, Raised("too wide", True, "..."))
    with pytest.raises(TrainingError, match=r"^population 1 \(trials 1 to 4\): KeyError: 1\nTraceback"):
        office.desk.take(task, Raised("KeyError: 1", False, "Traceback"))


def test_a_workers_warnings_are_shown_here(office: Office) -> None:
    with pytest.warns(UserWarning, match="the disk is full"):
        office.desk.take(office.task(), Warned("the disk is full"))


@pytest.mark.filterwarnings(LOST)
def test_progress_of_all_at_work_and_none_counted_twice(office: Office) -> None:
    """Four steps each; what a lost worker had done counts neither as done nor as an earlier run's."""
    first, second = office.task(), office.task()
    for task in (first, second):
        office.desk.take(task, Begun(0))
    office.desk.take(first, AtStep(2))
    office.desk.take(second, AtStep(3))
    load = office.told[-1].work_done / (5 / 4)
    assert [(p.population, p.width, p.step, p.steps) for p in office.told[-1].at_work] == [
        (1, 8, 2, 4),
        (2, 8, 3, 4),
    ]
    office.desk.lose(second, "killed")
    again = office.task()
    office.desk.take(again, Begun(1))
    assert office.told[-1].work_done == pytest.approx(load * (2 + 1) / 4, rel=1e-12)
    assert office.told[-1].work_before == 0
    assert office.told[-1].resumed_step == 1
    finish(office, first)
    finish(office, again)
    assert office.told[-1].work_done == pytest.approx(2 * load, rel=1e-12)


@pytest.mark.parametrize(
    ("trials", "name"), [((4, 5, 6), "trials 4 to 6"), ((4, 6, 7), "trials 4, 6, 7"), ((9,), "trial 9")]
)
def test_names(office: Office, trials: tuple[int, ...], name: str) -> None:
    task = office.task()
    row = type(task.population)(7, task.population.status, None, (RevisionRow(0, trials),))
    assert named(Task(row, ())) == f"population 7 ({name})"


def test_a_worker_is_answered_when_its_revision_is_on_the_disk(office: Office) -> None:
    task, seen = office.task(), list[tuple[object, int]]()

    def send(value: object) -> None:
        seen.append((value, len(read_study(office.store).populations[0].revisions)))

    worker = SimpleNamespace(task=task, host=None, send=send)
    crew = _ProcessCrew("cpu", ({},), sharing=1)
    crew._act(office.desk, worker, (task.key, Revise(20, task.population.trials[:1])))  # pyright: ignore
    assert seen == [(Recorded(), 2)]


def test_steps_are_told_now_and_then_and_revisions_always() -> None:
    said: list[object] = []
    times = iter([0.0, 0.01, 0.05, 0.2, 0.21])
    reporter = ToWriter(said.append, Recorded, clock=lambda: next(times))
    for step in (20, 40, 60, 80):
        reporter.at_step(step)
    reporter.revise(80, [3, 1])
    # The first at once, and then not before a tenth of a second has gone by: at 0.01, and at 0.2.
    assert said == [AtStep(20), AtStep(60), Revise(80, (3, 1))]
