"""Running a study in process: what is trained, in what order it is recorded, and what going on with it means."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import widthwise
from study_example import one_thread, snapshot, text, tiny_source, train, write_corpus
from widthwise.records import TrialRow, TrialStatus, read_curves, read_study
from widthwise.study import RunState, resume_study, runner
from widthwise.study.workload import workloads


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store" / "s.sqlite"


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The ids of the trials of every population that is trained from here on."""
    populations: list[list[int]] = []
    real = runner.train_trials

    def recording(trials: Sequence[TrialRow], *args: Any, **keywords: Any) -> Any:
        populations.append([trial.id for trial in trials])
        return real(trials, *args, **keywords)

    monkeypatch.setattr(runner, "train_trials", recording)
    return populations


def stop_at(population: int) -> Any:
    """A listener that interrupts the run when a population begins."""

    def listen(state: RunState) -> None:
        if state.population == population and state.step == 0:
            raise KeyboardInterrupt

    return listen


def test_every_trial_is_trained_once_and_serves_all_its_cells(
    corpus: Path, store: Path, trained: list[list[int]]
) -> None:
    study = train(tiny_source(corpus), store)
    assert trained == [list(p.trials) for p in study.populations]
    assert sorted(id_ for members in trained for id_ in members) == list(range(1, 25))
    assert len(study.cells) == 32
    assert {t.status for t in study.trials.values()} == {TrialStatus.COMPLETED}
    base = [cell for cell in study.cells if cell.width == 8]
    assert len(base) == 16
    assert len({cell.trial for cell in base}) == 8
    curves = read_curves(store)
    for id_ in study.trials:
        assert [step for step, _ in curves[id_]] == [1, 2, 3, 4]
    assert list(snapshot(store.parent)) == ["s.sqlite"]
    assert study == read_study(store)


def test_results_belong_to_their_trials(corpus: Path, store: Path) -> None:
    """A trial in a population has the loss that the same recipe has alone."""
    study = train(tiny_source(corpus, widths=[8], seeds=[0, 5]), store, population_size=8)
    from widthwise.train import load_corpus

    for id_ in (1, 4, 8):
        with one_thread():
            (alone,) = runner.train_trials(
                [study.trials[id_]], load_corpus(str(corpus)), device=runner.choose_device("cpu")
            )
        assert alone.trial == id_
        # Sums over a batch may be taken in another order: a few units of float32's 6e-8.
        assert alone.validation_loss == pytest.approx(study.trials[id_].validation_loss, rel=1e-6)
    assert len({t.validation_loss for t in study.trials.values()}) == 8


def test_compositions_stand_before_anything_runs(corpus: Path, store: Path) -> None:
    seen: list[int] = []

    def listen(state: RunState) -> None:
        if not seen:
            study = read_study(store)
            seen.extend(len(p.trials) for p in study.populations)
            assert {t.status for t in study.trials.values()} == {TrialStatus.PENDING}
            assert len(study.hosts) == 1

    train(tiny_source(corpus), store, listener=listen)
    assert seen == [4] * 6


def test_a_finished_population_stands_before_the_next_begins(corpus: Path, store: Path) -> None:
    def listen(state: RunState) -> None:
        study = read_study(store)
        done = [p.id for p in study.populations if p.completed]
        ended = sum(t.status is not TrialStatus.PENDING for t in study.trials.values())
        assert done == list(range(1, len(done) + 1))
        assert state.trials_done == ended == 4 * len(done)
        assert len(read_curves(store)) == ended

    train(tiny_source(corpus), store, listener=listen)


def test_the_stores_own_text_is_enough_to_go_on(
    corpus: Path, store: Path, tmp_path: Path, trained: list[list[int]]
) -> None:
    source = tiny_source(corpus)
    whole = train(source, tmp_path / "whole.sqlite")
    trained.clear()
    with pytest.raises(KeyboardInterrupt):
        train(source, store, listener=stop_at(3))
    assert list(snapshot(store.parent)) == ["s.sqlite"]
    before = read_study(store)
    assert [p.completed for p in before.populations] == [True, True, False, False, False, False]
    with one_thread():
        after = resume_study(store, device="cpu")
    assert trained == [list(p.trials) for p in whole.populations]
    assert after.trials == whole.trials
    assert read_curves(store) == read_curves(tmp_path / "whole.sqlite")
    assert len(after.hosts) == 2
    assert [p.seconds for p in after.populations[:2]] == [p.seconds for p in before.populations[:2]]
    assert list(snapshot(store.parent)) == ["s.sqlite"]


