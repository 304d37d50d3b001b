"""Planned rates in a study: rounds over arms and widths, written before they run, decided again from the store."""

import json
import math
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from study_example import command, ended, one_thread, tiny_source, write_corpus
from widthwise.records import StoredStudy, TrialRow, TrialStatus, read_layers, read_study
from widthwise.report import study_page_data
from widthwise.study import Processes, RunState, SpecSource, resume_study, run_study, runner
from widthwise.study.expand import expand_arms
from widthwise.study.rate_spec import RateSweep
from widthwise.study.sweep_rounds import lattice_point, next_round
from widthwise.study.trial_result import TrialResult

SWEEP = {"lowest": "2^-8", "highest": "2^-4", "coarse": "2^1", "fine": "2^0.5", "reach": "2^6"}
Loss = Callable[[int, float, int], float | None]


def swept(corpus: Path | str = "text.txt", **changes: Any) -> SpecSource:
    """Two arms (at width 8 the same runs), three widths, three seeds; 2^0.5 between rates."""
    fields = {
        "learning_rates": {"sweep": SWEEP},
        "widths": [8, 16, 32],
        "seeds": [5, 0, 1],
        "training": {"steps": 2, "batch": 2},
    }
    return tiny_source(corpus, **{**fields, **changes})


def invent(monkeypatch: pytest.MonkeyPatch, loss: Loss) -> list[list[int]]:
    """Put made-up losses in the place of training; the trials of every population, as they come."""
    trained: list[list[int]] = []

    def results(trials: Sequence[TrialRow], *_: Any, **__: Any) -> list[TrialResult]:
        trained.append([trial.id for trial in trials])
        found: list[TrialResult] = []
        for trial in trials:
            recipe = json.loads(trial.recipe)
            hidden = recipe["tensors"]["blocks.*.mlp.up"][1]
            found.append(ended(trial.id, loss(recipe["model"]["width"], hidden, recipe["seeds"]["init"])))
        return found

    monkeypatch.setattr(runner, "train_trials", results)
    return trained


def valley(width: int, hidden: float, seed: int) -> float | None:
    """The best hidden rate falls as 1/width from 2^-6.4 at width 8: no drift for muP, -1 for the standard."""
    u = math.log2(hidden) + 6.4 + math.log2(width / 8)
    return None if u > 3.2 else 2 + 0.05 * u**2 + 0.001 * seed


def run(source: SpecSource, store: Path, **options: Any) -> StoredStudy:
    with one_thread():
        return run_study(source, store, device="cpu", **{"population_size": 40, **options})


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path)


def rates(study: StoredStudy, arm: str, width: int) -> dict[int, list[float]]:
    """Seed -> log2 of the rates that a cell has."""
    found: dict[int, list[float]] = {}
    for cell in study.cells:
        if (cell.arm, cell.width) == (arm, width):
            found.setdefault(cell.seed, []).append(round(math.log2(cell.learning_rate), 6))
    return found


def dump(path: Path) -> list[str]:
    """A store's whole content but for times and hosts."""
    with closing(sqlite3.connect(path)) as connection:
        return [
            line
            for line in connection.iterdump()
            if not line.startswith(('INSERT INTO "study"', 'INSERT INTO "host"', 'INSERT INTO "population"'))
        ]


