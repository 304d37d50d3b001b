"""What one of k processes holds of a model that FSDP2 shards, moment by moment, before anything is allocated.

    bytes = standing / k + the largest of its moments
    a moment = activations of its own sequences + gradients that are split already / k + what is whole

What is whole follows from how `sharded_module` wraps a model: a unit for each block, whole while it is at work, and one
for the ends, whole from its forward pass to the end of its backward pass. There is no precision of gathering:
`fully_shard` gathers the float32 weights and scatters float32 gradients, 4 bytes a parameter each; products are cast
where they are taken, which `train.activation_table` counts. A tensor is not split along its first dimension, so what
arrives in one buffer is copied twice. With R parameters in the ends, r of them behind the blocks (the head), and B in a
block:

    moment                ends         a block's            which are
    the start             12 R         -                    buffer, its pieces in order, weights
    the loss              4 R          4 B                  the last block's buffer, kept until the pass ends
    the last block        4 R + 4 r    12 B                 weights, buffer, its pieces; then gradients, next buffer
    the block before it   4 R + 4 r    16 B                 and the last one's gradients on their way to be summed
    the first block       4 R + 4 r    16 B
    the embedding         8 R + 4 r    -                    gradients, the buffer they leave in, the last one once more
                       or 8 R          4 B                  weights, gradients; the first block's gradients on their way
    validation            12 R or 4 R  12 B                 as at the start, or in a block

A model without blocks of its own (an MLP) is one unit: R is everything, and so is r. Sources: `FSDPParamGroup`,
`foreach_all_gather_copy_out` and `foreach_reduce` as torch 2.13 has them; `tests/test_wide_sharded_memory.py` compares
with PyTorch's own `FSDPMemTracker`, and with what two H200 held. What the allocator loses over streams is not counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

from widthwise.models import ReferenceModel, Transformer
from widthwise.optim import AdafactorUpdate, AdamAtan2Update, AdamUpdate
from widthwise.train import Engine, Recipe, member_memory
from widthwise.train.execution import Execution
from widthwise.train.memory_sums import MemberMemory, Moment, Term

FLOAT = 4
UPDATING = frozenset({"the largest tensor's update", "the optimizer's scratch"})
SPLIT = frozenset({"weights", "optimizer state", "sums of gradients", *UPDATING})
"""What k processes share, by the names that `train.member_memory` gives its terms; of Adafactor only what is not the
optimizer's, whose state and step are whole and the same everywhere."""

GATHERED = 3
"""Adafactor's step has whole beside its own copies: a tensor, its gradient, and the new weights of the one before."""


@dataclass(frozen=True)
class Units:
    """Numbers of parameters by what is gathered together.

    Args:
        ends: R, outside the blocks.
        head: r, of the ends, what is behind the blocks.
        block: B.
        depth: how many blocks there are.
    """

    ends: int
    head: int
    block: int
    depth: int

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, model: ReferenceModel) -> "Units":
        """Of a model, as `ShardedModel` wraps it.

        Example:
            >>> model = Transformer(width=2048, depth=8, head_dim=128, vocabulary=32101, context=512)
            >>> Units.of(model)
            Units(ends=132536320, head=65744896, block=50335744, depth=8)
        """
        sizes = {name: prod(tensor.shape) for name, tensor in model.tensors().items()}
        depth = model.depth if isinstance(model, Transformer) else 0
        ends = {name: n for name, n in sizes.items() if not (depth and name.startswith("blocks."))}
        before = ("token_embedding", "position_embedding") if depth else ()
        return cls(
            ends=sum(ends.values()),
            head=sum(n for name, n in ends.items() if name not in before),
            block=(sum(sizes.values()) - sum(ends.values())) // depth if depth else 0,
            depth=depth,
        )


@lru_cache(maxsize=256)
def whole_terms(units: Units, moment: str) -> tuple[Term, ...]:
    """What FSDP2 holds whole at a moment: the table above, the larger where it has two."""
    ends, block = units.ends, units.block
    of_blocks = {"the loss": 1, "the last block": 3, "the block before it": 4, "the first block": 4}
    ways: list[tuple[Term, ...]] = []
    if moment in of_blocks:
        head = 0 if moment == "the loss" else units.head
        ways = [
            (
                _term("the ends, whole", 1, ends),
                _term("the head's gradients, whole", 1, head),
                _term("blocks, whole", of_blocks[moment], block),
            )
        ]
    elif moment == "the embedding":
        both = _term("the ends and their gradients, whole", 2, ends)
        ways = [
            (both, _term("the head's gradients again", 1, units.head)),
            (both, _term("a block's gradients", 1, block)),
        ]
    elif moment in ("the start", "validation"):
        ways = [
            (_term("the ends, gathered", 3, ends),),
            (_term("the ends, whole", 2, ends), _term("a block, arriving", 1, block)),
            (_term("the ends, whole", 1, ends), _term("a block, gathered", 3, block)),
        ]
    return max(ways, key=lambda terms: sum(term.bytes for term in terms), default=())


