"""Studies whose models are trained layer by layer: what a trial is, where it goes, what is refused, what is resumed."""

import json
import math
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from study_example import DIGEST, command, one_thread, tiny_source, write_corpus
from widthwise.records import (
    Magnitude,
    StoredStudy,
    TrialStatus,
    read_alignment,
    read_curves,
    read_sizes,
    read_spreads,
    read_study,
    read_tensors,
)
from widthwise.study import RunState, SpecSource, load_spec, run_study, train_wide
from widthwise.study.expand import StudyPlan, build_model, expand
from widthwise.study.fitting_sizes import FittingSizes
from widthwise.study.measure_spec import MeasureSpec
from widthwise.study.training_spec import LayerMajorSpec

CPU = torch.device("cpu")
FORM: dict[str, Any] = {"steps": 4, "batch": 2, "form": "layer-major"}
WIDE: dict[str, Any] = {
    "widths": [8, 12, 16],
    "base_width": 8,
    "anchor": "absolute",
    "gauge": "explicit",
    "seeds": [0],
    "learning_rates": [0.01],
    "arms": [
        {"parameterization": ["standard", "mup"], "rates": "full"},
        {"parameterization": "mean-field", "rates": "full", "optimizer": {"kind": "adafactor"}},
        {"parameterization": "ntk", "rates": "full", "optimizer": {"kind": "sgd"}, "learning_rates": [1e30]},
    ],
    "training": FORM,
    "measure": {"alignment": "every 4 steps", "sizes": True},
}


def source(corpus: Path | str = "text.txt", **changes: Any) -> SpecSource:
    return tiny_source(corpus, **{**WIDE, **changes})


def plan(**changes: Any) -> StudyPlan:
    return expand(source(**changes).spec, corpus=DIGEST, population_size=1)


def run(given: SpecSource, store: Path, **more: Any) -> StoredStudy:
    with one_thread():
        return run_study(given, store, device="cpu", **more)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wide")
    run(source(write_corpus(folder)), folder / "s.sqlite")
    return folder / "s.sqlite"


def test_the_store_holds_every_measurement(store: Path) -> None:
    study = read_study(store)
    cells = {cell.trial: cell for cell in study.cells}
    assert [p.trials for p in study.populations] == [(id_,) for id_ in study.trials]
    assert [cells[p.trials[0]].width for p in study.populations] == sorted(cell.width for cell in study.cells)
    curves, alignment, sizes, spreads = (
        read(store) for read in (read_curves, read_alignment, read_sizes, read_spreads)
    )
    tensors = {(row.width, row.name): row.role for row in read_tensors(store)}
    assert set(tensors) == {(w, n) for w in (8, 12, 16) for n in build_model(source().spec, w).tensors()}
    assert tensors[8, "readout"] == "readout"
    assert tensors[16, "token_embedding"] == "embedding"
    for id_, trial in study.trials.items():
        cell = cells[id_]
        names = [name for width, name in tensors if width == cell.width]
        if cell.arm == "sgd-ntk-full":
            assert trial.status is TrialStatus.DIVERGED
            assert trial.reason == "non-finite loss"
            assert {point.step for point in sizes[id_]} == {1}
            assert id_ not in alignment
            continue
        assert trial.status is TrialStatus.COMPLETED
        assert [step for step, _ in curves[id_]] == [1, 2, 3, 4]
        assert {point.layer for point in alignment[id_]} == {
            n for n in names if "norm" not in n and "embedding" not in n
        }
        assert [(point.step, point.tensor) for point in sizes[id_]] == [(s, n) for s in (1, 4) for n in names]
        last = {point.tensor: point for point in sizes[id_] if point.step == 4}
        assert last["readout"].output_change is not None
        assert last["token_embedding"].change is not None
        magnitudes = {(s.step, s.magnitude) for s in spreads[id_]}
        roots = {(4, Magnitude.SECOND_MOMENT)} if cell.arm.startswith("adam-") else set()
        assert magnitudes == {(1, Magnitude.GRADIENT), (4, Magnitude.GRADIENT)} | roots


