"""Studies of a user's own training function: what it is told, how its trials end, and what a trial is named by."""

import json
import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch import nn

import own_functions
from study_example import command, snapshot, tiny
from widthwise import ADAM, FULL, MUP, STANDARD, make_plan
from widthwise.cli.labels import labelled_study
from widthwise.records import TrialStatus, read_curves, read_study
from widthwise.report import study_page_data
from widthwise.report.study_setting import setting_rows
from widthwise.study import RunState, SpecSource, Trial, few_rates_note, parse_spec, resume_study, run_study
from widthwise.study.expand import StudyPlan, expand
from widthwise.study.own_trial import own_trial
from widthwise.study.train_own import Curve, train_own

MODEL: dict[str, Any] = {"kind": "own", "runner": "own_functions:valley", "version": "1"}
CHANGES: dict[str, Any] = {
    "model": MODEL,
    "validation_windows": None,
    "optimizer": {"kind": "adam", "epsilon": 1e-8, "epsilon_policy": "per-layer"},
    "widths": [16, 32, 64],
    "learning_rates": {"lowest": "2^-10", "highest": "2^-2"},
}


def fields(**changes: Any) -> dict[str, Any]:
    """The specification's: without a corpus, unless it is given."""
    own = tiny(**{**CHANGES, **changes})
    return own if "corpus" in changes else {name: value for name, value in own.items() if name != "corpus"}


def source(**changes: Any) -> SpecSource:
    return parse_spec(yaml.safe_dump(fields(**changes)))


def plan(**changes: Any) -> StudyPlan:
    return expand(source(**changes).spec, corpus="none", population_size=8)


def trials(**changes: Any) -> dict[tuple[str, int, float, int], Trial]:
    """The trial of every cell: (arm, width, rate, seed)."""
    planned = plan(**changes)
    by_id = {t.id: own_trial(t.recipe) for t in planned.trials}
    return {(c.arm, c.width, c.learning_rate, c.seed): by_id[c.trial] for c in planned.cells}


def test_a_function_is_told_everything() -> None:
    found = trials(
        model={**MODEL, "options": {"depth": 3, "data": "mine"}}, training={"steps": 50, "batch": 4}
    )
    trial = found["mup-full", 64, 2.0**-7, 1]
    assert replace(trial, roles={}) == Trial(
        width=64,
        base_width=16,
        parameterization="mup",
        prescription="full",
        anchor="relative",
        optimizer="adam",
        optimizer_constants={"beta1": 0.9, "beta2": 0.98},
        learning_rate=2.0**-7,
        epsilon=1e-8,
        roles={},
        seed=1,
        data_seed=1,
        steps=50,
        warmup=5,
        floor=0.0,
        batch=4,
        precision="float32",
        options={"depth": 3, "data": "mine"},
    )
    # Everett et al. 2024, Table 1, muP and Adam with full alignment: a, b, c of embedding, hidden, readout.
    half, one = Fraction(1, 2), Fraction(1)
    assert {role: n.exponents[:3] for role, n in trial.roles.items() if role != "vector"} == {
        "embedding": (-half, half, half),
        "hidden": (0, half, one),
        "readout": (half, half, half),
    }


def test_at_the_base_width_everything_is_as_it_was_tuned() -> None:
    for (_, width, rate, _), trial in trials().items():
        for numbers in trial.roles.values():
            if width == 16:
                assert (numbers.init, numbers.learning_rate, numbers.epsilon) == (1.0, rate, 1e-8)


@pytest.mark.parametrize(("arm", "parameterization"), [("mup-full", MUP), ("standard-full", STANDARD)])
def test_the_numbers_are_those_of_a_plan_for_such_a_model(arm: str, parameterization: Any) -> None:
    """A plan multiplies what the model draws, here n^(-1/2) but for the table; a function is told the whole power."""

    def build(width: int) -> nn.Module:
        layers = [nn.Linear(width, width, bias=False), nn.Linear(width, 10, bias=False)]
        return nn.Sequential(nn.Embedding(11, width), *layers)

    rows = make_plan(
        build, width=64, base_width=16, parameterization=parameterization, optimizer=ADAM, alignment=FULL
    ).rows
    arms = [{"parameterization": ["mup", "standard"], "rates": "full"}]
    told = trials(arms=arms)[arm, 64, 2.0**-5, 0].roles
    for role, name, drawn in (
        ("embedding", "0.weight", 1),
        ("hidden", "1.weight", 2),
        ("readout", "2.weight", 2),
    ):
        assert told[role].learning_rate == pytest.approx(2.0**-5 * rows[name].rate, rel=1e-12)
        assert told[role].epsilon == pytest.approx(1e-8 * rows[name].epsilon, rel=1e-11)
        assert told[role].init == pytest.approx(rows[name].init / drawn, rel=1e-12)


