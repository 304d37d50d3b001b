"""What each process of `test_wide_processes.py` runs, under torchrun: `python wide_processes.py FOLDER PHASE`.

Each phase compares with one process alone, in this process, and fails where they differ.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from populations import (
    ADAM_UPDATE,
    CPU,
    SGD_MOMENTUM,
    letter_corpus,
    make_recipe,
    numbers,
    trace,
    train,
    transformer,
)
from sharded_training import same_as_one
from widthwise.optim import (
    AdafactorConstants,
    AdafactorUpdate,
    AdamAtan2Update,
    MemberUpdate,
    ParameterScaling,
)
from widthwise.scaling import Anchor, Gauge
from widthwise.theory import MUP
from widthwise.train import WHOLE, ActivationPlan, Member
from widthwise.train.batches import Batches
from widthwise.wide.processes import gathered_texts, process_group
from widthwise.wide.sharded_checkpoint import load_sharded_, save_sharded
from widthwise.wide.sharded_training import ShardedTraining
from widthwise.wide.split_members import train_split

STEPS, HALF = 20, 10
MODEL = transformer(16, depth=2)
UPDATES: dict[str, MemberUpdate] = {
    "sgd": SGD_MOMENTUM,
    "adam": ADAM_UPDATE,
    "scaled atan2": AdamAtan2Update(0.9, 0.98, 1.0, 1.0, ParameterScaling(0.01)),
    "adafactor": AdafactorUpdate(AdafactorConstants(min_dim_size_to_factor=8)),
}


def members(rates: tuple[float, ...] = (0.02, 0.05), seed: int = 3) -> list[Member]:
    options = {"parameterization": MUP, "anchor": Anchor.ABSOLUTE, "gauge": Gauge.EXPLICIT}
    return [
        Member(numbers(MODEL, learning_rate=rate, **options), seed + i, 5) for i, rate in enumerate(rates)
    ]


def batch(step: int, count: int) -> torch.Tensor:
    data = Batches(letter_corpus(), [5], steps=STEPS, batch=4, context=8, device=CPU)
    return data.at(step).expand(count, -1, -1)


def same_losses(name: str, *, activations: ActivationPlan = WHOLE) -> None:
    """To 1e-6 of each loss over 20 steps; sizes of tensors to 1e-6 too, weights being float32."""
    recipe = make_recipe(MODEL, UPDATES[name], steps=STEPS)
    crowd = members((0.3, 0.6) if name == "sgd" else (0.02, 0.05))
    training = ShardedTraining(recipe, crowd, CPU, activations=activations)
    found = torch.stack([training.step(batch(step, 2)) for step in range(1, STEPS + 1)])
    expected = trace(recipe, crowd, letter_corpus())
    torch.testing.assert_close(found, expected.losses, rtol=1e-6, atol=0)
    assert (found[-3:].mean(0) < found[:3].mean(0) - 0.05).all(), found
    for tensor, size in training.sizes(training.parameters()).items():
        exact = expected.parameters[tensor].double().square().flatten(1).mean(1).sqrt()
        torch.testing.assert_close(size, exact, rtol=2e-5, atol=0)
    shares = [training.part(p).numel() / p.numel() for p in training.parameters().values()]
    assert shares == [1 / dist.get_world_size()] * len(shares)


def sizes_are_reduced() -> None:
    """Before a step all processes hold the same weights as one: sizes to 1e-9."""
    recipe = make_recipe(MODEL, ADAM_UPDATE, steps=STEPS)
    training = ShardedTraining(recipe, members(), CPU)
    from widthwise.train import initial_parameters

    start = initial_parameters(recipe, members(), CPU)
    for name, size in training.sizes(training.parameters()).items():
        exact = start[name].double().square().flatten(1).mean(1).sqrt()
        torch.testing.assert_close(size, exact, rtol=1e-9, atol=0)


def save(folder: Path, name: str) -> None:
    training = ShardedTraining(make_recipe(MODEL, UPDATES[name], steps=STEPS), members(), CPU)
    for step in range(1, HALF + 1):
        training.step(batch(step, 2))
        if step == HALF // 2:
            save_sharded(training, folder / name)
    save_sharded(training, folder / name)


def load(folder: Path, name: str) -> None:
    """Written by another number of processes: the second half is that of one undisturbed run."""
    recipe = make_recipe(MODEL, UPDATES[name], steps=STEPS)
    training = ShardedTraining(recipe, members(), CPU)
    load_sharded_(training, folder / name)
    assert training.steps == HALF
    found = torch.stack([training.step(batch(step, 2)) for step in range(HALF + 1, STEPS + 1)])
    expected = trace(recipe, members(), letter_corpus()).losses[HALF:]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    other = ShardedTraining(recipe, members((0.02, 0.06)), CPU)
    message = _refusal(lambda: load_sharded_(other, folder / name))
    assert "another run's: it has members[1].numbers.token_embedding.rate = " in message, message


def split(name: str) -> None:
    """Members over processes: every outcome is that of all members in one process."""
    recipe = make_recipe(MODEL, UPDATES[name], steps=STEPS)
    crowd = members((0.01, 0.02, 0.05, 1e4, 0.03))
    found = train_split(recipe, crowd, letter_corpus(), device=CPU)
    assert len(set(gathered_texts(repr(found), CPU))) == 1
    if dist.get_rank() == 0:
        for ours, theirs in zip(found, train(recipe, crowd, letter_corpus()), strict=True):
            assert ours.divergence == theirs.divergence
            assert [s for s, _ in ours.curve] == [s for s, _ in theirs.curve]
            losses, exact = (torch.tensor([x for _, x in one.curve]) for one in (ours, theirs))
            torch.testing.assert_close(losses, exact, rtol=1e-6, atol=0)
    if dist.get_world_size() == 2:
        message = _refusal(lambda: train_split(recipe, crowd[:1], letter_corpus(), device=CPU))
        assert "1 members over 2 processes: 1 would have none; start at most 1" in message, message


def refuse() -> None:
    """What two processes do not divide."""
    odd = replace(MODEL, vocabulary=33, context=9)
    recipe = make_recipe(replace(odd, width=12, head_dim=4), ADAM_UPDATE, steps=STEPS)
    recipe = replace(recipe, batch=3)
    message = _refusal(lambda: ShardedTraining(recipe, [], CPU))
    assert (
        "a batch of 3 sequences does not divide over 2 processes; use a number that divides it: [1]"
        in message
    )


def _refusal(call: object) -> str:
    try:
        call()  # type: ignore[operator]
    except ValueError as error:
        return str(error)
    raise AssertionError("nothing was refused")


def main(folder: Path, phase: str) -> None:
    torch.set_num_threads(1)
    with process_group("cpu"):
        match phase:
            case "two":
                same_losses("adam")
                sizes_are_reduced()
                split("adam")
                refuse()
                same_as_one()
                save(folder, "adam")
            case "more":
                for name in UPDATES:
                    if name != "adam":
                        same_losses(name)
                same_losses("adam", activations=ActivationPlan(4, recompute=True))
                save(folder, "adafactor")
            case "load":
                for name in ("adam", "adafactor"):
                    load(folder, name)
    sys.stdout.write(f"{phase} done\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
