"""Checkpoints: a training that was stopped goes on to the same bits, and nothing else is ever gone on from."""

import errno
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from populations import (
    ADAM_UPDATE,
    ATAN2_UPDATE,
    CPU,
    SGD_MOMENTUM,
    letter_corpus,
    letters,
    make_recipe,
    numbers,
    transformer,
)
from widthwise.optim import (
    AdafactorConstants,
    AdafactorUpdate,
    AdamUpdate,
    MemberUpdate,
    ParameterScaling,
    PopulationStep,
)
from widthwise.train import (
    Checkpoint,
    Checkpoints,
    Corpus,
    Member,
    Outcome,
    Recipe,
    Revision,
    TrainingStep,
    checkpoint,
    checkpoint_timer,
    load_checkpoint,
    part_of_checkpoint,
    run_identity,
    save_checkpoint,
    train_population,
)
from widthwise.train.checkpoint import CheckpointKeeper
from widthwise.train.checkpoint_file import read_tensors, write_tensors
from widthwise.train.compaction import RecordInMemory

CORPUS = letter_corpus()
MODEL = transformer(32)
UPDATES: dict[str, MemberUpdate] = {
    "sgd": SGD_MOMENTUM,
    "adam": ADAM_UPDATE,
    "atan2": ATAN2_UPDATE,
    "adam-ps": AdamUpdate(0.9, 0.98, ParameterScaling(1e-8)),
    "adafactor": AdafactorUpdate(AdafactorConstants(min_dim_size_to_factor=16, momentum=0.9)),
}
DEAD = 1e30
STEPS = 18


def members(*, ruined: bool = True) -> list[Member]:
    """Four; the second and the last of the ruined die at once."""
    rates = [1e-2, DEAD if ruined else 1e-2, 5e-3, DEAD if ruined else 2e-3]
    return [Member(numbers(MODEL, learning_rate=rate), i, i % 2) for i, rate in enumerate(rates)]


def recipe_of(update: MemberUpdate = ADAM_UPDATE) -> Recipe:
    return make_recipe(MODEL, update, steps=STEPS, curve_points=7)


@pytest.fixture(autouse=True)
def at_every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks every five steps, and a checkpoint at each, whatever it costs."""
    monkeypatch.setattr(sys.modules["widthwise.train.train_population"], "_POLL", 5)
    monkeypatch.setattr(checkpoint_timer, "SHARE", 1.0)


@pytest.fixture
def steps_run(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of members at every step that is trained from here on."""
    run: list[int] = []
    original = TrainingStep.run

    def counted(self: TrainingStep) -> None:
        run.append(self.losses_LxP.shape[1])
        original(self)

    monkeypatch.setattr(TrainingStep, "run", counted)
    return run


def train(
    path: Path | None,
    recipe: Recipe,
    crowd: list[Member],
    *,
    stop_at: int | None = None,
    corpus: Corpus = CORPUS,
) -> tuple[Outcome, ...]:
    def progress(step: int) -> None:
        if step == stop_at:
            raise KeyboardInterrupt

    kept = None if path is None else Checkpoints(path, every_seconds=0.0)
    return train_population(recipe, crowd, corpus, device=CPU, progress=progress, checkpoints=kept)


@cache
def undisturbed(update: MemberUpdate = ADAM_UPDATE, *, ruined: bool = True) -> tuple[Outcome, ...]:
    """What no test has stopped, trained once for all of them."""
    return train(None, recipe_of(update), members(ruined=ruined))


def stopped(path: Path, recipe: Recipe, crowd: list[Member], *, at: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(path, recipe, crowd, stop_at=at)


@pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)
@pytest.mark.parametrize("ruined", [False, True], ids=["whole", "compacted"])
def test_a_stopped_training_goes_on_to_the_same_bits(
    update: MemberUpdate, ruined: bool, tmp_path: Path, steps_run: list[int]
) -> None:
    """Stopped twice: before step 10's checkpoint, then before step 15's, which was begun from step 5's."""
    recipe, crowd, path = recipe_of(update), members(ruined=ruined), tmp_path / "kept" / "p"
    whole = undisturbed(update, ruined=ruined)
    assert [o.divergence is None for o in whole] == [True, not ruined, True, not ruined]
    steps_run.clear()
    stopped(path, recipe, crowd, at=10)
    stopped(path, recipe, crowd, at=15)
    after = train(path, recipe, crowd)
    assert after == whole
    left = 2 if ruined else 4
    assert steps_run == [4] * 5 + [left] * 5 + [left] * 10 + [left] * 8


def test_a_stop_before_the_first_checkpoint_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "p"
    stopped(path, recipe_of(), members(), at=5)
    assert not path.exists()
    assert train(path, recipe_of(), members()) == undisturbed()


