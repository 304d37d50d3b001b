"""Looking up tokens with their positions, and the table's gradient as a product with one-hot rows.

    x = table[token] + positions[place]            dtable = onehot(tokens)^T dx

For a vocabulary of bytes the product costs less than a sort, and unlike atomic additions it adds in a fixed order.
"""

# Triton's kernels are not typed Python.
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportCallIssue=false
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false

import triton
import triton.language as tl


@triton.jit
def look_up(
    tokens, table, positions, x, count, length, rows, vocabulary, width,
    ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """One tile of one member's tokens: tokens [P, count], table [P, V, D], positions [P, rows, D], x [P, count, D]."""
    member = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, WIDTH)
    present = place < count
    inside = present[:, None] & (column < width)[None, :]
    token = tl.load(tokens + member * count + place, mask=present, other=0)
    value = tl.load(
        table + (member * vocabulary + token)[:, None] * width + column[None, :], mask=inside, other=0.0
    )
    position = member * rows + place % length
    value += tl.load(positions + position[:, None] * width + column[None, :], mask=inside, other=0.0)
    at = (member * count + place)[:, None] * width + column[None, :]
    tl.store(x + at, value.to(x.dtype.element_ty), mask=inside)


@triton.jit
def table_gradient(
    tokens, dx, partial, count, vocabulary, width, tiles,
    ENTRIES: tl.constexpr, COLUMNS: tl.constexpr, TOKENS: tl.constexpr,
):  # fmt: skip
    """The sum of dx over `tiles` tiles of tokens, by entry: partial [P, parts, V, D], float32."""
    across = tl.cdiv(width, COLUMNS)
    entry = tl.program_id(0) // across * ENTRIES + tl.arange(0, ENTRIES)
    column = tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)
    part = tl.program_id(1)
    member = tl.program_id(2).to(tl.int64)
    total = tl.zeros((ENTRIES, COLUMNS), tl.float32)
    for tile in range(tiles):
        place = (part * tiles + tile) * TOKENS + tl.arange(0, TOKENS)
        present = place < count
        token = tl.load(tokens + member * count + place, mask=present, other=-1)
        at = (member * count + place)[:, None] * width + column[None, :]
        gradient = tl.load(dx + at, mask=present[:, None] & (column < width)[None, :], other=0.0)
        onehot = (entry[:, None] == token[None, :]).to(gradient.dtype)
        total = tl.dot(onehot, gradient, total, input_precision="ieee")
    start = (member * tl.num_programs(1) + part) * vocabulary
    at = (start + entry)[:, None] * width + column[None, :]
    tl.store(partial + at, total, mask=(entry < vocabulary)[:, None] & (column < width)[None, :])
