"""A layer norm with a gain, the addition before it, and its backward pass, each in one pass over the tokens.

    s = x + y,   h = (s - mean(s)) rstd(s) gain,   rstd = 1 / sqrt(var(s) + epsilon)

    ds = dsum + rstd (d - mean(d) - n mean(d n)),   d = dh gain,   n = (s - mean) rstd
    dgain = sum over tokens of dh n

Ordinary code reads dh and s a second time for the gain's gradient. Here each program keeps the sum of its own tokens,
which are added in a fixed order afterwards: no atomic additions, the same bits in every run.
"""

# Triton's kernels are not typed Python.
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportCallIssue=false
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false

import triton
import triton.language as tl


@triton.jit
def add_norm_forward(
    x, y, gains, total, h, means, rstds, tokens, width, epsilon,
    ADD: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """One tile of tokens of one member: x, y [P, N, D], gains [P, D], means and rstds [P, N]."""
    member = tl.program_id(1)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, WIDTH)
    inside = (row < tokens)[:, None] & (column < width)[None, :]
    token = member.to(tl.int64) * tokens + row
    at = token[:, None] * width + column[None, :]
    s = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    if ADD:
        s += tl.load(y + at, mask=inside, other=0.0).to(tl.float32)
        rounded = s.to(total.dtype.element_ty)
        tl.store(total + at, rounded, mask=inside)
        s = rounded.to(tl.float32)
    mean = tl.sum(s, 1) / width
    centred = tl.where(inside, s - mean[:, None], 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / width + epsilon)
    gain = tl.load(gains + member * width + column, mask=column < width, other=0.0).to(tl.float32)
    tl.store(h + at, (centred * rstd[:, None] * gain[None, :]).to(h.dtype.element_ty), mask=inside)
    tl.store(means + token, mean, mask=row < tokens)
    tl.store(rstds + token, rstd, mask=row < tokens)


@triton.jit
def add_norm_backward(
    dtotal, dh, s, gains, means, rstds, ds, partial, tokens, width, tiles,
    ADD: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """`tiles` tiles of tokens of one member; partial [P, programs, D] takes this program's part of the gain's."""
    member = tl.program_id(1)
    column = tl.arange(0, WIDTH)
    gain = tl.load(gains + member * width + column, mask=column < width, other=0.0).to(tl.float32)
    gathered = tl.zeros((ROWS, WIDTH), tl.float32)
    for tile in range(tiles):
        row = (tl.program_id(0) * tiles + tile) * ROWS + tl.arange(0, ROWS)
        inside = (row < tokens)[:, None] & (column < width)[None, :]
        token = member.to(tl.int64) * tokens + row
        at = token[:, None] * width + column[None, :]
        mean = tl.load(means + token, mask=row < tokens, other=0.0)
        rstd = tl.load(rstds + token, mask=row < tokens, other=0.0)
        value = tl.load(s + at, mask=inside, other=0.0).to(tl.float32)
        normal = tl.where(inside, (value - mean[:, None]) * rstd[:, None], 0.0)
        gradient = tl.load(dh + at, mask=inside, other=0.0).to(tl.float32)
        gathered += gradient * normal
        gradient *= gain[None, :]
        along = tl.sum(gradient * normal, 1) / width
        gradient = (gradient - (tl.sum(gradient, 1) / width)[:, None] - normal * along[:, None]) * rstd[
            :, None
        ]
        if ADD:
            gradient += tl.load(dtotal + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(ds + at, gradient.to(ds.dtype.element_ty), mask=inside)
    part = partial + (member * tl.num_programs(0) + tl.program_id(0)).to(tl.int64) * width + column
    tl.store(part, tl.sum(gathered, 0), mask=column < width)
