"""A run that is told to stop keeps all that it has done, says how to go on, and ends at once when it is told again."""

import os
import re
import shlex
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from study_example import command, one_thread, snapshot, tiny_source, tiny_text, write_corpus
from test_study_checkpoints import SPEC as CROWD
from widthwise.records import read_curves, read_study
from widthwise.study import RunState, Stop, resume_study, run_study, stop_on_signals
from widthwise.study.checkpoints import checkpoint_path
from widthwise.train import TrainingStep, checkpoint

STEPS = 45
SPEC: dict[str, Any] = {
    **CROWD,
    "training": {"steps": STEPS, "batch": 2},
    "validation_windows": 1,
}
"""Six trials in one population, of which half die at once: they are dropped after step 20."""


@pytest.fixture(autouse=True)
def listening() -> Iterator[None]:
    """A suite that a shell starts in the background inherits an ignored SIGINT, which a run leaves ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run that nobody stopped."""
    store = tmp_path_factory.mktemp("whole") / "s.sqlite"
    with one_thread():
        run_study(tiny_source(corpus, **SPEC), store, device="cpu")
    return store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "s.sqlite"


def after_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], object]) -> list[int]:
    """Act once, as soon as so many steps were trained; the list counts all of them from here on."""
    real, trained = TrainingStep.run, list[int]()

    def run(self: TrainingStep) -> None:
        real(self)
        trained.append(self.done)
        if len(trained) == step:
            act()

    monkeypatch.setattr(TrainingStep, "run", run)
    return trained


def raise_signal(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def same(store: Path, whole: Path) -> bool:
    found, wanted = read_study(store), read_study(whole)
    revisions = [[p.revisions for p in study.populations] for study in (found, wanted)]
    return found.trials == wanted.trials and revisions[0] == revisions[1]


# In the process itself


@pytest.mark.parametrize("step", [7, 33, pytest.param(20, marks=pytest.mark.slow)])
def test_a_stopped_run_is_an_undisturbed_one(
    step: int, corpus: Path, store: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, at and after the look at which the dead are dropped; without any checkpoint in between."""
    stop, states = Stop(), list[RunState]()
    trained = after_step(monkeypatch, step, stop.ask)
    never: dict[str, Any] = {"device": "cpu", "checkpoint_seconds": float("inf")}
    with one_thread(), pytest.raises(KeyboardInterrupt):
        run_study(tiny_source(corpus, **SPEC), store, stop=stop, **never)
    assert trained == list(range(1, step + 1))
    with one_thread():
        resume_study(store, listener=states.append, **never)
    assert trained == list(range(1, STEPS + 1))
    assert [s.resumed_step for s in states][:2] == [0, step]
    assert same(store, whole)
    assert read_curves(store) == read_curves(whole)
    assert list(snapshot(store.parent)) == ["s.sqlite"]


def test_a_population_that_ends_before_it_looks_is_the_last(
    corpus: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its results are recorded; the next is not begun."""
    stop = Stop()
    trained = after_step(monkeypatch, STEPS, stop.ask)
    with one_thread(), pytest.raises(KeyboardInterrupt):
        run_study(tiny_source(corpus, **{**SPEC, "widths": [8, 16]}), store, device="cpu", stop=stop)
    assert len(trained) == STEPS
    assert [p.completed for p in read_study(store).populations] == [True, False]


# The command


def run_command(corpus: Path, store: Path, *options: object) -> Any:
    spec = store.with_name("spec.yaml")
    spec.write_text(tiny_text(corpus, **SPEC))
    return command("study", "run", spec, "--store", store, "--device", "cpu", *options)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_the_command_says_how_to_go_on(
    number: signal.Signals, corpus: Path, store: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    trained = after_step(monkeypatch, 7, raise_signal(number))
    stopped = run_command(corpus, store, "--checkpoint-minutes", "never")
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert stopped.exit_code == 128 + number
    assert trained[-1] == 7
    (says,) = re.findall(r"^widthwise: stopped; `(.*)` goes on$", stopped.stderr, re.MULTILINE)
    assert says == f"widthwise study resume {shlex.quote(str(store))} --device cpu --checkpoint-minutes never"
    assert command(*shlex.split(says)[1:]).exit_code == 0
    assert trained[7] == 8
    assert same(store, whole)


def test_the_second_signal_ends_at_once(corpus: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the checkpoint is written."""
    trained = after_step(monkeypatch, 7, raise_signal(signal.SIGINT))
    written: list[str] = []

    def again(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        written.append("too late")

    monkeypatch.setattr(checkpoint, "save_checkpoint", again)
    stopped = run_command(corpus, store)
    assert stopped.exit_code == 128 + signal.SIGTERM
    assert (trained[-1], written) == (7, [])
    assert not checkpoint_path(store, 1).exists()


def test_before_there_is_a_store_nothing_goes_on(
    corpus: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from widthwise.study import run

    monkeypatch.setattr(run, "load_text", lambda spec: os.kill(os.getpid(), signal.SIGINT))
    stopped = run_command(corpus, store)
    assert stopped.exit_code == 128 + signal.SIGINT
    assert stopped.stderr.endswith("widthwise: stopped; nothing was written\n")
    assert not store.exists()


# Signals


def test_a_signal_asks_where_somebody_looks_and_else_interrupts() -> None:
    with stop_on_signals() as stop, stop.looked_at():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    with stop_on_signals() as stop:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT


def test_what_is_ignored_stays_so() -> None:
    """`nohup`, and a shell's background jobs."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop, stop.looked_at():
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop.asked
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_gets_no_signals() -> None:
    asked: list[bool] = []

    def be_thread() -> None:
        with stop_on_signals() as stop:
            asked.append(stop.asked)

    thread = threading.Thread(target=be_thread)
    thread.start()
    thread.join()
    assert asked == [False]
