"""What a layer-major step needs, before anything is allocated, and which named machine has it.

Each part follows from shapes; what a block's forward and backward pass hold beside that is counted tensor by tensor for
the layers as they stand (`activation_bytes`), and the allocator's own loss is a share of it all.
"""

from dataclasses import dataclass, replace
from math import ceil, prod

from widthwise.models import Transformer
from widthwise.optim import MemberUpdate, StateFormat
from widthwise.optim.compact_step import state_bytes
from widthwise.train import ActivationPlan, Execution, Precision, Recipe, WarmupCosine
from widthwise.train.memory import running_terms
from widthwise.train.micro_batch import divisors
from widthwise.wide.sharded_memory import sharded_memory
from widthwise.wide.storage import Place, Storage

GIB = 2**30
SIZES = {Precision.FLOAT32: 4, Precision.BFLOAT16: 2}
SLACK = 0.03
"""Of all memory, what the allocator and the libraries keep for themselves."""

BLOCK_WIDTHS = 26
"""Tensors [tokens, D] that a block's backward pass holds at its fullest: x, h, qkv (3), the attention's output, y, the
sum, h, gelu and slope (8), the second y and the sum (2); of gradients the block's output, one of the sum, and that of
what comes before the GELU with its product (4 + 2)."""

LOGITS_BYTES = 2 * GIB
"""A piece of logits (`kernels.readout_loss`) and what becomes of it."""


@dataclass(frozen=True)
class Machine:
    """A host of GPUs: memory of one of them, in GiB, and how many."""

    name: str
    gib: float
    gpus: int = 1


MACHINES = (
    Machine("one H100", 78),
    Machine("one H200", 139),
    Machine("2 H100", 78, 2),
    Machine("2 H200", 139, 2),
    Machine("4 H100", 78, 4),
    Machine("4 H200", 139, 4),
    Machine("8 H100", 78, 8),
    Machine("8 H200", 139, 8),
)
"""What a plan is held against; several GPUs train sharded, in float32."""


@dataclass(frozen=True)
class Budget:
    """Bytes by part.

    Args:
        sums: of one block's gradients, or of the larger end's, with the gradients of a piece on their way there.
        activations: of one block and one micro-batch.
        boundaries: block inputs on the device.
    """

    weights: int
    state: int
    sums: int
    boundaries: int
    activations: int
    logits: int

    @property
    def kept(self) -> int:
        """What stays between the steps, with the allocator's share."""
        return ceil((self.weights + self.state) * (1 + SLACK))

    @property
    def total(self) -> int:
        """With the allocator's share."""
        parts = self.weights + self.state + self.sums + self.boundaries + max(self.activations, self.logits)
        return ceil(parts * (1 + SLACK))


def layer_major_budget(model: Transformer, update: MemberUpdate, storage: Storage, *, batch: int) -> Budget:
    """What a step of `LayerMajor` holds at its fullest.

    Args:
        batch: sequences of a step, in the storage's micro-batches.

    Example:
        >>> from widthwise.optim import AdamUpdate
        >>> model = Transformer(width=16384, depth=8, head_dim=128, vocabulary=32101, context=512)
        >>> storage = Storage(micro_batches=4, boundaries=Place.HOST)
        >>> found = layer_major_budget(model, AdamUpdate(0.9, 0.98), storage, batch=32)
        >>> round(found.weights / 1e9, 1), round(found.state / 1e9, 1), round(found.total / 2**30)
        (53.7, 54.5, 125)
    """
    size = {name: prod(tensor.shape) for name, tensor in model.tensors().items()}
    drawn = {name: tensor.drawn for name, tensor in model.tensors().items()}
    weight = SIZES[storage.weights]
    pieces, tokens = storage.micro_batches, storage.sequences(batch) * model.context
    groups = [
        [n for n in size if n.startswith("blocks.0.")],
        ["final_norm", "readout"],
        ["token_embedding", "position_embedding"],
    ]
    largest = max(groups, key=lambda names: sum(size[n] for n in names))
    matrices = sorted(size[n] for n in largest)
    one_piece = weight * sum(matrices)
    # The two products of an MLP have their gradients in one call, so both are on their way to the sums at once.
    several = SIZES[storage.sums] * sum(matrices) + weight * sum(matrices[-2:])
    held = tokens * model.width * weight
    levels = pieces * (model.depth + 1) if storage.boundaries is Place.DEVICE else 3
    return Budget(
        weights=sum(count * (weight if drawn[n] else 4) for n, count in size.items()),
        state=sum(
            state_bytes(update, storage.state if drawn[n] else StateFormat.FLOAT32, t.shape)
            for n, t in model.tensors().items()
        ),
        sums=one_piece if pieces == 1 else several,
        boundaries=levels * held,
        activations=BLOCK_WIDTHS * held,
        logits=LOGITS_BYTES + 2 * size["readout"] * weight,
    )


