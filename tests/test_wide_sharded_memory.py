"""What a sharded process holds: by hand, against PyTorch's own trackers of FSDP2, and against two H200.

The trackers follow every storage of a real step of `ShardedModel`, on tensors without data in a group that is only
said to have two processes.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
from torch.distributed._tools.mem_tracker import MemTracker
from torch.testing._internal.distributed.fake_pg import FakeStore

from populations import ADAM_UPDATE, CPU, make_recipe, mlp
from widthwise.models import ReferenceModel, Transformer
from widthwise.models.layers import PLAIN
from widthwise.optim import AdafactorUpdate, MemberUpdate
from widthwise.train import ActivationPlan, Execution, Precision, Recipe, execution_on
from widthwise.train.memory import running_terms
from widthwise.wide import sharded_memory
from widthwise.wide.sharded_memory import Units, whole_terms
from widthwise.wide.sharded_module import How, ShardedModel
from widthwise.wide.sharded_step import sharded_step
from widthwise.wide.shards import Shards

SHARDED = Path(__file__).parents[1] / "benchmarks" / "results" / "sharded.json"
PROCESSES = 2
BLOCKS = Transformer(width=256, depth=3, head_dim=64, vocabulary=32, context=4)
ENDS = Transformer(width=64, depth=2, head_dim=64, vocabulary=8192, context=4)
Snapshot = dict[str, int]
"""Bytes by what they are."""


@pytest.fixture(scope="module")
def group() -> Iterator[None]:
    dist.init_process_group("fake", rank=0, world_size=PROCESSES, store=FakeStore())
    yield
    dist.destroy_process_group()


@lru_cache
def tracked(model: ReferenceModel) -> tuple[int, dict[str, dict[str, Snapshot]]]:
    """The peak of one forward and one backward pass of one sequence in float32, and each unit's states by name."""

    def snapshot(found: Any) -> Snapshot:
        return {getattr(kind, "value", kind): count for kind, count in found[CPU].items()}

    shards = Shards.of(model, CPU)
    with FakeTensorMode():
        module = ShardedModel(model, 1)
        module.shard_(shards)
        module.to_empty(device="cpu")
        tracker = FSDPMemTracker(module)
        with tracker:
            how = How(None, torch.float32, PLAIN, recompute=False)
            module(how, torch.zeros(1, 1, model.context + 1, dtype=torch.int64)).sum().backward()
    states = {
        unit.mod_fqn.removeprefix("FSDPShardedModel").removeprefix("."): {
            state.value: snapshot(times[-1]) for state, times in unit.snapshots.items()
        }
        for unit in tracker.memory_tracking.values()
    }
    return snapshot(tracker.get_tracker_snapshot("peak"))["Total"], states


def recipe_of(model: ReferenceModel, update: MemberUpdate = ADAM_UPDATE) -> Recipe:
    """Of one sequence a process."""
    return replace(make_recipe(model, update, steps=4), batch=1)


def whole(model: ReferenceModel, moment: str) -> int:
    """What is predicted to be whole."""
    return sum(term.bytes for term in whole_terms(Units.of(model), moment))


def test_each_line_of_the_table_is_what_pytorchs_tracker_sees(group: None) -> None:
    units = Units.of(BLOCKS)
    ends, block, head = 4 * units.ends, 4 * units.block, 4 * units.head
    root, middle = tracked(BLOCKS)[1][""], tracked(BLOCKS)[1]["blocks.1"]
    start = root["After Pre-Forward"]  # the pieces in order are gone again
    assert (start["Unsharded Param"], start["All Gather"]) == (ends, ends)
    loss = root["Before Post-Forward"]
    assert (loss["Unsharded Param"], loss["All Gather"]) == (ends, block)
    assert whole(BLOCKS, "the loss") == ends + block
    worked = middle["Before Post-Backward"]
    kinds = ("Unsharded Param", "Unsharded Grad", "All Gather", "Reduce Scatter")
    assert [worked[kind] for kind in kinds] == [ends + block, block, block, block]
    # The head's gradients are not yet known as such: of its gain and of the readout.
    assert worked["Temp"] >= head
    assert whole(BLOCKS, "the block before it") == ends + 4 * block + head
    assert worked["Sharded Grad"] == block / PROCESSES
    last = root["Before Post-Backward"]
    assert [last[kind] for kind in kinds if kind != "All Gather"] == [ends, ends, block]
    assert last["Sharded Grad"] == units.depth * block / PROCESSES
    assert whole(BLOCKS, "the embedding") == 2 * ends + block