def test_a_step_is_the_usual_one_to_rounding(store: Path, tmp_path: Path) -> None:
    """Few bits end where float32 does, to 1 %; their recipes differ in the form alone."""
    exact = {
        **FORM,
        "form": {"kind": "layer-major", "weights": "float32", "state": "float32", "micro_batches": 2},
    }
    arms = WIDE["arms"][:1]
    given = source(write_corpus(tmp_path), widths=[12], training=exact, arms=arms)
    study = run(given, tmp_path / "exact.sqlite")
    coarse = read_study(store)
    for arm in ("adam-standard-full", "adam-mup-full"):
        (few,) = (coarse.trials[c.trial] for c in coarse.cells if c.arm == arm and c.width == 12)
        (fine,) = (study.trials[c.trial] for c in study.cells if c.arm == arm.removeprefix("adam-"))
        assert few.validation_loss == pytest.approx(fine.validation_loss, rel=1e-2)
        assert few.identity != fine.identity
        recipes = [json.loads(trial.recipe) for trial in (few, fine)]
        assert {key for key in recipes[0] if recipes[0][key] != recipes[1][key]} == {"form"}


def test_the_form_is_part_of_an_identity_and_what_is_measured_is_not() -> None:
    usual = plan(training={"steps": 4, "batch": 2}, measure=None)
    wide, unmeasured = plan(), plan(measure=None)
    assert not {t.identity for t in usual.trials} & {t.identity for t in wide.trials}
    assert [t.identity for t in wide.trials] == [t.identity for t in unmeasured.trials]
    assert all("form" not in t.recipe for t in usual.trials)
    assert wide.trials[0].recipe["form"] == {
        "kind": "layer-major",
        "weights": "bfloat16",
        "state": "8-bit",
        "micro_batches": 1,
    }