def test_going_on_with_the_specification_is_the_same(
    corpus: Path, store: Path, trained: list[list[int]]
) -> None:
    source = tiny_source(corpus)
    with pytest.raises(KeyboardInterrupt):
        train(source, store, listener=stop_at(2))
    # A population's size was fixed when the store was made.
    study = train(source, store, population_size=8)
    assert trained == [list(p.trials) for p in study.populations]
    assert [len(p.trials) for p in study.populations] == [4] * 6


def test_running_a_finished_study_trains_nothing(corpus: Path, store: Path, trained: list[list[int]]) -> None:
    source = tiny_source(corpus)
    study = train(source, store)
    trained.clear()
    before = (snapshot(store.parent), store.stat().st_mtime_ns)
    corpus.unlink()  # Nothing is left to train, so nothing has to be read.
    assert train(source, store) == study
    assert resume_study(store) == study
    assert trained == []
    assert (snapshot(store.parent), store.stat().st_mtime_ns) == before


def test_a_finished_study_is_closed_if_its_writer_was_killed(corpus: Path, store: Path) -> None:
    study = train(tiny_source(corpus, widths=[8]), store)
    import sqlite3

    left = store.parent
    connection = sqlite3.connect(store)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("UPDATE study SET created = 'again'")
    connection.commit()
    copy = left.parent / "copy"
    copy.mkdir()
    for file in left.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    connection.close()
    (copy / "s.sqlite.lock").touch()
    assert {"s.sqlite-wal", "s.sqlite.lock"} <= set(snapshot(copy))
    assert resume_study(copy / "s.sqlite") == study
    assert list(snapshot(copy)) == ["s.sqlite"]


def test_an_edited_but_equal_specification_is_the_same(corpus: Path, store: Path) -> None:
    study = train(tiny_source(corpus, widths=[8]), store)
    equal = tiny_source(
        corpus, widths=[8], learning_rates={"highest": 2**-5, "lowest": 2**-8, "per_octave": 1}
    )
    assert equal.text != study.spec
    assert train(equal, store) == study


@pytest.mark.parametrize(
    "change", [{"seeds": [0]}, {"name": "other"}, {"training": {"steps": 5, "batch": 2}}]
)
def test_a_store_of_another_specification_is_refused(
    corpus: Path, store: Path, change: dict[str, Any]
) -> None:
    train(tiny_source(corpus, widths=[8]), store)
    before = snapshot(store.parent)
    with pytest.raises(
        ValueError, match=r"belongs to another specification \('tiny'\); give another --store"
    ):
        train(tiny_source(corpus, **{"widths": [8], **change}), store)
    assert snapshot(store.parent) == before


def test_a_changed_corpus_is_refused(corpus: Path, store: Path) -> None:
    source = tiny_source(corpus)
    with pytest.raises(KeyboardInterrupt):
        train(source, store, listener=stop_at(3))
    before = snapshot(store.parent)
    corpus.write_text(text().replace("alpha", "aleph", 1))
    for go_on in (lambda: train(source, store), lambda: resume_study(store)):
        with pytest.raises(
            ValueError, match=r"corpus .* is not the text that store .* was begun with.*restore it"
        ):
            go_on()
    assert snapshot(store.parent) == before
    corpus.write_text(text())
    assert all(p.completed for p in train(source, store).populations)


def test_trials_that_diverge_are_results(corpus: Path, store: Path) -> None:
    source = tiny_source(
        corpus,
        widths=[8],
        optimizer={"kind": "sgd"},
        learning_rates=["2^-8", "2^100"],
        training={"steps": 12, "batch": 2},
    )
    study, curves = train(source, store), read_curves(store)
    diverged = {cell.trial for cell in study.cells if cell.learning_rate > 1}
    assert len(diverged) == 2
    for id_, trial in study.trials.items():
        if id_ in diverged:
            assert trial.status is TrialStatus.DIVERGED
            assert trial.reason is not None
            assert trial.reason.startswith("non-finite ")
            assert trial.step is not None
            assert 1 <= trial.step <= 12
            assert trial.validation_loss is None
        else:
            assert trial.status is TrialStatus.COMPLETED
        assert all(loss == loss and abs(loss) < float("inf") for _, loss in curves.get(id_, ()))
    assert all(p.completed for p in study.populations)