@pytest.mark.parametrize(
    ("model", "moment", "above"),
    [
        # Beyond what FSDP2 holds there are kilobytes of activations, which are counted for other operations.
        (BLOCKS, "the first block", 1.005),
        (ENDS, "the start", 1.005),
        # One unit: the gradients of the embedding, three a step, are counted beside those on their way.
        (mlp(256), "the embedding", 1.25),
    ],
)
def test_the_peak_is_what_pytorchs_tracker_sees(
    group: None, model: ReferenceModel, moment: str, above: float
) -> None:
    memory = sharded_memory(recipe_of(model), Execution(), PROCESSES)
    weights = next(term.bytes for term in memory.standing if term.name == "weights")
    assert memory.peak.name == moment
    assert 0.995 <= (weights + memory.peak.bytes) / tracked(model)[0] <= above


def test_of_adafactor_state_and_step_are_whole(group: None) -> None:
    """Its step on two matrices, followed by PyTorch's tracker: 3 copies of one and 3 gathered."""
    shards = Shards.of(BLOCKS, CPU)
    update = AdafactorUpdate()
    with FakeTensorMode():
        shapes = {n: t.shape for n, t in BLOCKS.tensors().items() if prod(t.shape) == 4 * BLOCKS.width**2}
        parts = {name: shards.part(name, torch.zeros(1, *shape)).clone() for name, shape in shapes.items()}
        gradients = {name: torch.zeros_like(part) for name, part in parts.items()}
        per_member = {name: torch.ones(1) for name in parts}
        step = sharded_step(update, parts, shards, rates=per_member, epsilons=per_member, decays=None)
        tracker = MemTracker()
        states = [tensor for state in step.state.values() for tensor in state.values()]
        tracker.track_external(*parts.values(), *gradients.values(), *states)
        with tracker:
            step.step_(gradients, factor=1.0)
    peak = tracker.get_tracker_snapshot("peak")[CPU]["Total"]
    held = sum(tensor.nbytes for tensor in (*parts.values(), *gradients.values(), *states))
    memory = sharded_memory(recipe_of(BLOCKS, update), Execution(fused=True), PROCESSES)
    moment = next(moment for moment in memory.moments if moment.name == "the update")
    work = sum(
        term.bytes
        for term in moment.terms
        if term.name in ("the largest tensor's update", "a tensor gathered")
    )
    # Vectors, and the parts that a new tensor is copied to, are not counted.
    assert work == pytest.approx(peak - held, rel=0.02)
    (state,) = (term.bytes for term in memory.standing if term.name == "optimizer state")
    assert state == 4 * sum(
        prod(s) for t in BLOCKS.tensors().values() for s in update.state_shapes(t.shape).values()
    )


def test_pieces_and_processes() -> None:
    """Sums of gradients stand, and only one unit's are beside them; nothing whole is shared by more processes."""
    part = replace(recipe_of(BLOCKS), batch=4)
    runs = Execution(activations=ActivationPlan(4))
    held = {k: sharded_memory(part, runs, k) for k in (2, 4)}
    standing = {term.name: term.bytes for term in held[2].standing}
    count = BLOCKS.parameter_count
    assert standing["weights"] == standing["sums of gradients"] == 2 * count
    gradients = {m.name: t.bytes for m in held[2].moments for t in m.terms if t.name == "gradients"}
    assert gradients["the update"] == gradients["the last block"] == 0
    assert gradients["the first block"] == gradients["the embedding"] == 2 * Units.of(BLOCKS).block
    # 16 bytes a parameter of weights, state and sums, and the gradients of one block.
    shared = 16 * count + 4 * Units.of(BLOCKS).block
    assert held[2].bytes - held[4].bytes == pytest.approx(shared / 4, abs=100)


def test_two_h200() -> None:
    """The peak that PyTorch's allocator had at 535 million parameters, against members' bytes and the program's.

    Above it by at most 1.1 GiB: logits are counted at every moment, and three streams' workspaces. Below it by at most
    0.25 GiB: two copies of the readout with padded rows are beside the logits, and are not counted.
    """
    rows = {row["name"]: row["value"] for row in json.loads(SHARDED.read_text())["rows"]}
    measured = rows["D=2048, 535 M parameters, bfloat16: peak memory a device, 2 processes"]
    model = Transformer(width=2048, depth=8, head_dim=128, vocabulary=32101, context=512)
    part = replace(recipe_of(model), batch=32, precision=Precision.BFLOAT16)
    runs = execution_on(part, (9, 0))
    allocated = sum(term.bytes for term in running_terms(runs) if term.name != "loaded kernels")
    memory = sharded_memory(part, runs, PROCESSES)
    assert runs.copies
    assert "low copies" not in {term.name for term in memory.standing}
    predicted = (memory.bytes + allocated) / 2**30
    assert -0.25 <= predicted - measured <= 1.1
    assert 0.93 < predicted / measured < 1.1
