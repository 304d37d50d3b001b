"""What an MLP does between its products, in the fewest passes over its hidden features.

    forward     u = h W_up               ->  g = gelu(scale u), and slope = scale gelu'(scale u) in the place of u
    backward    (dy W_down^T) * slope    ->  the gradient of h W_up, in the pass that makes the product

Ordinary code keeps u, and in the backward pass writes dy W_down^T, reads it with u, evaluates a second error function
and writes the result. The slope needs no more memory than u; multiplying by it is free where a product's tile is still
in registers. The GELU itself is free there only for small widths, whose product leaves the arithmetic idle.

Tiles come and go by TMA descriptors of three dimensions, whose hardware keeps to the bounds of each: any number of rows
will do, and no tile of one member reaches into the next.

Shape legend: P members, N tokens, D width, F hidden features.
"""

# Triton's kernels are not typed Python.
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportCallIssue=false
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportGeneralTypeIssues=false

import triton
import triton.language as tl


@triton.jit
def gelu_and_slope(u):
    """u Phi(u) and its derivative Phi(u) + u phi(u), in float32.

    Phi by Abramowitz and Stegun, formula 26.2.17, which is off by less than 7.5e-8; its evaluation in float32 by less
    than 5e-7 in all, about as much as 1 + erf in float32 (3.4e-7) and far less than what is stored of it.
    """
    root = tl.rsqrt(1.0 + 0.2316419 * tl.abs(u))  # a reciprocal by one instruction: a division takes eight
    t = root * root
    density = tl.exp2(-0.7213475204444817 * u * u) * 0.3989422804014327
    tail = 1.781477937 + t * (-1.821255978 + t * 1.330274429)
    tail = density * t * (0.319381530 + t * (-0.356563782 + t * tail))
    cumulative = tl.where(u < 0.0, tail, 1.0 - tail)
    return u * cumulative, cumulative + u * density


@triton.jit
def gelu(u, g, scales, elements, BLOCK: tl.constexpr):
    """g = gelu(scale u), and u becomes the slope: one block of one member's elements, u [P, elements]."""
    member = tl.program_id(1)
    here = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = here < elements
    at = member.to(tl.int64) * elements + here
    scale = tl.load(scales + member)
    value, slope = gelu_and_slope(scale * tl.load(u + at, mask=inside, other=0.0).to(tl.float32))
    tl.store(g + at, value.to(g.dtype.element_ty), mask=inside)
    tl.store(u + at, (scale * slope).to(u.dtype.element_ty), mask=inside)


@triton.jit
def product_gelu(
    h, w, g, slope, scales, rows, columns, inner, tiles,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    """gelu(scale h W) and its slope: h [P, N, D], W [P, D, F].

    A program makes one tile after another: while it evaluates the GELU of one, the next one's operands are on their
    way. Tiles that are made at one time share rows.
    """
    across = tl.cdiv(columns, COLUMNS)
    each = across * tl.cdiv(rows, ROWS)
    for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True):
        member = tile // each
        row = tile % each // across * ROWS
        column = tile % across * COLUMNS
        total = tl.zeros((ROWS, COLUMNS), tl.float32)
        for k in range(0, inner, INNER):
            left = h.load([member, row, k]).reshape(ROWS, INNER)
            right = w.load([member, k, column]).reshape(INNER, COLUMNS)
            total = tl.dot(left, right, total)
        scale = tl.load(scales + member)
        value, gradient = gelu_and_slope(scale * total)
        g.store([member, row, column], value.to(g.dtype).reshape(1, ROWS, COLUMNS))
        slope.store([member, row, column], (scale * gradient).to(g.dtype).reshape(1, ROWS, COLUMNS))


@triton.jit
def product_times(
    y, w, slope, out, rows, columns, inner,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    """(y W^T) * slope: y [P, N, D], W [P, F, D], slope [P, N, F]. A program makes one tile.

    Several programs share a multiprocessor, and hide one another's waits better than a loop over tiles does.
    """
    across = tl.cdiv(columns, COLUMNS)
    each = across * tl.cdiv(rows, ROWS)
    tile = tl.program_id(0)
    member = tile // each
    row = tile % each // across * ROWS
    column = tile % across * COLUMNS
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for k in range(0, inner, INNER):
        left = y.load([member, row, k]).reshape(ROWS, INNER)
        right = w.load([member, column, k]).reshape(COLUMNS, INNER)
        total = tl.dot(left, right.T, total)
    factor = slope.load([member, row, column]).reshape(ROWS, COLUMNS).to(tl.float32)
    out.store([member, row, column], (total * factor).to(out.dtype).reshape(1, ROWS, COLUMNS))