def test_absolute_numbers_are_powers_of_the_width() -> None:
    """muP's hidden layers are drawn with n^(-1/2); its readout, folded, with n^(-1/2 - 1/2)."""
    roles = trials(anchor="absolute")["mup-full", 64, 2.0**-5, 0].roles
    assert {role: roles[role].init for role in ("embedding", "hidden", "readout")} == {
        "embedding": 1.0, "hidden": 2.0**-3, "readout": 2.0**-6
    }  # fmt: skip


def test_constants_of_each_kind_of_layer_are_in_its_rate() -> None:
    arms = [{"parameterization": "standard", "rates": "global", "constants": [{"hidden": 2, "readout": 8}]}]
    ((_, trial),) = [item for item in trials(arms=arms).items() if item[0][1:] == (32, 2.0**-5, 0)]
    assert [trial.roles[role].learning_rate * 2**5 for role in ("embedding", "hidden", "readout")] == [
        1,
        2,
        8,
    ]


def test_weight_decay_is_each_roles() -> None:
    arms = [{"parameterization": "standard", "rates": "full", "weight_decay": 0.01}]
    trial = next(t for t in trials(arms=arms).values() if t.width == 64)
    assert {role: numbers.weight_decay for role, numbers in trial.roles.items()} == {
        "embedding": 0.01, "hidden": 0.01, "readout": 0.01, "vector": 0.0
    }  # fmt: skip


@pytest.mark.parametrize(
    "change", [{"runner": "own_functions:every_end"}, {"version": "2"}, {"options": {"depth": 3}}]
)
def test_function_version_and_options_name_a_trial(change: dict[str, Any]) -> None:
    one, other = plan(), plan(model={**MODEL, **change})
    assert not {t.identity for t in one.trials} & {t.identity for t in other.trials}


def test_what_a_function_is_not_told_does_not_name_a_trial() -> None:
    divergence = {"steps": 4, "batch": 2, "divergence": {"margin": 2}}
    assert plan().trials == plan(training=divergence, validation_windows=7).trials


def test_every_trial_is_a_population_and_none_is_merged_with_another_arms(tmp_path: Path) -> None:
    """A function may do with the names of an arm what it likes."""
    study = run_study(source(), tmp_path / "s.sqlite", device="cpu", population_size=8)
    assert [len(p.trials) for p in study.populations] == [1] * len(study.cells)
    assert len(study.trials) == len(study.cells) == 2 * 3 * 9 * 2
    assert {t.status for t in study.trials.values()} == {TrialStatus.COMPLETED}
    cell = next(
        c for c in study.cells if (c.arm, c.width, c.learning_rate) == ("standard-global", 64, 2.0**-8)
    )
    assert study.trials[cell.trial].validation_loss == 1 + 4 / 16
    # Four steps and as many points: each is its step's.
    assert read_curves(tmp_path / "s.sqlite")[cell.trial] == tuple((s, 1.25 + 1 / s) for s in range(1, 5))