def test_stopped_and_resumed_is_undisturbed(store: Path, tmp_path: Path) -> None:
    """Stopped in the middle of the sixth trial; five are kept, and all end as they did undisturbed."""

    class StopError(Exception):
        pass

    def stop(state: RunState) -> None:
        if state.trials_done == 5 and state.step == 2:
            raise StopError

    given, path = source(write_corpus(tmp_path)), tmp_path / "s.sqlite"
    with pytest.raises(StopError):
        run(given, path, listener=stop)
    kept = read_study(path)
    assert sum(t.status is not TrialStatus.PENDING for t in kept.trials.values()) == 5
    run(given, path)
    tables = ("trial", "curve", "alignment", "size", "spread")
    for table in tables:
        found = []
        for one in (store, path):
            with closing(sqlite3.connect(one)) as connection:
                found.append(sorted(map(repr, connection.execute(f"SELECT * FROM {table}"))))
        assert found[0]
        assert found[0] == found[1], table


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"model": {"kind": "mlp", "depth": 1, "window": 3, "context": 8}},
            "training.form: layer-major is for the transformer, not mlp",
        ),
        ({"training": {"steps": 4, "batch": 2}}, "measure.sizes: are measured in layer-major training alone"),
        (
            {"measure": {"alignment": {"every": 2, "since": "update"}}},
            "measure.alignment.since: layer-major training keeps no weights of the update before",
        ),
        (
            {"arms": [{"parameterization": "mup", "rates": "full", "weight_decay": 0.1}]},
            "arms.0.weight_decay: layer-major training has none",
        ),
        (
            {"training": {**FORM, "form": {"kind": "layer-major", "micro_batches": 3}}},
            "batch 2 is not a multiple of the form's micro_batches 3",
        ),
        ({"training": {**FORM, "form": "sideways"}}, "training.form"),
        (
            {"model": {"kind": "transformer", "depth": 1, "head_dim": 4, "context": 8, "vocabulary": 100}},
            "model.vocabulary: .*greater than or equal to 256",
        ),
        (
            {
                "model": {"kind": "transformer", "depth": 1, "head_dim": 4, "context": 8, "vocabulary": 300},
                "tokenizer": {"file": "t.model", "vocabulary": 300},
            },
            "model.vocabulary: is for text that is read as bytes",
        ),
    ],
)
def test_mistakes(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        source(**changes)


def test_a_state_that_an_optimizer_has_not_is_named_before_anything_is_written(tmp_path: Path) -> None:
    arms = [{"parameterization": "mup", "rates": "full", "optimizer": {"kind": "adafactor", "momentum": 0.9}}]
    with pytest.raises(
        ValueError, match=r"Adafactor with momentum 0\.9 keeps a float32 number for every weight"
    ):
        run(source(write_corpus(tmp_path), arms=arms), tmp_path / "s.sqlite")
    assert not (tmp_path / "s.sqlite").exists()


@pytest.mark.parametrize(
    ("width", "gib", "says"),
    [
        (
            16384,
            78,
            r"takes 12\d GiB layer by layer, and this cpu device has 78 GiB: one H200 \(139 GiB\) has it",
        ),
        (24576, 139, r"none of one H100, .* 8 H200 has that: \d+ GPUs of 139 GiB do, sharded"),
        (
            32768,
            139,
            "none of one H100, .* 8 H200 has that: what is whole of two blocks at a time is more than",
        ),
    ],
)
def test_a_width_that_does_not_fit(
    width: int, gib: float, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The named machine that has what it takes, or what would."""
    spec = load_spec("paper-widths").spec
    spec = spec.model_copy(update={"widths": (width,), "arms": spec.arms[:1]})
    monkeypatch.setattr("widthwise.train.device_bytes", lambda device: int(gib * 2**30))
    sizes = FittingSizes(CPU, corpus_bytes=10**6, data_seeds=1, measure=spec.measure)
    with pytest.raises(ValueError, match=says):
        expand(spec, corpus=DIGEST, population_size=sizes)


@pytest.mark.parametrize(
    ("changes", "decay", "less", "named"),
    [
        ({}, 0.0, 0, 1),
        ({}, 0.0, 1, 2),
        ({}, 0.0, 2**33, None),
        ({}, 0.1, 0, None),
        ({"since": ["start", "update"]}, 0.0, 0, None),
    ],
)
def test_a_model_too_large_in_the_usual_form_is_told_of_this_one_where_it_fits(
    changes: dict[str, Any],
    decay: float,
    less: int,
    named: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the byte, and the specification that it names is one: with weight decay, or of an update, there is none."""
    source = load_spec("paper-widths").spec
    measure = MeasureSpec.model_validate({"alignment": {"every": 10, **changes}})
    training = source.training.model_copy(update={"batch": 64})
    update = {"widths": (4096,), "arms": source.arms[:1], "measure": measure, "training": training}
    spec = source.model_copy(update=update)
    recipe = expand(spec, corpus=DIGEST, population_size=1).trials[0].recipe
    shared = train_wide.runner.train_recipe(recipe, measure)
    there = train_wide.needed_bytes(shared, train_wide.storage_of(recipe)) - less
    for module in ("choose_population", "available"):
        monkeypatch.setattr(sys.modules[f"widthwise.train.{module}"], "free_bytes", lambda device: there)
    usual = spec.training.model_copy(update={"form": None})
    arm = spec.arms[0].model_copy(update={"weight_decay": (decay,)})
    asked = spec.model_copy(update={"training": usual, "arms": (arm,)})
    sizes = FittingSizes(CPU, corpus_bytes=10**6, data_seeds=1, measure=measure)
    with pytest.raises(ValueError, match=r"a model of width 4096 .* or a device with more memory") as raised:
        expand(asked, corpus=DIGEST, population_size=sizes)
    found = re.search(r"; it fits layer by layer \(training: (.*), in .* GiB\), which", str(raised.value))
    assert (found is None) == (named is None)
    if found is not None:
        form = LayerMajorSpec.model_validate(yaml.safe_load(found[1])["form"])
        assert form.micro_batches == named
        taken = spec.model_copy(update={"training": spec.training.model_copy(update={"form": form})})
        assert len(expand(taken, corpus=DIGEST, population_size=sizes).populations) == 2


def test_one_gpu_holds_all_fourteen(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = load_spec("paper-widths").spec
    monkeypatch.setattr("widthwise.train.device_bytes", lambda device: 139 * 2**30)
    sizes = FittingSizes(CPU, corpus_bytes=10**6, data_seeds=1, measure=spec.measure)
    found = expand(spec, corpus=DIGEST, population_size=sizes)
    assert len(found.cells) == 14 * 16
    assert all(len(trials) == 1 for trials in found.populations)
    recipe = next(t.recipe for t in found.trials if t.recipe["model"]["width"] == 16384)
    assert recipe["model"]["vocabulary"] == 32101
    needed = train_wide.needed_bytes(
        train_wide.runner.train_recipe(recipe, spec.measure), train_wide.storage_of(recipe)
    )
    assert needed / 2**30 < 130


def test_the_plan_of_fourteen_widths() -> None:
    """On one H200, the estimate's parts by hand; no H100 holds it, and the refusal says what does."""
    found = command("study", "plan", "paper-widths", "--gpu", "h200", "--format", "json")
    assert found.exit_code == 0, found.stderr
    plan = json.loads(found.stdout)
    assert plan["trials"] == plan["populations"]
    assert (
        {shape["fit"]["gpus"] for shape in plan["shapes"]}
        == {shape["fit"]["members"] for shape in plan["shapes"]}
        == {1}
    )
    assert any("layer by layer, blocks are computed twice" in line for line in plan["assumptions"])
    (adam,) = (s for s in plan["shapes"] if (s["width"], s["optimizer"]) == (16384, "adam"))
    tokens, matrices = 4 * 512, 8 * 12 * 16384**2
    flops = tokens * (8 * (matrices + 32101 * 16384) - 2 * 32101 * 16384 + 8 * 8 * 512 * 16384)
    seconds = (flops / 785e12 + 14 * adam["parameters"] / 4.27e12) / 0.85
    assert adam["fit"]["step_seconds"] == pytest.approx(seconds, rel=1e-9)
    measured = 5 * 2 * adam["parameters"] * 512 / 50e12
    assert adam["gpu_seconds"] == pytest.approx(adam["trials"] * (0.5 + measured + 10 * seconds), rel=1e-9)
    refused = command("study", "plan", "paper-widths", "--gpu", "h100")
    assert refused.exit_code == 2
    assert "one h100 has 79 GiB: one H200 (139 GiB) has it" in refused.stderr


def test_no_memory_is_a_failure_of_one_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from widthwise.wide import LayerMajor

    step = LayerMajor.step

    def full(training: LayerMajor, *arguments: Any, **keywords: Any) -> Any:
        if training.model.width == 12:
            raise torch.OutOfMemoryError("no memory")
        return step(training, *arguments, **keywords)

    monkeypatch.setattr(LayerMajor, "step", full)
    study = run(source(write_corpus(tmp_path), arms=WIDE["arms"][:1]), tmp_path / "s.sqlite")
    ended = {cell.width: study.trials[cell.trial] for cell in study.cells}
    assert ended[12].status is TrialStatus.FAILED
    assert "does not fit on the device" in str(ended[12].reason)
    assert ended[8].status is ended[16].status is TrialStatus.COMPLETED


def test_a_store_that_is_older_than_the_tables_has_no_sizes(store: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.sqlite"
    old.write_bytes(store.read_bytes())
    with closing(sqlite3.connect(old)) as connection:
        connection.executescript("DROP TABLE spread; DROP TABLE size; DROP TABLE tensor;")
    assert (read_tensors(old), read_sizes(old), read_spreads(old)) == ((), {}, {})
    assert read_study(old).trials == read_study(store).trials


def test_a_longer_vocabulary_than_the_text() -> None:
    model = {"kind": "transformer", "depth": 1, "head_dim": 4, "context": 8, "vocabulary": 300}
    found = plan(model=model)
    assert {trial.recipe["model"]["vocabulary"] for trial in found.trials} == {300}
    assert build_model(source(model=model).spec, 8).vocabulary == 300
    assert math.isclose(math.log(300), 5.7, abs_tol=0.01)
