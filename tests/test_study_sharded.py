"""A study under torchrun: the store of one process, written by rank 0 alone, and gone on with by any number of them."""

import subprocess
from pathlib import Path

import pytest

from study_example import command, tiny_text, write_corpus
from torchrun import TESTS, run_torchrun
from widthwise.records import TrialStatus, read_alignment, read_study
from widthwise.study import Local, Sharded, load_spec, run_study
from widthwise.study.sharded import led

DEAD = 2.0**100
SPEC = {
    "seeds": [0],
    "learning_rates": [2.0**-6, 2.0**-5, DEAD, 2 * DEAD],
    "training": {"steps": 60, "batch": 4},
    "measure": {"alignment": "every 30 steps", "layers": "all"},
}
"""Half of each population dies at once: the others go on alone from step 20."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a specification, and the store of a study in this process."""
    here = tmp_path_factory.mktemp("sharded study")
    (here / "spec.yaml").write_text(tiny_text(write_corpus(here), **SPEC))
    assert command("study", "run", here / "spec.yaml", "--store", here / "one.sqlite").exit_code == 0
    return here


def torchrun_study(processes: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run_torchrun(processes, "-m", "widthwise", "study", *map(str, arguments), "--device", "cpu")


def same_results(found: Path, expected: Path) -> None:
    """Identities, statuses and revisions alike; losses to 1e-6, alignment to what 60 steps make of rounding."""
    ours, theirs = read_study(found), read_study(expected)
    assert [p.revisions for p in ours.populations] == [p.revisions for p in theirs.populations]
    assert {trial.status for trial in theirs.trials.values()} == {TrialStatus.COMPLETED, TrialStatus.DIVERGED}
    for one, other in zip(ours.trials.values(), theirs.trials.values(), strict=True):
        assert (one.id, one.identity, one.recipe) == (other.id, other.identity, other.recipe)
        assert (one.status, one.reason, one.step) == (other.status, other.reason, other.step)
        if other.validation_loss is not None:
            assert one.validation_loss == pytest.approx(other.validation_loss, rel=1e-6)
    measured, exact = read_alignment(found), read_alignment(expected)
    assert list(measured) == list(exact)
    for trial, points in exact.items():
        assert [(p.step, p.layer) for p in measured[trial]] == [(p.step, p.layer) for p in points]
        for point, other_point in zip(measured[trial], points, strict=True):
            assert point.alpha == pytest.approx(other_point.alpha, abs=1e-4)


@pytest.mark.slow
def test_two_processes_write_the_store_of_one(folder: Path) -> None:
    done = torchrun_study(2, "run", folder / "spec.yaml", "--store", folder / "two.sqlite")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("learning rate transfers") == 1  # rank 0 alone prints
    same_results(folder / "two.sqlite", folder / "one.sqlite")
    left = sorted(path.name for path in folder.glob("two.sqlite*"))
    assert left == ["two.sqlite"]
    again = torchrun_study(
        2, "resume", folder / "two.sqlite"
    )  # nothing is left to do, and nobody waits for anybody
    assert again.returncode == 0, again.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 4])
def test_a_run_whose_writer_failed_goes_on_in_another_number_of_processes(
    folder: Path, processes: int
) -> None:
    store = folder / f"failed-{processes}.sqlite"
    done = run_torchrun(2, str(TESTS / "study_sharded.py"), str(folder / "spec.yaml"), str(store), "fails")
    assert done.returncode != 0
    assert "the writer is gone" in done.stderr
    assert read_study(store).pending_populations()
    parts = list(folder.glob(f"{store.name}.checkpoints/population-*.shards/step-20-of-2/*.tensors"))
    assert len(parts) == 2
    options = ["--executor", "sharded"] if processes == 1 else []
    gone_on = torchrun_study(processes, "resume", store, *options)
    assert gone_on.returncode == 0, gone_on.stderr[-3000:]
    assert "gone on with from step 20" in gone_on.stderr
    same_results(store, folder / "one.sqlite")
    assert not list(folder.glob(f"{store.name}.checkpoints"))


@pytest.mark.slow
def test_what_no_process_has_memory_for_goes_on_in_halves(folder: Path) -> None:
    store = folder / "small.sqlite"
    done = run_torchrun(2, str(TESTS / "study_sharded.py"), str(folder / "spec.yaml"), str(store), "small")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "do not fit on the device together" in done.stderr
    found, expected = read_study(store), read_study(folder / "one.sqlite")
    assert len(found.populations) > len(expected.populations)
    for one, other in zip(found.trials.values(), expected.trials.values(), strict=True):
        assert (one.identity, one.status, one.step) == (other.identity, other.status, other.step)


@pytest.mark.slow
def test_what_processes_do_not_divide_is_bad_input_and_writes_nothing(folder: Path) -> None:
    store = folder / "three.sqlite"
    done = torchrun_study(3, "run", folder / "spec.yaml", "--store", store)
    assert done.returncode != 0
    assert (
        "a batch of 4 sequences does not divide over 3 processes; use a number that divides it: [1, 2]"
        in (done.stderr)
        or "has no dimension that 3 processes divide; use 2 processes" in done.stderr
    ), done.stderr[-3000:]
    assert not list(folder.glob("three.sqlite*"))
    one_each = torchrun_study(2, "run", folder / "spec.yaml", "--store", store, "--executor", "local")
    assert one_each.returncode != 0
    assert (
        "torchrun started 2 processes, and with Local() each of them would run the study" in one_each.stderr
    )
    assert not list(folder.glob("three.sqlite*"))


def test_without_torchrun_it_is_a_group_of_one(folder: Path) -> None:
    alone = folder / "alone.sqlite"
    run_study(load_spec(str(folder / "spec.yaml")), alone, device="cpu", executor=Sharded())
    same_results(alone, folder / "one.sqlite")


def test_an_executor_that_is_not_shared_is_refused_under_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="torchrun started 2 processes, and with Local"), led(Local(), "cpu"):
        raise AssertionError("it was not refused")
    with pytest.raises(ValueError, match="run by `run_study`"):
        Sharded().open("cpu")