def measuring_bytes(model: Transformer) -> int:
    """What `Measuring` holds beside a training at its fullest: two states of the largest matrix in float32, and copies
    of both while they are put together.
    """
    return 16 * max(prod(t.shape) for t in model.tensors().values() if t.multiplied)


def sharded_bytes(model: Transformer, update: MemberUpdate, *, batch: int, gpus: int) -> int:
    """What one of several GPUs holds in `ShardedTraining` in float32, blocks recomputed, its part of the batch cut as
    takes least: `sharded_memory` with what a program has beside its member, and the allocator's share.

    Example:
        >>> from widthwise.optim import AdamUpdate
        >>> model = Transformer(width=16384, depth=8, head_dim=128, vocabulary=32101, context=512)
        >>> [round(sharded_bytes(model, AdamUpdate(0.9, 0.98), batch=64, gpus=k) / 2**30) for k in (4, 8, 64)]
        [163, 110, 63]
    """
    part = Recipe(model, update, WarmupCosine(1, 0), ceil(batch / gpus), Precision.FLOAT32, 1, 1)
    runs = Execution(cuda=True, fused=True)
    ways = (replace(runs, activations=ActivationPlan(n, recompute=True)) for n in divisors(part.batch))
    held = min(sharded_memory(part, way, gpus).bytes for way in ways)
    return ceil((held + sum(term.bytes for term in running_terms(runs))) * (1 + SLACK))


def machine_for(model: Transformer, update: MemberUpdate, storage: Storage, *, batch: int) -> Machine:
    """The first of `MACHINES` that a model fits: layer-major on one GPU, sharded on several.

    Raises:
        ValueError: it fits none; the message says what would.

    Example:
        >>> from widthwise.optim import AdamUpdate
        >>> model = Transformer(width=16384, depth=8, head_dim=128, vocabulary=32101, context=512)
        >>> storage = Storage(micro_batches=4, boundaries=Place.HOST)
        >>> machine_for(model, AdamUpdate(0.9, 0.98), storage, batch=32).name
        'one H200'
    """
    alone = layer_major_budget(model, update, storage, batch=batch).total
    for machine in MACHINES:
        several = machine.gpus > 1 and batch % machine.gpus == 0
        need = sharded_bytes(model, update, batch=batch, gpus=machine.gpus) if several else alone
        if (several or machine.gpus == 1) and need <= machine.gib * GIB:
            return machine
    raise ValueError(
        f"width {model.width} ({model.parameter_count / 1e9:.1f} billion parameters) takes {alone / GIB:.0f} GiB on "
        f"one GPU, and none of {', '.join(m.name for m in MACHINES)} has that: {_what_would(model, update, batch)}"
    )


def _what_would(model: Transformer, update: MemberUpdate, batch: int) -> str:
    largest = max(machine.gib for machine in MACHINES)
    for gpus in (2**power for power in range(4, 13)):
        if sharded_bytes(model, update, batch=max(batch, gpus), gpus=gpus) <= largest * GIB:
            least = max(batch, gpus)
            return f"{gpus} GPUs of {largest:.0f} GiB do, sharded, with a batch of at least {least} sequences"
    return f"what is whole of two blocks at a time is more than GPUs of {largest:.0f} GiB hold; take a smaller width"