def test_verdict_and_page_are_those_of_any_study(tmp_path: Path) -> None:
    """The valley is that of the hidden layers' rate: with one rate for all it stays, with 1 / n it moves like n."""
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(fields()))
    store = tmp_path / "s.sqlite"
    result = command("study", "run", tmp_path / "spec.yaml", "--store", store, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert command("study", "verdict", store, "--require", "standard-global").exit_code == 0
    moved = command("study", "verdict", store, "--require", "mup-full")
    assert moved.exit_code == 3
    assert len(study_page_data(store).analysis.results) == 2


@pytest.mark.slow
def test_the_page_is_written(tmp_path: Path) -> None:
    run_study(source(), tmp_path / "s.sqlite", device="cpu")
    assert command("study", "report", tmp_path / "s.sqlite", "--out", tmp_path / "page").exit_code == 0
    assert "own_functions" in (tmp_path / "page" / "report.html").read_text()


NO_NUMBER = "the training function returned {}, which is no number; return the final validation loss"
ENDS: dict[int, tuple[str, str, int | None]] = {
    0: ("diverged", "final loss is nan", 1),
    1: ("diverged", "final loss is -inf", 1),
    2: ("diverged", "training loss is nan", 3),
    3: ("diverged", "the loss scaler gave up", 1),
    4: ("failed", "RuntimeError: no such file", 1),
    5: ("failed", "SystemExit: good bye", 1),
    6: ("failed", f"TypeError: {NO_NUMBER.format('None')}", 1),
    7: ("failed", "ValueError: report(2, ...) after step 2: steps rise, and end at 4", 2),
    8: ("diverged", "training loss is inf", 2),
    9: ("failed", "ValueError: report(5, ...) after step 1: steps rise, and end at 4", 1),
    10: ("completed", "", None),
    11: ("failed", f"TypeError: {NO_NUMBER.format('True')}", 1),
}


@pytest.mark.filterwarnings("ignore:a trial .* failed, and the study goes on without it:UserWarning")
def test_every_way_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arms = [{"parameterization": "mup", "rates": "full"}]
    ends = source(
        model={**MODEL, "runner": "own_functions:every_end"},
        arms=arms,
        widths=[16],
        learning_rates=[0.125],
        seeds=list(ENDS),
    )
    study = run_study(ends, tmp_path / "s.sqlite", device="cpu")
    found = {c.seed: study.trials[c.trial] for c in study.cells}
    assert {seed: (t.status.value, t.reason or "", t.step) for seed, t in found.items()} == ENDS
    curves = read_curves(tmp_path / "s.sqlite")
    assert curves[found[7].id] == ((1, 2.5), (2, 2.0))
    assert curves[found[8].id] == ((1, 2.5),)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "swallowed\n")
    assert read_study(tmp_path / "s.sqlite") == study


def test_a_failure_is_shown_with_its_traceback(tmp_path: Path) -> None:
    """From the user's own frame on."""
    trial = next(iter(trials().values()))

    def train(trial: Trial, report: Any) -> float:
        raise KeyError("lost")

    says = r"(?s)a trial of width 16 failed, and the study goes on[^\n]*\nTraceback.*test_study_own.*KeyError"
    with pytest.warns(UserWarning, match=says) as shown:
        assert train_own(7, trial, train, lambda step: None).reason == "KeyError: 'lost'"
    assert "train_own.py" not in str(shown[0].message)