@pytest.mark.filterwarnings(
    "ignore:invalid value:RuntimeWarning"
)  # numpy's, which the interpreter computes with
def test_the_optimizers_kernels_and_the_plain_update_read_one_another() -> None:
    """Three steps by one, three by the other, through the interpreter; a finding goes over too."""
    torch.manual_seed(0)
    start = {"w": torch.randn(2, 3, 5), "b": torch.randn(2, 7)}
    rates = {name: torch.tensor([0.1, 0.2]) for name in start}
    zeros = {name: torch.full((2,), 1e-8) for name in start}
    gradients = [{name: torch.randn_like(p) for name, p in start.items()} for _ in range(6)]
    gradients[1]["b"][1, 2] = float("inf")

    def step(fused: bool) -> PopulationStep:
        fresh = {name: p.clone() for name, p in start.items()}
        return PopulationStep(ADAM_UPDATE, fresh, rates=rates, epsilons=zeros, fused=fused or None)

    for first, then in ((True, False), (False, True), (True, True), (False, False)):
        one, other, whole = step(first), step(then), step(then)
        for gradient in gradients[:3]:
            one.step_(gradient, factor=1.0)
        other.restore_({name: value.clone() for name, value in one.snapshot().items()})
        for gradient in gradients[3:]:
            other.step_(gradient, factor=1.0)
        for gradient in gradients:
            whole.step_(gradient, factor=1.0)
        assert list(other.snapshot()) == list(whole.snapshot())
        for name, value in other.snapshot().items():
            # Kernels and plain arithmetic round the last bit differently: six steps of it.
            torch.testing.assert_close(
                value[0], whole.snapshot()[name][0], rtol=0 if first is then else 1e-5, atol=1e-6
            )
        assert [s.tolist() for s in other.non_finite_steps()] == [[0.0, 2.0], [0.0, 2.0]]


# What is not the checkpoint of this training


