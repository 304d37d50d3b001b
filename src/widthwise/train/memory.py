"""How many bytes a population needs, as a sum that can be checked by hand.

    bytes(P) = program + P * member,    member = standing + the largest of its moments

Standing is what a member holds from step to step; a moment is what it holds beyond that at one point of a step: when
the loss is taken, at the last and at the first block of the backward pass, before the blocks, in the optimizer's step.
Between the last block and the first, activations become gradients at an even pace, so one of the two is the larger.
Every term is a product of the recipe's sizes with a constant that is named where it stands.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from widthwise.models import ReferenceModel
from widthwise.optim import AdafactorUpdate, SgdUpdate
from widthwise.records import Since
from widthwise.train.activation_table import (
    ID,
    activation_table,
    forward_loss_bytes,
    loss_bytes,
    widths,
)
from widthwise.train.alignment_memory import measuring_moments, measuring_terms
from widthwise.train.corpus import VOCABULARY
from widthwise.train.execution import SIZES, Execution
from widthwise.train.host_batches import AHEAD, stays_on_host
from widthwise.train.member import Recipe
from widthwise.train.memory_sums import MemberMemory, Moment, ProgramMemory, Term
from widthwise.train.state_size import model_state

FLOAT = 4
ADAM_COPIES, SGD_COPIES, ADAFACTOR_COPIES = 5, 3, 3
"""How many tensors of the largest parameter's size its plain update holds at once. Adam: new weights, two new moments
and the two parts of a direction; SGD: new weights, momentum, their product; Adafactor: the square, the direction and
its product, and one more for a v that is not factored and for a momentum."""

KERNEL_SCRATCH = 1 / 64
"""Of a parameter's numbers, in float32: Adafactor's partial sums of rows and columns, one per 128 elements each."""

WORKSPACES = 3 * 32 * 2**20
"""cuBLAS' own memory: 32 MiB on Hopper for each of the streams that a recorded step is prepared on."""

LOGITS = 2**30
"""What the kernels hold of logits at a time, `kernels.readout_loss.LOGITS_BYTES`; a test compares them."""

LOADED = 512 * 2**20
"""Assumed: kernels, compiled or not, that are loaded while a population runs."""


def member_memory(recipe: Recipe, execution: Execution) -> MemberMemory:
    """The bytes of one member of a population.

    Args:
        recipe: the model's sizes, the optimizer, batch, horizon and precision.
        execution: pieces, recomputing, the engine and the kernels.

    Raises:
        ValueError: the batch does not divide into the pieces.

    Example:
        >>> from widthwise.models import MLP
        >>> from widthwise.optim import SgdUpdate
        >>> from widthwise.train.member import Precision
        >>> from widthwise.train.schedule import WarmupCosine
        >>> model = MLP(width=64, depth=2, window=4, vocabulary=256, context=32)
        >>> recipe = Recipe(model, SgdUpdate(0.9), WarmupCosine(100, 0), 4, Precision.FLOAT32, 1, 1)
        >>> weights, momentum, *_ = member_memory(recipe, Execution()).standing
        >>> (weights.bytes, momentum.bytes) == (4 * model.parameter_count, 4 * model.parameter_count)
        True
    """
    sizes = _Sizes.of(recipe, execution)
    standing = _standing(recipe, execution, sizes)
    kept = [term for term in standing if term.name in ("weights", "optimizer state", "low copies", "losses")]
    snapshot = Term("proof of the record", sum(term.bytes for term in kept), "a copy of all that changes")
    return MemberMemory(
        standing,
        _moments(recipe, execution, sizes),
        (_validation(recipe, execution, sizes), *measuring_moments(recipe)),
        snapshot if execution.engine.captured else None,
    )