def sharded_memory(part: Recipe, execution: Execution, processes: int) -> MemberMemory:
    """What one of k processes holds of one member.

    Args:
        part: with the sequences of one process as its batch.
        execution: its pieces, recomputing and kernels; nothing is recorded, compiled, or kept in two precisions.

    Example:
        >>> from widthwise.optim import AdamUpdate
        >>> from widthwise.train import Precision, WarmupCosine
        >>> model = Transformer(width=2048, depth=8, head_dim=128, vocabulary=32101, context=512)
        >>> part = Recipe(model, AdamUpdate(0.9, 0.98), WarmupCosine(14, 2), 32, Precision.BFLOAT16, 1, 1)
        >>> held = sharded_memory(part, Execution(cuda=True, fused=True, kernels=True), 2)
        >>> held.peak.name, round(held.bytes / 2**30, 2)
        ('the last block', 13.36)
    """
    alike = isinstance(part.update, AdafactorUpdate)  # every process steps whole tensors
    scaled = (
        isinstance(part.update, AdamUpdate | AdamAtan2Update) and part.update.parameter_scaling is not None
    )
    fused = (
        execution.fused and not alike and not scaled
    )  # a rate that follows its tensor's size: by no kernel
    memory = member_memory(part, replace(execution, engine=Engine(), copies=False, fused=fused))
    units = Units.of(part.model)
    split = SPLIT - {"optimizer state", *UPDATING} if alike else SPLIT

    def share(terms: Iterable[Term]) -> tuple[Term, ...]:
        return tuple(_divided(term, processes) if term.name in split else term for term in terms)

    def moment(name: str, terms: Iterable[Term]) -> Moment:
        scattered = _scattered(units, name, pieces=execution.activations.micro_batches > 1)
        parts = _divided(_term("gradients", 1, scattered), processes)
        others = share(term for term in terms if term.name != "gradients")
        return Moment(name, (*others, parts, *whole_terms(units, name)))

    moments = [moment(old.name, old.terms) for old in memory.moments]
    if units.depth > 1:
        last = next(old.terms for old in memory.moments if old.name == "the last block")
        moments.append(moment("the block before it", _a_block_less(last, units.depth)))
    if alike:
        largest = max(prod(tensor.shape) for tensor in part.model.tensors().values())
        gathered = _term("a tensor gathered", GATHERED, largest)
        moments = [replace(m, terms=(*m.terms, gathered)) if m.name == "the update" else m for m in moments]
    between = (Moment(m.name, (*m.terms, *whole_terms(units, m.name))) for m in memory.between)
    return MemberMemory(share(memory.standing), (moment("the start", ()), *moments), tuple(between), None)


def _scattered(units: Units, moment: str, *, pieces: bool) -> int:
    """The parameters whose gradients are split already; of pieces, whose sums stand, those of one unit at a time."""
    blocks, block = units.depth * units.block, units.block
    done = {
        "the block before it": block,
        "the first block": min(block, blocks - block) if pieces else blocks - block,
        "the embedding": block if pieces else blocks,
        "the update": 0 if pieces else blocks + units.ends,
    }
    return done.get(moment, 0)


def _a_block_less(terms: Iterable[Term], depth: int) -> list[Term]:
    """The terms of the last block's backward pass with the activations of the blocks before it."""
    return [
        replace(term, bytes=term.bytes * (depth - 1) // depth, why=f"({term.why}) x {depth - 1} / {depth}")
        if term.name == "all blocks' activations"
        else term
        for term in terms
    ]


def _term(name: str, copies: int, numbers: int) -> Term:
    return Term(name, FLOAT * copies * numbers, f"{FLOAT * copies} B x {numbers:,} parameters")


def _divided(term: Term, processes: int) -> Term:
    return replace(term, bytes=-(-term.bytes // processes), why=f"({term.why}) / {processes}")
