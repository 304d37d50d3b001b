"""A population that does not fit on the device: nothing is lost, and the same trials are trained in smaller ones."""

import gc
import json
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from study_example import command, one_thread, snapshot, tiny_source, write_corpus
from widthwise.records import StoredStudy, TrialStatus, read_alignment, read_curves, read_study
from widthwise.study import RunState, load_spec, resume_study, run_study
from widthwise.study.expand import expand
from widthwise.study.measure_spec import MeasureSpec
from widthwise.study.other_ways import other_ways
from widthwise.study.runner import train_recipe
from widthwise.study.split_stored import halves
from widthwise.study.task import OutOfMemory
from widthwise.study.train_stored import unless_out_of_memory
from widthwise.train import TrainingStep

DEAD = 2.0**100
RATES = [2.0**-9, 2.0**-8, 2.0**-7, 2.0**-6, 2.0**-5, DEAD, 2 * DEAD, 4 * DEAD]
SPEC: dict[str, Any] = {
    "model": {"kind": "mlp", "depth": 1, "window": 2, "context": 8},
    "widths": [8],
    "arms": [{"parameterization": "standard", "rates": "global"}],
    "optimizer": {"kind": "sgd"},
    "learning_rates": RATES,
    "seeds": [0],
    "training": {"steps": 60, "batch": 2},
    "measure": {"alignment": "every 5 steps"},
}
SAYS = "CUDA out of memory. Tried to allocate 2.00 GiB."

pytestmark = pytest.mark.filterwarnings("ignore:.*do not fit on the device together:UserWarning")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store" / "s.sqlite"


Device = Callable[..., list[tuple[int, int]]]