def program_memory(
    recipe: Recipe,
    execution: Execution,
    *,
    corpus_bytes: int,
    data_seeds: int,
    starts: int = 1,
    starts_bytes: int | None = None,
    device_bytes: int | None = None,
) -> ProgramMemory:
    """The bytes that do not grow with P.

    Args:
        corpus_bytes: of the training stream's tokens.
        data_seeds: S, the streams of batches.
        device_bytes: all that the device has, which decides where tokens are (`host_batches.stays_on_host`).
        starts: how many distinct starts the members have, at most; what is measured is compared with them.
        starts_bytes: the most of the device's memory that these may take; None for no bound.

    Example:
        >>> from widthwise.models import MLP
        >>> from widthwise.optim import SgdUpdate
        >>> from widthwise.train.member import Precision
        >>> from widthwise.train.schedule import WarmupCosine
        >>> model = MLP(width=64, depth=2, window=4, vocabulary=256, context=31)
        >>> recipe = Recipe(model, SgdUpdate(0.9), WarmupCosine(100, 0), 4, Precision.FLOAT32, 2, 1)
        >>> program_memory(recipe, Execution(), corpus_bytes=5000, data_seeds=3).bytes
        15512
    """
    steps, batch, length = recipe.schedule.steps, recipe.batch, recipe.model.context + 1
    windows = recipe.validation_windows
    if stays_on_host(corpus_bytes, device_bytes):
        ahead, token = min(AHEAD, steps), 1 if recipe.model.vocabulary <= VOCABULARY else 2
        text = [
            Term("windows of the next steps", token * ahead * data_seeds * batch * length,
                 f"{token} B x {ahead} steps x {data_seeds} data seeds x {batch} sequences x {length} tokens"),
        ]  # fmt: skip
    else:
        text = [
            Term("training tokens", corpus_bytes, "all of them"),
            Term("starts of sequences", ID * steps * data_seeds * batch,
                 f"{ID} B x {steps:,} steps x {data_seeds} data seeds x {batch} sequences"),
        ]  # fmt: skip
    terms = [
        *text,
        Term("schedule", FLOAT * steps, f"{FLOAT} B x {steps:,} steps"),
        Term("validation windows", ID * windows * length, f"{ID} B x {windows} windows x {length} tokens"),
    ]  # fmt: skip
    if recipe.alignment is not None:
        terms += measuring_terms(recipe, recipe.alignment, starts, starts_bytes)
    return ProgramMemory((*terms, *running_terms(execution)))


def running_terms(execution: Execution) -> list[Term]:
    """What a program has on a device from its first step on."""
    terms: list[Term] = []
    if execution.cuda:
        terms.append(Term("workspaces of matrix products", WORKSPACES, "32 MiB x 3 streams"))
        terms.append(Term("loaded kernels", LOADED, "assumed"))
    if execution.kernels:
        terms.append(Term("logits", LOGITS, "at most, a piece at a time"))
    return terms


@dataclass(frozen=True)
class _Sizes:
    """Sizes of one member: numbers of parameters, and bytes of gradients and of casts, by place in the model."""

    numbers: int
    multiplied: int
    largest: int
    first: int
    stem: int
    block: int
    blocks: int
    tokens: int
    size: int

    @classmethod
    def of(cls, recipe: Recipe, execution: Execution) -> "_Sizes":
        return cls(
            **_numbers(recipe.model),
            tokens=execution.activations.sequences(recipe.batch) * recipe.model.context,
            size=SIZES[recipe.precision],
        )


@lru_cache(maxsize=64)
def _numbers(model: ReferenceModel) -> Mapping[str, int]:
    """Of parameters, by place in the model: counted once, as many ways to run it are tried."""
    counts = {name: math.prod(t.shape) for name, t in model.tensors().items()}
    inner = {name: n for name, n in counts.items() if name.startswith(("blocks.", "hidden."))}
    names = list(counts)
    before = names[: next((i for i, name in enumerate(names) if name in inner), len(names))]
    return {
        "numbers": sum(counts.values()),
        "multiplied": sum(counts[name] for name, t in model.tensors().items() if t.multiplied),
        "largest": max(counts.values()),
        "first": counts[names[0]],
        "stem": sum(counts[name] for name in before),
        "block": sum(inner.values()) // model.depth,
        "blocks": model.depth,
    }


def _standing(recipe: Recipe, execution: Execution, sizes: _Sizes) -> tuple[Term, ...]:
    """What is held from step to step."""
    numbers, steps = sizes.numbers, recipe.schedule.steps
    tensors = recipe.model.tensors()
    state = model_state(recipe.update, recipe.model).bytes
    terms = [
        Term("weights", FLOAT * numbers, f"{FLOAT} B x {numbers:,} parameters"),
        Term("optimizer state", state, f"{state / numbers:.3g} B a parameter, {type(recipe.update).__name__}"),
        Term("losses", FLOAT * steps, f"{FLOAT} B x {steps:,} steps"),
        Term("numbers of its own", 10 * FLOAT * len(tensors), f"10 x {FLOAT} B x {len(tensors)} tensors"),
    ]  # fmt: skip
    if execution.copies:
        low = sizes.size * sizes.multiplied
        terms.append(Term("low copies", low, f"{sizes.size} B x {sizes.multiplied:,} parameters"))
    if recipe.alignment is not None and Since.UPDATE in recipe.alignment.since:
        terms.append(Term("weights before an update", FLOAT * numbers, f"{FLOAT} B x {numbers:,} parameters"))
    if execution.activations.micro_batches > 1:
        terms.append(Term("sums of gradients", FLOAT * numbers, f"{FLOAT} B x {numbers:,} parameters"))
    return tuple(terms)


