"""Cross-entropy of rows of logits, and its gradient in their place.

    l = scale logits,   loss = log(sum exp(l)) - l[target]
    dlogits = weight scale (exp(l) / sum exp(l) - onehot(target))

The row is read twice; the second time it is still near, if not too many rows are under way. So logits cross memory
three times (written by the product, read here, their gradients written) before the two products of the backward pass
read them.

Every column of the tile keeps its own largest value m and sum s of exp(l - m), so that the columns meet once, at the
end, and one exponential a logit is enough: s becomes s exp(m - l) + 1 where l is a new largest, else s + exp(l - m).
"""

# Triton's kernels are not typed Python.
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportCallIssue=false
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportArgumentType=false

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
    in_bits = scale * 1.4426950408889634  # logits times log2 e: the device's exponential is that of 2
    # -1e30 is below every logit: what a column without any has added up counts for exp(-1e30 - largest) = 0.
    largest = tl.full((ROWS, COLUMNS), -1e30, tl.float32)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for first in range(0, vocabulary, COLUMNS):
        here = present[:, None] & (first + column < stride)[None, :]
        at = start[:, None] + first + column[None, :]
        value = in_bits[:, None] * tl.load(logits + at, mask=here, other=0.0).to(tl.float32)
        value = tl.where((first + column < vocabulary)[None, :], value, -1e30)
        smaller = tl.exp2(-tl.abs(value - largest))
        total = tl.where(value > largest, total * smaller + 1.0, total + smaller)
        largest = tl.maximum(largest, value)
    top = tl.max(largest, 1)
    total_of_row = tl.sum(total * tl.exp2(largest - top[:, None]), 1)
    normalizer = top + tl.log2(total_of_row)
    chosen = in_bits * tl.load(logits + start + target, mask=present, other=0.0).to(tl.float32)
    tl.store(losses + row, (normalizer - chosen) * 0.6931471805599453, mask=present)
    if GRADIENT:
        tl.debug_barrier()  # another warp's target may lie where this one writes
        for first in range(0, stride, COLUMNS):
            here = present[:, None] & (first + column < stride)[None, :]
            inside = here & (first + column < vocabulary)[None, :]
            at = start[:, None] + first + column[None, :]
            value = in_bits[:, None] * tl.load(logits + at, mask=here, other=0.0).to(tl.float32)
            share = tl.exp2(value - normalizer[:, None])
            share = tl.where((first + column)[None, :] == target[:, None], share - 1.0, share)
            share = tl.where(inside, (weight * scale)[:, None] * share, 0.0)
            tl.store(logits + at, share.to(logits.dtype.element_ty), mask=here)