@pytest.fixture
def small_device(monkeypatch: pytest.MonkeyPatch) -> Device:
    """A device that has no room for a step of more than so many members, at one step or at any."""
    original = TrainingStep.run

    def limit(members: int, *, at: int | None = None) -> list[tuple[int, int]]:
        refused: list[tuple[int, int]] = []

        def run(self: TrainingStep) -> None:
            size, step = self.losses_LxP.shape[1], self.done + 1
            if size > members and at in (None, step):
                refused.append((size, step))
                raise torch.OutOfMemoryError(SAYS)
            original(self)

        monkeypatch.setattr(TrainingStep, "run", run)
        return refused

    return limit


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[StoredStudy, Path]:
    """The study whose device has room, and its store."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = folder / "whole.sqlite"
    return run(write_corpus(folder), path), path


def run(corpus: Path, store: Path, *, size: int = 8, listener: Any = None, **changes: Any) -> StoredStudy:
    with one_thread():
        return run_study(
            tiny_source(corpus, **{**SPEC, **changes}),
            store,
            device="cpu",
            population_size=size,
            listener=listener,
            checkpoint_seconds=0.0,
        )


def populations(study: StoredStudy) -> list[tuple[str, int | None, list[tuple[int, int]]]]:
    """Status, origin, and (step, members) of every revision."""
    return [
        (p.status.value, p.split_from, [(r.from_step, len(r.trials)) for r in p.revisions])
        for p in study.populations
    ]


def same_results(study: StoredStudy, store: Path, whole: StoredStudy, whole_store: Path) -> None:
    """To the last bit, what was measured too: at these sizes rounding does not depend on the number of members."""
    assert study.trials == whole.trials
    assert read_curves(store) == read_curves(whole_store)
    assert read_alignment(store) == read_alignment(whole_store)


def test_a_population_that_does_not_fit_is_trained_in_parts(
    corpus: Path, store: Path, undisturbed: tuple[StoredStudy, Path], small_device: Device
) -> None:
    """Eight do not fit, nor do four; then the other four are not tried either."""
    whole, whole_store = undisturbed
    refused = small_device(2)
    with pytest.warns(UserWarning, match="8 models of width 8 do not fit .* from step 0 in parts of 4 and 4"):
        study = run(corpus, store)
    assert refused == [(8, 1), (4, 1)]
    assert [(status, origin) for status, origin, _ in populations(study)] == [
        ("split", None), ("split", 1), ("split", 1),
        ("completed", 2), ("completed", 2), ("completed", 3), ("completed", 3),
    ]  # fmt: skip
    assert [p.trials for p in study.populations[3:]] == [
        study.populations[0].trials[i : i + 2] for i in (0, 2, 4, 6)
    ]
    same_results(study, store, whole, whole_store)
    assert list(snapshot(store.parent)) == ["s.sqlite"]


def test_the_parts_go_on_from_the_last_checkpoint(
    corpus: Path, store: Path, undisturbed: tuple[StoredStudy, Path], small_device: Device
) -> None:
    """Room for eight until step 45. The state of step 20 is kept; there, no more than half had died."""
    whole, whole_store = undisturbed
    steps: list[int] = []
    refused = small_device(4, at=45)
    study = run(corpus, store, listener=lambda state: steps.append(state.step))
    assert refused == [(8, 45)]
    kept = study.populations[1].revisions[0].from_step
    assert kept in (20, 40)  # how often, depends on what writing costs
    assert [revisions[0] for _, _, revisions in populations(study)] == [(0, 8), (kept, 4), (kept, 4)]
    # The second part is one living and three dead.
    assert populations(study)[2] == ("completed", 1, [(kept, 4), (kept + 20, 1)][: 2 if kept == 20 else 1])
    assert steps.count(20) <= 1 + 2 * (kept == 20)
    same_results(study, store, whole, whole_store)
    assert list(snapshot(store.parent)) == ["s.sqlite"]


def test_who_had_ended_has_its_result_when_the_rest_is_split(
    corpus: Path, store: Path, tmp_path: Path, small_device: Device
) -> None:
    """Five of six die at once and the last two go on; then there is room for one."""
    rates = [2.0**-8, 2.0**-7, DEAD, 2 * DEAD, 4 * DEAD]
    whole = run(corpus, tmp_path / "whole.sqlite", learning_rates=rates)
    small_device(1, at=47)
    study = run(corpus, store, learning_rates=rates)
    kept = study.populations[1].revisions[0].from_step
    assert kept in (20, 40)
    assert populations(study) == [
        ("split", None, [(0, 5), (20, 2)]), ("completed", 1, [(kept, 1)]), ("completed", 1, [(kept, 1)])
    ]  # fmt: skip
    same_results(study, store, whole, tmp_path / "whole.sqlite")


def test_a_part_whose_checkpoint_is_lost_begins_at_the_beginning(
    corpus: Path, store: Path, undisturbed: tuple[StoredStudy, Path], small_device: Device
) -> None:
    whole, whole_store = undisturbed
    small_device(4, at=45)

    def stop(state: RunState) -> None:
        if state.members == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(corpus, store, listener=stop)
    from widthwise.study.checkpoints import remove_checkpoints

    remove_checkpoints(store)
    with pytest.warns(UserWarning, match="is not there; training begins at step 0"), one_thread():
        study = resume_study(store, device="cpu")
    assert populations(study)[1][2][1:] == [(0, 4)]
    same_results(study, store, whole, whole_store)


def test_one_trial_that_does_not_fit_has_failed_and_the_study_goes_on(
    corpus: Path, store: Path, tmp_path: Path, small_device: Device
) -> None:
    """Width 16 does not fit at all; width 8 is as it was."""
    small = {"widths": [8, 16], "learning_rates": [2.0**-8, 2.0**-7, 2.0**-6]}
    whole = run(corpus, tmp_path / "whole.sqlite", **small)
    original = TrainingStep.run

    def full(self: TrainingStep) -> None:
        if self.population.recipe.model.width == 16:
            raise torch.OutOfMemoryError(SAYS)
        original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingStep, "run", full)
        study = run(corpus, store, **small)
    for cell in study.cells:
        trial = study.trials[cell.trial]
        if cell.width == 8:
            assert trial == whole.trials[cell.trial]
            continue
        assert trial.status is TrialStatus.FAILED
        parameters = (2 * 256 + 16 + 256) * 16
        assert trial.reason == (
            f"out of memory: one model of {parameters} parameters, {4 * parameters} bytes of weights alone, does not "
            f"fit on the device ({SAYS}); choose a smaller width, batch or context, or a device with more memory"
        )
    assert read_study(store).pending_populations() == ()
    assert command("study", "report", store, "--out", tmp_path / "page").exit_code in (0, 2)
    exported = command("study", "export", store)
    assert exported.exit_code == 0
    assert exported.stdout.count("failed") == 3


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_one_trial_that_does_not_fit_is_told_how_else_it_would(
    corpus: Path, store: Path, small_device: Device, decay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a model is that is too large by its estimate; with weight decay there is no such training."""
    small_device(0)
    there = 2**36
    monkeypatch.setattr(sys.modules["widthwise.train.available"], "free_bytes", lambda device: there)
    arm = {"parameterization": "standard", "rates": "global", "weight_decay": [decay]}
    changes: dict[str, Any] = {"model": {"kind": "transformer", "depth": 1, "head_dim": 4, "context": 8}}
    study = run(corpus, store, learning_rates=[2.0**-8], arms=[arm], **changes)
    (trial,) = study.trials.values()
    assert trial.status is TrialStatus.FAILED
    assert trial.reason is not None
    before, more, ways = trial.reason.partition("or a device with more memory")
    assert f"does not fit on the device ({SAYS})" in before
    recipe = json.loads(trial.recipe)
    measure = MeasureSpec.model_validate(SPEC["measure"])
    expected = other_ways(recipe, train_recipe(recipe, measure), there=there, one_gpu=False)
    assert more + ways == f"or a device with more memory{expected}"
    assert ("; it fits layer by layer (training: {form: {kind: layer-major," in ways) == (decay == 0)