@pytest.mark.filterwarnings("ignore:a trial .* failed, and the study goes on without it:UserWarning")
def test_failed_trials_are_told_of_and_trained_again_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a repair the store is that of a study in which nothing failed; without being asked, failures stay."""
    spec, store = tmp_path / "spec.yaml", tmp_path / "s.sqlite"
    few = {"widths": [16, 32], "learning_rates": {"lowest": "2^-7", "highest": "2^-5"}, "seeds": [0]}
    spec.write_text(yaml.safe_dump(fields(model={**MODEL, "runner": "own_functions:repairable"}, **few)))
    monkeypatch.setenv("WIDTHWISE_TEST_BROKEN_WIDTH", "32")
    result = command("study", "run", spec, "--store", store, "--device", "cpu")
    assert result.exit_code == 0
    assert "6 of 12 trials failed\n  6 of width 32: OSError: disk full\n" in result.stderr
    assert f"`widthwise study resume {store} --retry-failed` trains them again" in result.stderr
    monkeypatch.delenv("WIDTHWISE_TEST_BROKEN_WIDTH")
    failed = read_study(store)
    assert resume_study(store, device="cpu") == failed
    whole = run_study(parse_spec(spec.read_text()), tmp_path / "whole.sqlite", device="cpu")
    result = command("study", "resume", store, "--device", "cpu", "--retry-failed")
    assert (result.exit_code, "failed" in result.stderr) == (0, False)
    assert read_study(store).trials == whole.trials
    assert read_curves(store) == read_curves(tmp_path / "whole.sqlite")
    assert all(p.completed for p in read_study(store).populations)


@pytest.mark.filterwarnings("ignore:a trial .* failed, and the study goes on without it:UserWarning")
def test_planned_rates_go_on_from_failures_that_were_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s.sqlite"
    sweep = {"sweep": {"lowest": "2^-9", "highest": "2^-3"}}
    swept = source(
        model={**MODEL, "runner": "own_functions:repairable"},
        widths=[16, 32],
        learning_rates=sweep,
        seeds=[0],
    )
    monkeypatch.setenv("WIDTHWISE_TEST_BROKEN_WIDTH", "16")
    broken = run_study(swept, store, device="cpu")
    assert {row.outcome for row in broken.sweeps if row.width == 16} != {"bracketed"}
    monkeypatch.delenv("WIDTHWISE_TEST_BROKEN_WIDTH")
    repaired = run_study(swept, store, device="cpu", retry_failed=True)
    assert not repaired.sweeping
    assert {row.outcome for row in repaired.sweeps} == {"bracketed"}


def test_a_curve_is_a_mean_over_equal_stretches() -> None:
    told: list[int] = []
    curve = Curve(10, told.append, points=3)
    for step in (1, 2, 3, 4, 5, 7, 9, 10):
        curve.report(step, float(step))
    # Stretches end after 3 1/3 and 6 2/3 steps: {1, 2, 3, 4}, {5, 7}, {9, 10}, by (step - 1) * 3 // 10.
    assert curve.points() == ((4, 2.5), (7, 6.0), (10, 9.5))
    assert told == [1, 2, 3, 4, 5, 7, 9, 10]


def test_an_interrupted_study_goes_on(tmp_path: Path) -> None:
    def stop(state: RunState) -> None:
        if state.population == 20:
            raise KeyboardInterrupt

    store = tmp_path / "s.sqlite"
    with pytest.raises(KeyboardInterrupt):
        run_study(source(), store, device="cpu", listener=stop)
    assert sum(p.completed for p in read_study(store).populations) == 19
    assert (
        resume_study(store, device="cpu").trials
        == run_study(source(), tmp_path / "whole.sqlite", device="cpu").trials
    )
    assert sorted(snapshot(tmp_path)) == ["s.sqlite", "whole.sqlite"]


def test_a_larger_study_takes_what_a_smaller_one_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is new is trained, and the store is that of a study that was trained as a whole."""
    small = {"widths": [16, 32], "seeds": [0], "learning_rates": {"lowest": "2^-8", "highest": "2^-6"}}
    large = {"widths": [16, 32, 64], "seeds": [0], "learning_rates": {"lowest": "2^-8", "highest": "2^-4"}}
    run_study(source(**small), tmp_path / "small.sqlite", device="cpu")
    whole = run_study(source(**large), tmp_path / "whole.sqlite", device="cpu")
    told: list[Trial] = []
    valley = own_functions.valley
    monkeypatch.setattr(
        own_functions, "valley", lambda trial, report: (told.append(trial), valley(trial, report))[1]
    )
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(fields(**large)))
    store, options = tmp_path / "large.sqlite", ("--reuse", tmp_path / "small.sqlite", "--device", "cpu")
    assert command("study", "run", tmp_path / "spec.yaml", "--store", store, *options).exit_code == 0
    taken = {(w, 2.0**k) for w in (16, 32) for k in (-8, -7, -6)}
    every = {(w, 2.0**k) for w in (16, 32, 64) for k in range(-8, -3)}
    assert {(t.width, t.learning_rate) for t in told} == every - taken
    assert len(told) == 2 * len(every - taken)
    found = read_study(store)
    assert (found.trials, found.cells) == (whole.trials, whole.cells)
    assert read_curves(store) == read_curves(tmp_path / "whole.sqlite")
    assert found.hosts[0] == {"results taken from": str(tmp_path / "small.sqlite")}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"model": {**MODEL, "version": "2"}},
            "is a study of own_functions:valley, version 1, options {}, not of",
        ),
        ({"model": tiny()["model"], "corpus": "text.txt"}, "the trials of a transformer train side by side"),
    ],
)
def test_results_of_other_trials_are_not_taken(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    run_study(source(widths=[16], seeds=[0]), tmp_path / "small.sqlite", device="cpu")
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(fields(**changes)))
    before = snapshot(tmp_path)
    options = ("--store", tmp_path / "s.sqlite", "--reuse", tmp_path / "small.sqlite")
    result = command("study", "run", tmp_path / "spec.yaml", *options)
    assert (result.exit_code, snapshot(tmp_path)) == (2, before)
    assert says in result.stderr


def test_too_few_rates_for_a_verdict_are_told_of_before_training(tmp_path: Path) -> None:
    few = fields(widths=[16, 32], seeds=[0], learning_rates={"lowest": "2^-7", "highest": "2^-5"})
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(few))
    result = command("study", "run", tmp_path / "spec.yaml", "--store", tmp_path / "s.sqlite")
    first, *_, last = result.stderr.splitlines()
    assert first.startswith(
        "widthwise: standard-global at width 16 has 3 rates, and 3 more such cells: the study ends"
    )
    assert last.startswith("no verdict: ")
    assert few_rates_note(source().spec) is few_rates_note(source(learning_rates=[0.5]).spec) is None