def _moments(recipe: Recipe, execution: Execution, sizes: _Sizes) -> tuple[Moment, ...]:
    """The points of a training step at which its memory can be largest."""
    table = activation_table(recipe.model)
    compiled, fused = execution.engine.compiled, execution.engine.compiled or execution.kernels
    width, vocabulary, tokens, size = recipe.model.width, recipe.model.vocabulary, sizes.tokens, sizes.size
    recompute = execution.activations.recompute and table.recomputable
    # Without copies, every matrix is cast where it is used, and the cast is kept as long as the activations are.
    cast = size if size < FLOAT and not execution.copies else 0
    low = size if execution.copies else FLOAT
    block_tokens = (widths(table.block, fused=fused) * width * size + table.statistics) * tokens
    block = Term(
        "one block's activations",
        block_tokens + cast * sizes.block,
        f"{block_tokens / tokens:,.0f} B a token",
    )
    kept = table.block[0].widths * width * size * tokens if recompute else block.bytes
    blocks = Term("all blocks' activations", kept * sizes.blocks,
                  f"{kept / tokens:,.0f} B x {tokens:,} tokens x {sizes.blocks} blocks")  # fmt: skip
    ids = Term("numbers of tokens", table.ids * ID * tokens, f"{table.ids} x {ID} B x {tokens:,} tokens")
    head = sizes.numbers - sizes.stem - sizes.block * sizes.blocks
    top = widths(table.head, fused=fused) * width * size * tokens + cast * head
    at_loss = loss_bytes(size, compiled=compiled)
    if execution.kernels:  # logits are the program's; their gradients by both operands are there at once
        taken = Term(
            "the readout's gradients", size * (width * tokens + width * vocabulary),
            f"{size} B x {width:,} x ({tokens:,} tokens + {vocabulary:,})",
        )  # fmt: skip
    else:
        taken = Term(
            "logits", at_loss * vocabulary * tokens, f"{at_loss} B x {vocabulary:,} x {tokens:,} tokens"
        )
    work = Term(
        "the block at work", table.block_work * width * size * tokens, f"{table.block_work} D a token"
    )
    again = (block,) if recompute else ()

    def gradients(numbers: int, stem: int = 0) -> Term:
        return Term(
            "gradients", low * numbers + FLOAT * stem, f"{low} B x {numbers:,} + {FLOAT} B x {stem:,}"
        )

    inner = sizes.numbers - sizes.stem
    whole = gradients(inner, sizes.stem)
    first_blocks = replace(blocks, bytes=kept, why="of the first block")
    copies = FLOAT * sizes.first * table.stem_copies
    stepping = () if execution.activations.micro_batches > 1 else (whole,)
    return (
        Moment("the loss", (ids, blocks, Term("the readout's input", top, "and what its norm keeps"), taken)),
        Moment("the last block", (ids, blocks, *again, work, gradients(head + sizes.block))),
        Moment("the first block", (ids, first_blocks, *again, work, gradients(inner))),
        Moment("the embedding", (ids, whole,
               Term("its own gradients", copies, f"{table.stem_copies} more while they are added up"),
               Term("its activations", table.stem_work * width * FLOAT * tokens, f"{table.stem_work} D a token"))),
        Moment("the update", (ids, *stepping, _update_term(recipe, execution, sizes))),
    )  # fmt: skip


def _update_term(recipe: Recipe, execution: Execution, sizes: _Sizes) -> Term:
    """What the optimizer's step holds for itself."""
    if execution.fused:
        scratch = KERNEL_SCRATCH * sizes.numbers if isinstance(recipe.update, AdafactorUpdate) else 0
        return Term("the optimizer's scratch", FLOAT * math.ceil(scratch), "kernels step in place")
    copies = SGD_COPIES if isinstance(recipe.update, SgdUpdate) else ADAM_COPIES
    if isinstance(recipe.update, AdafactorUpdate):
        largest = max((t.shape for t in recipe.model.tensors().values()), key=math.prod)
        constants = recipe.update.constants
        copies = (
            ADAFACTOR_COPIES + (constants.factored_dims(largest) is None) + (constants.momentum is not None)
        )
    held = FLOAT * copies * sizes.largest
    return Term("the largest tensor's update", held, f"{copies} x {FLOAT} B x {sizes.largest:,} parameters")


def _validation(recipe: Recipe, execution: Execution, sizes: _Sizes) -> Moment:
    """Held-out windows, a piece at a time, forward only and one operation after the other."""
    table, size = activation_table(recipe.model), sizes.size
    windows = min(recipe.validation_windows, execution.activations.sequences(recipe.batch))
    tokens = windows * recipe.model.context
    loss = 0 if execution.kernels else forward_loss_bytes(size) * recipe.model.vocabulary
    loss += recipe.model.width * size  # the readout's input
    block = table.block_forward * recipe.model.width * size
    cast = 2 * size * sizes.largest if size < FLOAT else 0
    return Moment("validation", (
        Term("numbers of tokens", table.ids * ID * tokens, f"{table.ids} x {ID} B x {tokens:,} tokens"),
        Term("a forward pass", max(loss, block) * tokens + cast, f"{max(loss, block):,} B x {tokens:,} tokens"),
    ))  # fmt: skip