def test_other_ways_of_one_gpu_of_several_and_of_what_is_trained_layer_by_layer() -> None:
    spec = load_spec("paper-widths").spec
    recipe = expand(spec, corpus="0" * 64, population_size=1).trials[0].recipe
    assert other_ways(recipe, train_recipe(recipe), there=2**60, one_gpu=True) == ""
    usual = {name: value for name, value in recipe.items() if name != "form"}
    alone = other_ways(usual, train_recipe(usual), there=0, one_gpu=True)
    assert alone == "; over several GPUs: torchrun --nproc-per-node N -m widthwise study run SPEC"
    assert other_ways(usual, train_recipe(usual), there=0, one_gpu=False) == ""
    both = other_ways(usual, train_recipe(usual), there=2**60, one_gpu=True)
    assert both.startswith("; it fits layer by layer (")
    assert both.endswith(alone)


def test_a_kill_between_the_parts_goes_on_with_the_rest(
    corpus: Path, store: Path, undisturbed: tuple[StoredStudy, Path], small_device: Device
) -> None:
    whole, whole_store = undisturbed
    refused = small_device(2)

    def stop(state: RunState) -> None:
        if state.trials_done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(corpus, store, listener=stop)
    assert len(read_study(store).pending_populations()) < 3
    states: list[RunState] = []
    with one_thread():
        study = resume_study(store, device="cpu", listener=states.append)
    assert refused[:2] == [(8, 1), (4, 1)]
    same_results(study, store, whole, whole_store)
    assert states[0].trials_done == 4
    assert (states[-1].trials_done, states[-1].seconds_left) == (8, 0)
    assert states[-1].populations == states[-1].population == 4


def test_nothing_holds_on_to_what_filled_the_device(
    corpus: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a smaller population is built, no tensor of the one that did not fit is referred to any more."""
    alive: list[weakref.ref[torch.Tensor]] = []
    original = TrainingStep.run

    def run_step(self: TrainingStep) -> None:
        if self.losses_LxP.shape[1] == 8:
            alive.extend(weakref.ref(t) for t in self.tensors())
            raise torch.OutOfMemoryError(SAYS)
        assert alive
        assert not any(reference() is not None for reference in alive)
        original(self)

    monkeypatch.setattr(TrainingStep, "run", run_step)
    run(corpus, store)


class Large:
    """Something that fills a device."""


@pytest.mark.parametrize("hidden", [False, True], ids=["plain", "inside another error"])
def test_an_error_is_forgotten_with_its_frames(hidden: bool) -> None:
    references: list[weakref.ref[Large]] = []

    def work() -> None:
        large = Large()
        references.append(weakref.ref(large))
        try:
            raise torch.OutOfMemoryError(SAYS)
        except torch.OutOfMemoryError as error:
            if hidden:
                raise RuntimeError("capture failed") from error
            raise

    gc.disable()
    try:
        lack = unless_out_of_memory(work, torch.device("cpu"))
        assert isinstance(lack, OutOfMemory)
        assert lack == OutOfMemory(SAYS, lack.there, one_gpu=False)
        assert lack.there > 2**20
        assert references[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("split", [False, True])
def test_a_gpu_is_alone_unless_it_has_a_part_of_a_population(
    split: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        raise torch.OutOfMemoryError(SAYS)

    monkeypatch.setattr("widthwise.train.free_memory", lambda device: None)
    monkeypatch.setattr("widthwise.train.device_bytes", lambda device: 7)
    lack = unless_out_of_memory(work, torch.device("cuda"), split=split)
    assert lack == OutOfMemory(SAYS, 7, one_gpu=not split)


def test_other_errors_are_not_caught() -> None:
    def work() -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        unless_out_of_memory(work, torch.device("cpu"))
    assert unless_out_of_memory(lambda: 3, torch.device("cpu")) == 3


@pytest.mark.parametrize("count", [2, 3, 8, 9])
def test_halves(count: int) -> None:
    first, second = halves(range(count))
    assert first + second == tuple(range(count))
    assert 0 <= len(second) - len(first) <= 1