def test_a_function_that_changes_under_a_study_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the file that it stands in; a resumed study with the same one says nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "changing_function.py"
    module.write_text("def train(trial, report):\n    return 1.0\n")
    own = source(
        model={**MODEL, "runner": "changing_function:train"}, widths=[16], learning_rates=[0.5], seeds=[0, 1]
    )

    def stop(state: RunState) -> None:
        if state.trials_done == 1 and state.seconds > 0:
            raise KeyboardInterrupt

    store = tmp_path / "s.sqlite"
    for _ in range(2):  # the second run has the function of the first
        with pytest.raises(KeyboardInterrupt):
            run_study(own, store, device="cpu", listener=stop)
        store_hosts = read_study(store).hosts
    assert len({host["training function"] for host in store_hosts}) == 1
    module.write_text("def train(trial, report):\n    return 2.0\n")
    says = "the file of 'changing_function:train' has changed .*: 1 of 4 have ended and stay as they are"
    with pytest.warns(UserWarning, match=says):
        resume_study(store, device="cpu")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"corpus": "text.txt"}, "corpus: a training function reads its own data; leave out 'text.txt'"),
        ({"measure": {"alignment": "every 2 steps"}}, "measure: a training function's layers cannot be seen"),
        ({"gauge": "explicit"}, "gauge: a training function is given numbers without multipliers"),
        ({"model": {**MODEL, "runner": "train"}}, "model.runner: String should match"),
        ({"model": {**MODEL, "version": None}}, "model.version"),
        (
            {"training": {"horizon": "compute-optimal", "batch": 2}},
            "training.horizon: compute-optimal needs a",
        ),
        (
            {"model": {**MODEL, "runner": "own_functions:vally"}},
            "'own_functions' has no 'vally'; did you mean valley",
        ),
        ({"model": {**MODEL, "runner": "no_such:train"}}, "model.runner 'no_such:train': there is no module"),
    ],
)
def test_bad_input(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(fields(**changes)))
    before = snapshot(tmp_path)
    result = command("study", "run", tmp_path / "spec.yaml", "--store", tmp_path / "s.sqlite")
    assert result.exit_code == 2
    assert says in result.stderr
    assert snapshot(tmp_path) == before


def test_nothing_is_estimated_of_it(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(fields()))
    result = command("study", "plan", tmp_path / "spec.yaml", "--gpu", "h100")
    assert result.exit_code == 2
    calls = "108 in all, 36 of width 16, 36 of width 32, 36 of width 64"
    assert f"nobody but 'own_functions:valley' itself knows what its trials take, {calls}; " in result.stderr


def test_the_claims_page_says_nothing_that_only_the_function_knows(tmp_path: Path) -> None:
    run_study(source(widths=[16], seeds=[0]), tmp_path / "s.sqlite", device="cpu")
    rows = {what: here for what, _, here in setting_rows([labelled_study(tmp_path / "s.sqlite")])}
    assert rows["model"] == "that of own_functions:valley, version 1"
    assert {
        rows[what] for what in ("vocabulary", "parameters", "text", "tokens a model", "held-out loss")
    } == {"known to the training function alone"}


def test_a_reference_model_still_needs_its_text() -> None:
    with pytest.raises(ValueError, match="corpus: is missing; add it"):
        parse_spec(yaml.safe_dump(fields(model=tiny()["model"], widths=[16])))


def test_a_version_may_be_a_whole_number() -> None:
    assert plan(model={**MODEL, "version": 1}).trials == plan().trials


def test_the_store_holds_what_the_function_was_told(tmp_path: Path) -> None:
    """As text, so that anybody can call it again."""
    run_study(source(widths=[16]), tmp_path / "s.sqlite", device="cpu")
    with closing(sqlite3.connect(tmp_path / "s.sqlite")) as connection:
        recipe = json.loads(connection.execute("SELECT recipe FROM trial WHERE id = 1").fetchone()[0])
    assert recipe["model"] == {**MODEL, "options": {}, "width": 16}
    assert own_trial(recipe).roles["hidden"].learning_rate == 2.0**-10
    assert math.isclose(recipe["own"]["epsilon"], 1e-8)
