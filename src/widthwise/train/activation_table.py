"""What each reference model's passes hold for every token: the one place to adjust when a forward pass changes.

Tensors are counted in numbers a token, in units of the model's width D; a number has the precision of products.
What torch.compile and the layers' kernels keep to themselves is marked: these keep 16 D a token and block where
operations run one by one keep 18 D. (A kernel keeps the GELU's slope in the place of its input.) Together with the 5 D
of the block at work that is the 34 D bytes a token and layer of bfloat16 that programs of 8 blocks are measured at:
2 (8 * 16 + 2 + 5) / 8 = 34.

Shape legend: D width, V vocabulary, H heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from widthwise.models import MLP, ReferenceModel

ID = 8
"""Bytes of a token's number on its way into an embedding or a loss."""


@dataclass(frozen=True)
class Kept:
    """A tensor kept for the backward pass: its numbers a token over D, and whether fused programs keep it too."""

    name: str
    widths: int
    fused: bool = True


@dataclass(frozen=True)
class ActivationTable:
    """One model's tensors.

    Args:
        block: kept of each block, the first being its input: all that is left of it when blocks are recomputed.
        head: kept between the last block and the logits.
        block_work: what a block's backward pass holds at most beyond what is kept and gradients, over D.
        stem_work: the same for what is before the blocks.
        block_forward: what a block holds at most when nothing is kept, over D.
        statistics: bytes a token and block, of the norms and of attention.
        ids: how many numbers of a token are held: of the batch, for embeddings, for the loss.
        stem_copies: how many gradients of its first tensor are held at most beside the one that is wanted.
        recomputable: whether recomputing a block leaves less of it.
    """

    block: tuple[Kept, ...]
    head: tuple[Kept, ...]
    block_work: int
    stem_work: int
    block_forward: int
    statistics: int
    ids: int
    stem_copies: int
    recomputable: bool


TRANSFORMER_BLOCK = (
    Kept("residual stream before attention", 1),
    Kept("normalized, before the gain", 1, fused=False),
    Kept("attention's input", 1),
    Kept("queries, keys and values", 3),
    Kept("attention's output", 1),
    Kept("residual stream before the MLP", 1),
    Kept("normalized, before the gain", 1, fused=False),
    Kept("the MLP's input", 1),
    Kept("before GELU", 4),
    Kept("after GELU", 4),
)
TRANSFORMER_HEAD = (
    Kept("residual stream after the blocks", 1),
    Kept("normalized, before the gain", 1, fused=False),
    Kept("the readout's input", 1),
)
MLP_BLOCK = (Kept("after ReLU", 1),)


def activation_table(model: ReferenceModel) -> ActivationTable:
    """The table of a model.

    A Transformer's block works longest at its MLP: the gradient of its output (D), of GELU's output and of GELU's input
    (4 D each), while GELU's output (4 D) is gone. Forward, GELU's input and output (8 D), its input and those of
    attention, its results and the stream (5 D). An MLP's widest point forward is its stem: the sum so far and the next
    one, an embedding in float32 and cast, and its shifted form.
    """
    if isinstance(model, MLP):
        # Each lag has an embedding of its own into one table: autograd adds their gradients up, two at a time.
        several = min(model.window, model.context) > 1
        return ActivationTable(
            block=MLP_BLOCK,
            head=MLP_BLOCK,
            block_work=2,
            stem_work=2,
            block_forward=5,
            statistics=0,
            ids=2 + min(model.window, model.context),
            stem_copies=2 if several else 0,
            recomputable=False,
        )
    heads = model.width // model.head_dim
    return ActivationTable(
        block=TRANSFORMER_BLOCK,
        head=TRANSFORMER_HEAD,
        block_work=5,
        stem_work=1,
        block_forward=13,
        statistics=2 * 8 + 4 * heads,  # mean and deviation of two norms, the log-sum of attention, float32
        ids=3,
        stem_copies=0,
        recomputable=True,
    )


def widths(kept: Sequence[Kept], *, fused: bool) -> int:
    """The numbers a token that are kept, over D.

    Example:
        >>> widths(TRANSFORMER_BLOCK, fused=False), widths(TRANSFORMER_BLOCK, fused=True)
        (18, 16)
    """
    return sum(tensor.widths for tensor in kept if tensor.fused or not fused)


def loss_bytes(size: int, *, compiled: bool) -> int:
    """Bytes a token and logit at the loss, of logits whose numbers have `size` bytes.

    One by one: the logarithms of probabilities, their gradient and the logits' gradient, in float32. Compiled: logits
    and their gradient in the precision of products, and one of those three.

    Example:
        >>> loss_bytes(2, compiled=False), loss_bytes(2, compiled=True)
        (12, 8)
    """
    return 2 * size + 4 if compiled else 3 * 4


def forward_loss_bytes(size: int) -> int:
    """Bytes a token and logit when nothing is kept: logits, the same in float32, and the logarithms of probabilities.

    Example:
        >>> forward_loss_bytes(2), forward_loss_bytes(4)
        (10, 8)
    """
    return size + 4 + (4 if size < 4 else 0)
