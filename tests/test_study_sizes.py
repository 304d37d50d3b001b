"""How large a study's populations are, and that a store says how their steps run before they do."""

from pathlib import Path
from typing import Any

import pytest
import torch

from study_example import DIGEST, command, one_thread, tiny_plan, tiny_source, tiny_text, write_corpus
from widthwise.records import read_study
from widthwise.study import POPULATION_SIZE, resume_study, run_study, runner
from widthwise.study.compose import PopulationSize
from widthwise.study.expand import expand
from widthwise.study.fitting_sizes import FittingSizes
from widthwise.study.recipe import Recipe

CPU = torch.device("cpu")


def sizes(**options: Any) -> FittingSizes:
    return FittingSizes(CPU, corpus_bytes=10_000, data_seeds=2, **options)


def available(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    from widthwise.train import choose_population

    module = __import__(choose_population.__module__, fromlist=["free_bytes"])
    monkeypatch.setattr(module, "free_bytes", lambda device: count)


def test_each_shape_has_its_own_size() -> None:
    """A rule is asked once a shape, with how many trials have it; populations are cut evenly below its answer."""
    asked: list[tuple[int, int]] = []

    def rule(recipe: Recipe, trials: int) -> PopulationSize:
        asked.append((recipe["model"]["width"], trials))
        return PopulationSize(5 if recipe["model"]["width"] == 8 else 16, micro_batches=2, recompute=True)

    plan = expand(tiny_source().spec, corpus=DIGEST, population_size=rule)
    assert asked == [(8, 8), (16, 16)]
    assert [len(ids) for ids in plan.populations] == [4, 4, 16]
    assert {(size.micro_batches, size.recompute) for size in plan.sizes} == {(2, True)}


def test_identities_do_not_depend_on_sizes() -> None:
    def rule(recipe: Recipe, trials: int) -> PopulationSize:
        return PopulationSize(3, micro_batches=2, recompute=True)

    cut = expand(tiny_source().spec, corpus=DIGEST, population_size=rule)
    assert cut.trials == tiny_plan(population_size=4).trials


def test_a_cpu_keeps_to_its_most(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_plan().trials[0].recipe
    available(monkeypatch, 2**40)
    assert sizes()(recipe, 100) == PopulationSize(POPULATION_SIZE)
    assert sizes()(recipe, 7) == PopulationSize(7)
    assert sizes(members=50)(recipe, 100) == PopulationSize(50)
    assert sizes(minutes=1e-9)(recipe, 100) == PopulationSize(1)


def test_memory_bounds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of what 32 need, less a tenth: fewer than 16; an exact size is met in pieces or refused."""
    model = {"kind": "transformer", "depth": 4, "head_dim": 4, "context": 32}
    recipe = tiny_plan(model=model, training={"steps": 4, "batch": 32}).trials[0].recipe
    from widthwise.train import Execution, member_memory

    each = member_memory(runner.train_recipe(recipe), Execution()).bytes
    available(monkeypatch, 16 * each + 200_000)
    assert 8 <= sizes()(recipe, 100).members < 16
    available(monkeypatch, int(32 * each / 0.9))
    exact = sizes(members=32)(recipe, 100)
    assert (exact.members, exact.micro_batches) == (32, 2)
    available(monkeypatch, each)
    with pytest.raises(ValueError, match=r"32 models of width 8 .* choose a smaller population size"):
        sizes(members=32)(recipe, 100)


def test_a_store_replays_pieces_and_recomputing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written before anything runs; going on without the rule trains as it said."""
    import widthwise.study.run as module

    ways: list[tuple[int, bool]] = []
    real = runner.train_trials

    def watching(*args: Any, **keywords: Any) -> Any:
        ways.append((keywords["micro_batches"], keywords["recompute"]))
        if len(ways) == 2:
            raise KeyboardInterrupt
        return real(*args, **keywords)

    def rule(recipe: Recipe, trials: int) -> PopulationSize:
        return PopulationSize(8, micro_batches=2, recompute=recipe["model"]["width"] == 16)

    monkeypatch.setattr(runner, "train_trials", watching)
    monkeypatch.setattr(module, "FittingSizes", lambda *args, **keywords: rule)
    store = tmp_path / "s.sqlite"
    source = tiny_source(write_corpus(tmp_path))
    with one_thread(), pytest.raises(KeyboardInterrupt):
        run_study(source, store, device="cpu")
    study = read_study(store)
    assert [(p.micro_batches, p.recompute) for p in study.populations] == [(2, False), (2, True), (2, True)]
    with one_thread():
        resume_study(store, device="cpu")
    assert ways == [(2, False), (2, True), (2, True), (2, True)]


def test_what_does_not_fit_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    available(monkeypatch, 50_000)
    spec = tmp_path / "spec.yaml"
    spec.write_text(tiny_text(write_corpus(tmp_path)))
    store = tmp_path / "s.sqlite"
    result = command("study", "run", spec, "--store", store, "--device", "cpu")
    assert result.exit_code == 2
    assert "a model of width 8" in result.stderr
    assert "available, 10% is left free" in result.stderr
    assert not store.exists()


def test_the_command_takes_sizes_and_minutes(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        tiny_text(write_corpus(tmp_path), widths=[8], seeds=[0], training={"steps": 2, "batch": 2})
    )

    def run(name: str, *options: object) -> Any:
        return command("study", "run", spec, "--store", tmp_path / name, "--device", "cpu", *options)

    assert run("auto.sqlite", "--population-size", "auto").exit_code == 0
    assert run("short.sqlite", "--population-minutes", "1e-9").exit_code == 0
    assert run("three.sqlite", "--population-size", 3).exit_code == 0
    found = {
        name: [len(p.trials) for p in read_study(tmp_path / f"{name}.sqlite").populations]
        for name in ("auto", "short", "three")
    }
    assert found == {"auto": [4], "short": [1, 1, 1, 1], "three": [2, 2]}
    for minutes in ("0", "-1", "nan"):
        refused = run("none.sqlite", "--population-minutes", minutes)
        assert refused.exit_code == 2
        assert "must be above 0" in refused.stderr
    many = run("none.sqlite", "--population-size", "many")
    assert many.exit_code == 2
    assert "--population-size 'many' is neither 'auto' nor a whole number" in many.stderr
    assert not (tmp_path / "none.sqlite").exists()