def test_windows_follow_the_optimum_from_width_to_width(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invent(monkeypatch, valley)
    study = run(swept(corpus), tmp_path / "s.sqlite")
    where = {(row.arm, row.width): row for row in study.sweeps}
    assert all(row.done and row.outcome == "bracketed" for row in where.values())
    best = {key: round(math.log2(row.best or math.nan), 6) for key, row in where.items()}
    # The nearest lattice points to -6.4, -7.4 and -8.4 for the global rate, to -6.4 everywhere for muP.
    for arm, expected in (("standard-global", [-6.5, -7.5, -8.5]), ("mup-full", [-6.5, -6.5, -6.5])):
        assert [best[arm, width] for width in (8, 16, 32)] == expected
    # Width 8: coarse -8 ... -4, the last 2.4^2 * 0.05 = 0.288 above, so on to -3, which diverges (u > 3.2); the best
    # is -6, then -6.5. Its neighbour begins at -6.5 - 2 and ends at -6.5 + 2.
    assert rates(study, "mup-full", 8)[5] == [-8, -7.5, -7, -6.5, -6, -5.5, -5, -4, -3]
    assert {-8.5, -7.5, -6.5, -5.5, -4.5} <= set(rates(study, "mup-full", 16)[5])
    for width in (8, 16, 32):
        found = rates(study, "standard-global", width)
        assert found[0] == found[1] == [best["standard-global", width]]
    assert {t.status for t in study.trials.values()} == {TrialStatus.COMPLETED, TrialStatus.DIVERGED}


def test_a_width_at_which_nothing_trains_does_not_move_the_next_ones_window(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """muP's optimum is at 2^-6.5 of width 8; width 16 diverges everywhere, and width 32 begins around 2^-6.5."""
    invent(monkeypatch, lambda width, hidden, seed: None if width == 16 else valley(width, hidden, seed))
    study = run(swept(corpus), tmp_path / "s.sqlite")
    outcomes = {row.width: row.outcome for row in study.sweeps if row.arm == "mup-full"}
    assert outcomes == {8: "bracketed", 16: "no rate trained", 32: "bracketed"}
    tried = set(rates(study, "mup-full", 32)[5])
    assert {-8.5, -7.5, -6.5, -5.5, -4.5} <= tried
    assert not {-8.0, -4.0} & tried


def test_a_round_fills_populations_with_many_cells(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = invent(monkeypatch, valley)
    study = run(swept(corpus, anchor="absolute"), tmp_path / "s.sqlite")
    cells = {cell.trial: cell for cell in study.cells}
    arms = [{cells[id_].arm for id_ in members} for members in trained]
    widths = [{cells[id_].width for id_ in members} for members in trained]
    assert all(len(found) == 1 for found in widths)
    assert sum(len(found) == 2 for found in arms) >= 6  # under this anchor no run of theirs is the same
    # A width begins in the same round as the further seeds of the one below.
    by_population = [
        (width.pop(), {cells[i].seed for i in members})
        for width, members in zip(widths, trained, strict=True)
    ]
    first_16 = next(i for i, (width, _) in enumerate(by_population) if width == 16)
    assert (8, {0, 1}) in by_population[first_16 - 1 : first_16 + 2]
    assert len(study.rounds) < len(trained)


def test_runs_that_two_arms_share_are_trained_once(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = invent(monkeypatch, valley)
    study = run(swept(corpus), tmp_path / "s.sqlite")
    members = [id_ for population in trained for id_ in population]
    assert sorted(members) == sorted(study.trials) == list(range(1, len(study.trials) + 1))
    assert rates(study, "standard-global", 8) == rates(study, "mup-full", 8)
    assert (
        len({c.trial for c in study.cells if c.width == 8})
        == len([c for c in study.cells if c.width == 8]) / 2
    )


def test_a_grid_and_a_sweep_side_by_side(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invent(monkeypatch, valley)
    arms = [
        {"parameterization": "standard", "rates": "global", "learning_rates": ["2^-7", "2^-6"]},
        {"parameterization": "mup", "rates": "full"},
    ]
    study = run(swept(corpus, arms=arms), tmp_path / "s.sqlite")
    for width in (8, 16, 32):
        assert rates(study, "standard-global", width) == {seed: [-7, -6] for seed in (0, 1, 5)}
    assert {row.arm for row in study.sweeps} == {"mup-full"}
    assert not study.sweeping


class StopError(Exception):
    pass


def stopping(after: int) -> Callable[[RunState], None]:
    """Kill the run when it is told of something for the n-th time."""
    seen = 0

    def listen(state: RunState) -> None:
        nonlocal seen
        seen += 1
        if seen == after:
            raise StopError

    return listen


def test_a_run_stopped_anywhere_ends_in_the_same_store(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is stopped, in a round or between two, what is decided after it is the same bit for bit."""
    invent(monkeypatch, valley)
    source = swept(corpus)
    told = 0

    def count(state: RunState) -> None:
        nonlocal told
        told += 1

    run(source, tmp_path / "whole.sqlite", listener=count, population_size=4)
    whole = dump(tmp_path / "whole.sqlite")
    for after in range(1, told + 1, told // 5):
        store = tmp_path / f"{after}.sqlite"
        with pytest.raises(StopError):
            run(source, store, listener=stopping(after), population_size=4)
        with one_thread():
            resume_study(store, device="cpu")
        assert dump(store) == whole


def test_a_kill_before_a_round_is_written_costs_nothing(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from widthwise.study.store import StoreWriter

    invent(monkeypatch, valley)
    source, store = swept(corpus), tmp_path / "s.sqlite"
    whole = run(source, tmp_path / "whole.sqlite")
    real, rounds = StoreWriter.add_round, 0

    def failing(writer: StoreWriter, *arguments: Any) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            raise StopError
        real(writer, *arguments)

    monkeypatch.setattr(StoreWriter, "add_round", failing)
    with pytest.raises(StopError):
        run(source, store)
    between = read_study(store)
    assert (between.pending_populations(), between.sweeping) == ((), True)
    with one_thread():
        assert resume_study(store, device="cpu").cells == whole.cells
    assert dump(store) == dump(tmp_path / "whole.sqlite")


def test_the_last_rows_are_what_the_store_itself_decides(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invent(monkeypatch, valley)
    source = swept(corpus)
    study = run(source, tmp_path / "s.sqlite")
    again = next_round(study, expand_arms(source.spec), source.spec.seeds)
    assert again.runs == {}
    assert again.rows == study.sweeps


def test_a_trial_that_cannot_be_run_ends_its_cell_and_no_other(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invent(monkeypatch, valley)
    real = runner.train_trials

    def failing(trials: Sequence[TrialRow], *arguments: Any, **keywords: Any) -> list[TrialResult]:
        return [
            TrialResult(r.trial, TrialStatus.FAILED, "no memory", None, None, ())
            if '"width":16' in trial.recipe
            else r
            for trial, r in zip(trials, real(trials, *arguments, **keywords), strict=True)
        ]

    monkeypatch.setattr(runner, "train_trials", failing)
    study = run(swept(corpus), tmp_path / "s.sqlite")
    rows = {row.width: row for row in study.sweeps if row.arm == "mup-full"}
    assert (rows[16].outcome, rows[16].reason, rows[16].done) == ("failed", "a trial could not be run", True)
    assert rows[8].outcome == rows[32].outcome == "bracketed"
    # Width 32 begins around the optimum of width 8.
    assert {-8.5, -7.5, -6.5, -5.5, -4.5} <= set(rates(study, "mup-full", 32)[5])


def test_a_real_sweep_of_tiny_models(corpus: Path, tmp_path: Path) -> None:
    """Trained for real: whatever the losses are, every cell ends by the rule."""
    states: list[RunState] = []
    sweep = {**SWEEP, "highest": "2^-5", "reach": "2^3"}
    source = swept(
        corpus,
        widths=[8, 16],
        seeds=[0, 1],
        learning_rates={"sweep": sweep},
        training={"steps": 4, "batch": 2},
    )
    study = run(source, tmp_path / "s.sqlite", listener=states.append)
    assert not study.sweeping
    assert {state.round for state in states} == set(range(1, len(study.rounds) + 1))
    assert len(study.rounds) >= 3
    rule = next(a.grid.sweep.rule for a in expand_arms(source.spec) if isinstance(a.grid, RateSweep))
    for row in study.sweeps:
        runs = {
            lattice_point(rule, c.learning_rate): study.trials[c.trial].validation_loss
            for c in study.cells
            if (c.arm, c.width, c.seed) == (row.arm, row.width, 0)
        }
        trained = {k: loss for k, loss in runs.items() if loss is not None}
        best = min(trained, key=lambda k: trained[k])
        assert row.best == rule.rate(best)
        assert (
            row.outcome == "upper limit"
            if best == rule.ceiling
            else set(range(best - 2, best + 1)) <= runs.keys()
        )


def test_the_commands_work_in_mid_sweep_and_after(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invent(monkeypatch, valley)
    store, spec = tmp_path / "s.sqlite", tmp_path / "s.yaml"
    spec.write_text(swept(corpus).text)
    stopped = stopping(14)
    monkeypatch.setattr("widthwise.cli.progress.describe", lambda state: stopped(state) or "")
    result = command("study", "run", spec, "--store", store, "--device", "cpu")
    assert isinstance(result.exception, StopError)
    monkeypatch.undo()
    middle = read_study(store)
    assert middle.sweeping
    done = {(row.arm, row.width) for row in middle.sweeps if row.done}
    exported = command("study", "export", store)
    assert exported.exit_code == 0
    assert len(exported.stdout.splitlines()) > 10
    verdict = command("study", "verdict", store, "--require", "mup-full")
    if len({width for arm, width in done if arm == "mup-full"}) < 2:
        assert (verdict.exit_code, "finished no two widths" in verdict.stderr) == (2, True)
    invent(monkeypatch, valley)
    ended_ = command("study", "resume", store, "--device", "cpu")
    assert ended_.exit_code == 0, ended_.stderr
    assert "round " in ended_.stderr
    page = study_page_data(store)
    assert {(o.prescription, o.width) for o in page.observations} == {
        (arm, width) for arm in ("standard-global", "mup-full") for width in (8, 16, 32)
    }
    assert not [note for note in page.analysis.notes if "sweep" in note or "planned" in note]
    assert command("study", "verdict", store, "--require", "standard-global").exit_code == 3


@pytest.mark.slow
def test_the_page_in_mid_sweep(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two widths of both arms are done, the third is not: it is left out, and the page says so."""
    invent(monkeypatch, valley)
    store = tmp_path / "s.sqlite"

    def stop(state: RunState) -> None:
        if sum(row.done for row in read_study(store).sweeps) == 4:
            raise StopError

    with pytest.raises(StopError):
        run(swept(corpus), store, listener=stop)
    result = command("study", "report", store, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    text = (tmp_path / "out" / "report.html").read_text()
    assert "Rates are still being planned, and left out here: standard-global (32), mup-full (32)." in text


@pytest.mark.slow
def test_two_workers_decide_and_train_what_one_process_does(corpus: Path, tmp_path: Path) -> None:
    sweep = {**SWEEP, "highest": "2^-5", "reach": "2^3"}
    source = swept(corpus, widths=[8, 16], learning_rates={"sweep": sweep})
    run(source, tmp_path / "one.sqlite", population_size=4)
    run(source, tmp_path / "two.sqlite", population_size=4, executor=Processes(2))
    assert dump(tmp_path / "two.sqlite") == dump(tmp_path / "one.sqlite")


def test_a_search_that_was_not_bracketed_is_in_the_notes(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edge(width: int, hidden: float, seed: int) -> float | None:
        return None if hidden > 2.0**-5.6 else valley(8, hidden / 4, seed)

    invent(monkeypatch, edge)
    study = run(swept(corpus), tmp_path / "s.sqlite")
    row = next(row for row in study.sweeps if (row.arm, row.width) == ("mup-full", 32))
    assert (row.outcome, row.best) == ("stability edge", 2.0**-4)
    notes = study_page_data(tmp_path / "s.sqlite").analysis.notes
    assert (
        "mup-full, width 32: its sweep ended as 'stability edge': the next rate, 0.0884, diverged." in notes
    )


@pytest.mark.parametrize(
    ("sweep", "says"),
    [
        ({"lowest": "2^-4", "highest": "2^-8"}, "highest 0.00390625 is below lowest 0.0625; exchange them"),
        ({**SWEEP, "coarse": "2^0.75"}, "coarse 1.68179 is 1.5 steps of fine 1.41421; choose a whole number"),
        ({**SWEEP, "window": "2^1.5"}, "window 2.82843 is 1.5 steps of coarse 2; choose a whole number"),
        ({**SWEEP, "around": "2^0.5"}, "around 1.41421 is 0.5 steps of coarse 2"),
        ({**SWEEP, "fine": 1}, "learning_rates.sweep.fine: Input should be greater than 1"),
        ({**SWEEP, "stop_ratio": 1}, "learning_rates.sweep.stop_ratio: Input should be greater than 1"),
        ({"highest": 1}, "learning_rates.sweep.lowest: is missing; add it"),
        ({**SWEEP, "step": 2}, "learning_rates.sweep.step: there is no such field here"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(sweep: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match="mistake") as caught:
        swept(learning_rates={"sweep": sweep})
    assert says in str(caught.value)


def test_the_first_window_ends_on_the_coarse_lattice_at_or_below_highest() -> None:
    sweep = swept(learning_rates={"sweep": {"lowest": "2^-8", "highest": "2^-4.1"}}).spec.learning_rates
    assert isinstance(sweep, RateSweep)
    assert [math.log2(rate) for rate in sweep.rates()] == [-8, -7, -6, -5]
    assert sweep.sweep.rule.step == 0.25


def test_what_is_measured_is_known_at_widths_that_a_later_round_begins(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invent(monkeypatch, valley)
    run(swept(corpus, measure={"alignment": {"every": 1}}), tmp_path / "s.sqlite")
    layers = read_layers(tmp_path / "s.sqlite")
    assert {layer.width for layer in layers} == {8, 16, 32}
    assert len({(layer.width, layer.name) for layer in layers}) == len(layers) > 3


def test_an_estimate_counts_what_a_search_is_expected_to_train(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expected: 5 + 4 - 2 + 3 = 10 rates of a search and 2 further seeds; within a third of what it then took."""
    from widthwise.study.estimate import estimate_study
    from widthwise.study.estimate_text import estimate_lines
    from widthwise.study.gpu import GPUS

    invent(monkeypatch, valley)
    source = swept(corpus, anchor="absolute")
    estimate = estimate_study(source.spec, GPUS["h100"])
    assert estimate.cells == 2 * 3 * 12
    took = len(run(source, tmp_path / "s.sqlite").cells)
    assert took == pytest.approx(estimate.cells, rel=1 / 3)
    assert any("planned while the study runs" in line for line in estimate_lines(estimate))