@pytest.mark.parametrize(
    ("model", "optimizer", "anchor", "gauge"),
    [
        ("mlp", {"kind": "adam-atan2", "a": 1.25}, "relative", "explicit"),
        ("mlp", {"kind": "sgd"}, "absolute", "explicit"),
        ("mlp", {"kind": "adam-ps", "epsilon_policy": "per-layer"}, "absolute", "folded"),
        ("mlp", {"kind": "adafactor", "min_dim_size_to_factor": 8}, "relative", "folded"),
        ("transformer", {"kind": "adam", "epsilon_policy": "per-layer"}, "absolute", "folded"),
    ],
)
def test_every_kind_of_study_trains(
    corpus: Path, store: Path, model: str, optimizer: dict[str, Any], anchor: str, gauge: str
) -> None:
    sizes = {
        "mlp": {"kind": "mlp", "depth": 1, "window": 2, "context": 8},
        "transformer": {"kind": "transformer", "depth": 1, "head_dim": 4, "context": 8},
    }
    source = tiny_source(
        corpus,
        model=sizes[model],
        optimizer=optimizer,
        anchor=anchor,
        gauge=gauge,
        arms=[{"parameterization": ["ntk", "mean-field"], "rates": "full"}],
        learning_rates=["2^-10"],
        seeds=[0],
    )
    study = train(source, store)
    assert {t.status for t in study.trials.values()} == {TrialStatus.COMPLETED}
    explicit = ["multipliers" in json.loads(t.recipe) for t in study.trials.values()]
    assert any(explicit) is (gauge == "explicit")


def test_hosts_say_what_results_depend_on(corpus: Path, store: Path) -> None:
    (host,) = train(tiny_source(corpus, widths=[8]), store).hosts
    assert sorted(host) == [
        "device", "machine", "numpy", "processor", "python", "threads", "torch", "widthwise",
    ]  # fmt: skip
    assert (host["device"], host["threads"], host["widthwise"]) == ("cpu", "1", widthwise.__version__)


def test_work_is_tokens_times_parameters(corpus: Path, store: Path) -> None:
    study = train(tiny_source(corpus), store)
    loads = workloads(study)
    assert set(loads) == {1, 2, 3, 4, 5, 6}
    small, large = loads[1], loads[6]
    assert (small.width, small.members, small.steps) == (8, 4, 4)
    assert small.tokens == large.tokens == 4 * 4 * 2 * 8  # members, steps, batch, context
    # 12 D^2 + 2 V D + context D + 3 D, by the model's own formula.
    assert small.work == small.tokens * (12 * 8**2 + 2 * 256 * 8 + 8 * 8 + 3 * 8)
    assert large.work == large.tokens * (12 * 16**2 + 2 * 256 * 16 + 8 * 16 + 3 * 16)


def test_a_listener_is_told_how_the_run_stands(corpus: Path, store: Path) -> None:
    states: list[RunState] = []
    source = tiny_source(corpus, training={"steps": 40, "batch": 1}, seeds=[0])

    def listen(state: RunState) -> None:
        states.append(state)
        if state.population == 2 and state.step == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(source, store, listener=listen)
    assert [(s.population, s.step, s.trials_done) for s in states] == [
        (1, 0, 0), (1, 20, 0), (1, 40, 0), (1, 40, 4), (2, 0, 4), (2, 20, 4),
    ]  # fmt: skip
    assert {(s.populations, s.trials, s.members, s.steps) for s in states} == {(3, 12, 4, 40)}
    assert [s.width for s in states] == [8, 8, 8, 8, 16, 16]
    first, half = states[0], states[1]
    assert (first.work_done, first.work_before, first.tokens_per_second, first.seconds_left) == (
        0,
        0,
        None,
        None,
    )
    loads = workloads(read_study(store))
    assert half.work_done == 0.5 * loads[1].work
    assert half.work == loads[1].work + loads[2].work + loads[3].work
    assert half.tokens_per_second == 0.5 * loads[1].tokens / half.seconds
    assert half.seconds_left == pytest.approx(half.seconds * (half.work - half.work_done) / half.work_done)
    states.clear()
    with one_thread():
        resume_study(store, device="cpu", listener=states.append)
    assert (states[0].population, states[0].trials_done) == (2, 4)
    assert states[0].work_before == states[0].work_done == loads[1].work
    assert states[0].tokens_per_second is None
    assert states[-1].work_done == states[-1].work
    assert (states[-1].trials_done, states[-1].seconds_left) == (12, 0)


def test_devices() -> None:
    assert runner.choose_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="device 'tpu' is unknown; choose cpu, cuda or auto"):
        runner.choose_device("tpu")


def test_cuda_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runner.choose_device("auto").type == "cpu"
    with pytest.raises(
        ValueError, match="device 'cuda' was asked for but torch sees no CUDA device; choose cpu"
    ):
        runner.choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert runner.choose_device("auto").type == "cuda"
