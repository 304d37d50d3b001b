"""What a wide model needs before it is there: the parts that are exact, to the byte, and which machine is named."""

from dataclasses import replace

import pytest
import torch

from populations import ADAM_UPDATE, CPU, make_recipe, numbers, transformer
from widthwise.models import Transformer
from widthwise.optim import AdafactorUpdate, MemberUpdate, SgdUpdate, StateFormat
from widthwise.train import Member, Precision
from widthwise.wide import LayerMajor, Place, Storage, Watch, layer_major_budget, machine_for, sharded_bytes

PAPER = Transformer(width=16384, depth=8, head_dim=128, vocabulary=32101, context=512)
HOST = Storage(micro_batches=4, boundaries=Place.HOST)
GIB = 2**30


@pytest.mark.parametrize("update", [ADAM_UPDATE, SgdUpdate(0.9), SgdUpdate(0.0), AdafactorUpdate()])
@pytest.mark.parametrize("state", list(StateFormat))
def test_weights_and_state_to_the_byte(update: MemberUpdate, state: StateFormat) -> None:
    model = transformer(256, depth=2)
    storage = Storage(state=state, micro_batches=2)
    budget = layer_major_budget(model, update, storage, batch=4)
    recipe = replace(make_recipe(model, update, steps=4), precision=Precision.BFLOAT16)
    training = LayerMajor(recipe, Member(numbers(model, learning_rate=0.1), 0, 0), CPU, storage)
    assert budget.weights == sum(weight.nbytes for weight in training.weights.values())
    assert budget.state == sum(t.nbytes for kept in training.states.values() for t in kept.values())


def test_sums_and_boundaries_to_the_byte() -> None:
    """The largest group's sums as a step shows them, beside two gradients on their way; and 3 levels."""
    model = transformer(256, depth=2)
    storage = Storage(micro_batches=2)
    recipe = replace(make_recipe(model, ADAM_UPDATE, steps=4), precision=Precision.BFLOAT16)
    training = LayerMajor(recipe, Member(numbers(model, learning_rate=0.1), 0, 0), CPU, storage)
    seen: dict[str, int] = {}
    training.observe(
        torch.zeros(4, 9, dtype=torch.int64), Watch(gradient=lambda name, g: seen.__setitem__(name, g.nbytes))
    )
    block = sum(size for name, size in seen.items() if name.startswith("blocks.1."))
    budget = layer_major_budget(model, ADAM_UPDATE, storage, batch=4)
    assert budget.sums == block + 2 * 2 * 4 * 256**2
    assert budget.boundaries == 3 * 2 * (2 * 8 * 256 * 2)


def test_the_budget_that_was_derived() -> None:
    """performance: weights 53.6 GB, with 8-bit m and v 108, with a factored state 54; sharded float32 over 8 GPUs."""
    adam = layer_major_budget(PAPER, ADAM_UPDATE, HOST, batch=32)
    assert adam.weights / 1e9 == pytest.approx(53.6, abs=0.1)
    assert (adam.weights + adam.state) / 1e9 == pytest.approx(108, abs=0.5)
    assert adam.total <= 130 * GIB
    factored = layer_major_budget(PAPER, AdafactorUpdate(), Storage(micro_batches=32), batch=256)
    assert (factored.weights + factored.state) / 1e9 == pytest.approx(54, abs=0.5)
    assert factored.total <= 130 * GIB
    parts = [sharded_bytes(PAPER, ADAM_UPDATE, batch=64, gpus=gpus) for gpus in (2, 4, 8)]
    shared = 16 * PAPER.parameter_count
    assert parts[0] - parts[1] > shared / 4
    assert parts[1] - parts[2] > shared / 8


def test_which_machine() -> None:
    def named(width: int, update: MemberUpdate = ADAM_UPDATE) -> str:
        return machine_for(replace(PAPER, width=width), update, HOST, batch=32).name

    assert [named(width) for width in (128, 12288, 16384)] == ["one H100", "one H100", "one H200"]
    assert named(16384, AdafactorUpdate()) == "one H100"
    with pytest.raises(
        ValueError,
        match=r"width 24576 \(59\.6 billion parameters\) takes \d+ GiB on one GPU, and none of one H100, .*: "
        r"\d+ GPUs of 139 GiB do, sharded, with a batch of at least 64 sequences",
    ):
        named(24576)
    with pytest.raises(
        ValueError,
        match="what is whole of two blocks at a time is more than GPUs of 139 GiB hold; take a smaller width",
    ):
        named(2**17)