def mangle(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


UNUSABLE = {
    "cut short": (lambda data: data[:-1], "it is cut short or damaged"),
    "half": (lambda data: data[: len(data) // 2], "it is cut short or damaged"),
    "one bit": (lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:], "cut short or damaged"),
    "empty": (lambda data: b"", "it is no checkpoint of this version"),
    "another version": (lambda data: data.replace(b"checkpoint 1", b"checkpoint 2", 1), "no checkpoint of"),
}


@pytest.mark.parametrize(("change", "says"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_damaged_checkpoint_is_left_aside(
    change: Callable[[bytes], bytes], says: str, tmp_path: Path, steps_run: list[int]
) -> None:
    path, recipe, crowd = tmp_path / "p", recipe_of(SGD_MOMENTUM), members()
    stopped(path, recipe, crowd, at=10)
    mangle(path, change)
    steps_run.clear()
    with pytest.warns(UserWarning, match=f"is not used: .*{says}.*; training begins at step 0"):
        after = train(path, recipe, crowd)
    assert len(steps_run) == STEPS
    assert after == undisturbed(SGD_MOMENTUM)


OTHERS: dict[str, Callable[[Recipe, list[Member]], tuple[Recipe, list[Member], Corpus]]] = {
    "recipe": lambda recipe, crowd: (replace(recipe, batch=3), crowd, CORPUS),
    "optimizer": lambda recipe, crowd: (replace(recipe, update=replace(SGD_MOMENTUM, momentum=0.5)), crowd, CORPUS),
    "seed": lambda recipe, crowd: (recipe, [replace(crowd[0], init_seed=9), *crowd[1:]], CORPUS),
    "order": lambda recipe, crowd: (recipe, crowd[::-1], CORPUS),
    "rate": lambda recipe, crowd: (
        recipe,
        [replace(crowd[0], numbers=numbers(MODEL, learning_rate=0.0100001)), *crowd[1:]],
        CORPUS,
    ),
    "corpus": lambda recipe, crowd: (recipe, crowd, replace(CORPUS, digest="1")),
}  # fmt: skip


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_another_trainings_checkpoint_is_left_aside(
    other: Callable[[Recipe, list[Member]], tuple[Recipe, list[Member], Corpus]],
    tmp_path: Path,
    steps_run: list[int],
) -> None:
    path, recipe, crowd = tmp_path / "p", recipe_of(SGD_MOMENTUM), members()
    stopped(path, recipe, crowd, at=10)
    steps_run.clear()
    changed, other_crowd, corpus = other(recipe, crowd)
    with pytest.warns(UserWarning, match="belongs to another recipe, other members or another corpus"):
        train(path, changed, other_crowd, corpus=corpus)
    assert len(steps_run) == STEPS


def test_a_checkpoint_that_the_record_contradicts_is_left_aside(tmp_path: Path, steps_run: list[int]) -> None:
    path, recipe, crowd = tmp_path / "p", recipe_of(SGD_MOMENTUM), members()
    stopped(path, recipe, crowd, at=15)
    steps_run.clear()
    record = RecordInMemory(Revision(0, (0, 1, 2, 3)))  # knows of no compaction at step 5
    kept = Checkpoints(path, every_seconds=0.0)
    with pytest.warns(UserWarning, match=r"step 10 has the members \[0, 2\], the record \(0, 1, 2, 3\)"):
        after = train_population(recipe, crowd, CORPUS, device=CPU, checkpoints=kept, record=record)
    assert len(steps_run) == STEPS
    assert after == undisturbed(SGD_MOMENTUM)


# The file


def file_of(folder: Path) -> Path:
    path = folder / "t"
    write_tensors(path, {"step": 3}, {"a": torch.arange(6.0).view(2, 3).T, "none": torch.zeros(2, 0)})
    return path


def test_a_file_holds_what_was_written(tmp_path: Path) -> None:
    tensors = {
        "matrix": torch.arange(6.0).view(2, 3).T,
        "special": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
        "double": torch.tensor([0.1], dtype=torch.float64),
        "long": torch.tensor([2**62 + 1]),
        "none": torch.zeros(2, 0),
    }
    path = tmp_path / "t"
    write_tensors(path, {"step": 3, "text": "höher"}, tensors)
    header, found = read_tensors(path)
    assert header == {"step": 3, "text": "höher"}
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(found[name].view(torch.uint8), tensor.contiguous().view(torch.uint8))
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7), cut=st.booleans())
def test_every_damage_is_found(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int, cut: bool
) -> None:
    path = file_of(tmp_path_factory.mktemp("file"))
    data = bytearray(path.read_bytes())
    place %= len(data)
    if cut:
        del data[place:]
    else:
        data[place] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"damaged|no checkpoint of this version"):
        read_tensors(path)


def test_a_kill_while_writing_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file has all its bytes on the disk before it takes the old one's place."""
    path = file_of(tmp_path)
    before, synced = path.read_bytes(), []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def killed(source: Path, target: Path) -> None:
        assert synced == [str(source)]
        assert target.read_bytes() == before
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_tensors(path, {"step": 4}, {})
    assert path.read_bytes() == before


def test_a_full_disk_costs_a_warning_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    recipe, crowd = recipe_of(SGD_MOMENTUM), members()
    whole = undisturbed(SGD_MOMENTUM)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="cannot be written: .*No space left.*; training goes on") as said:
        assert train(tmp_path / "p", recipe, crowd) == whole
    assert len(said) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_keeper_counts_bytes_before_the_first_and_seconds_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3e8 bytes are estimated at 1 s, which is paid for after 19 s; writing took 2 s, paid for after 38 s."""
    monkeypatch.setattr(checkpoint_timer, "SHARE", 0.05)
    now = [0.0]

    def slow(path: Path, kept: Checkpoint) -> None:
        now[0] += 2.0

    monkeypatch.setattr(checkpoint, "save_checkpoint", slow)
    keeper = CheckpointKeeper(Checkpoints(tmp_path / "p", every_seconds=5.0), clock=lambda: now[0])
    assert keeper.load("") is None
    state = {"a": torch.empty(75_000_000, device="meta")}
    written = []
    for done in range(1, 200):
        now[0] += 1.0
        if keeper.due(done=done, steps=1000, size=300_000_000):
            written.append(now[0])
            keeper.save(Checkpoint("", done, (), {}, state))
    assert written == [19.0, 59.0, 99.0, 139.0, 179.0]


def test_an_interval_below_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"checkpoints every -1 seconds: the interval must be at least 0"):
        Checkpoints(tmp_path / "p", every_seconds=-1)


# Parts


def test_a_part_goes_on_as_the_whole_would_have(tmp_path: Path) -> None:
    """The third and first of four, from step 10 on, alone."""
    recipe, crowd, path = recipe_of(), members(ruined=False), tmp_path / "p"
    whole = undisturbed(ruined=False)
    stopped(path, recipe, crowd, at=15)
    found = load_checkpoint(path, identity=run_identity(recipe, crowd, CORPUS))
    assert found is not None
    assert (found.step, found.members, found.ended) == (10, (0, 1, 2, 3), {})
    few = [crowd[2], crowd[0]]
    identity = run_identity(recipe, few, CORPUS)
    save_checkpoint(path, part_of_checkpoint(found, [2, 0], identity=identity))
    record = RecordInMemory(Revision(10, (0, 1)))
    kept = Checkpoints(path, every_seconds=1e9)
    after = train_population(recipe, few, CORPUS, device=CPU, checkpoints=kept, record=record)
    assert after == (whole[2], whole[0])


def test_a_part_whose_checkpoint_is_lost_begins_at_the_beginning(tmp_path: Path) -> None:
    recipe, few = recipe_of(), members()[::2]
    record = RecordInMemory(Revision(10, (0, 1)))
    kept = Checkpoints(tmp_path / "p", every_seconds=1e9)
    with pytest.warns(
        UserWarning, match="the checkpoint of step 10, .* is not there; training begins at step 0"
    ):
        after = train_population(recipe, few, CORPUS, device=CPU, checkpoints=kept, record=record)
    assert record.revisions() == [Revision(10, (0, 1)), Revision(0, (0, 1))]
    assert after == train(None, recipe, few)


def test_the_corpus_is_known_by_its_digest() -> None:
    tokens = letters(3400)
    other = Corpus(name="other name", train=tokens[:3000], validation=tokens[3000:], digest=CORPUS.digest)
    recipe, crowd = recipe_of(), members()
    assert run_identity(recipe, crowd, other) == run_identity(recipe, crowd, CORPUS)
