"""Cross-entropy of rows of logits, and its gradient in their place.

    l = scale logits,   loss = log(sum exp(l)) - l[target]
    dlogits = weight scale (exp(l) / sum exp(l) - onehot(target))

The row is read twice; the second time it is still near. So logits cross memory three times (written by the product,
read here, their gradients written) before the two products of the backward pass read them.
"""

# Triton's kernels are not typed Python.
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportCallIssue=false
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false

import triton
import triton.language as tl


@triton.jit
def cross_entropy(
    logits, targets, scales, losses, rows, tokens, vocabulary, stride, weight,
    GRADIENT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """ROWS rows of logits [rows, stride], of which `vocabulary` columns count; the others' gradients become 0.

    A member's `tokens` rows follow one another and have one scale.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    present = row < rows
    start = row.to(tl.int64) * stride
    column = tl.arange(0, COLUMNS)
    target = tl.load(targets + row, mask=present, other=0)
    scale = tl.load(scales + row // tokens, mask=present, other=0.0)
    largest = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    for first in range(0, vocabulary, COLUMNS):
        inside = present[:, None] & (first + column < vocabulary)[None, :]
        at = start[:, None] + first + column[None, :]
        value = scale[:, None] * tl.load(logits + at, mask=inside, other=0.0).to(tl.float32)
        value = tl.where((first + column < vocabulary)[None, :], value, float("-inf"))
        larger = tl.maximum(largest, tl.max(value, 1))
        shift = tl.where(larger == float("-inf"), 0.0, larger)
        total = total * tl.exp(largest - shift) + tl.sum(tl.exp(value - shift[:, None]), 1)
        largest = larger
    normalizer = largest + tl.log(total)
    chosen = scale * tl.load(logits + start + target, mask=present, other=0.0).to(tl.float32)
    tl.store(losses + row, normalizer - chosen, mask=present)
    if GRADIENT:
        tl.debug_barrier()  # another warp's target may lie where this one writes
        for first in range(0, stride, COLUMNS):
            here = present[:, None] & (first + column < stride)[None, :]
            inside = here & (first + column < vocabulary)[None, :]
            at = start[:, None] + first + column[None, :]
            value = scale[:, None] * tl.load(logits + at, mask=inside, other=0.0).to(tl.float32)
            share = tl.exp(value - normalizer[:, None])
            share = tl.where((first + column)[None, :] == target[:, None], share - 1.0, share)
            share = tl.where(inside, (weight * scale)[:, None] * share, 0.0)
            tl.store(logits + at, share.to(logits.dtype.element_ty), mask=here)
