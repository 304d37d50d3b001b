"""Causal attention of short sequences on queries, keys and values that lie side by side, and its gradients in place.

    s = scale q k^T where key <= query,   lse = log2 sum 2^s,   p = 2^(s - lse),   o = p v        (scale in powers of 2)

    delta = rowsum(do o),   ds = p (do v^T - delta)
    dq = scale ds k,   dk = scale ds^T q,   dv = p^T do

The gradients are written where they are read next, side by side. One kernel goes along the keys of some queries (dq),
another along the queries of some keys (dk, dv): p is computed twice, and nothing is added atomically, so that every run
gives the same bits.

Shape legend: S sequences (of all members), T positions, H heads, K head dimension; qkv [S, T, 3, H, K], o [S, T, H, K],
lse and delta [S, H, T].
"""

# Triton's kernels are not typed Python.
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportCallIssue=false
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportArgumentType=false

import triton
import triton.language as tl


@triton.jit
def _place(length, SIZE: tl.constexpr):
    """Which block of positions this program has, and of which sequence's head; those of one head follow one another.

    One axis of programs: a grid's others end at 65,535, and there may be more heads than that.
    """
    blocks = tl.cdiv(length, SIZE)
    return tl.program_id(0) % blocks, tl.program_id(0) // blocks


@triton.jit
def _rows(base, row, length, stride, HEAD: tl.constexpr):
    """Rows of one head, zero beyond the last position."""
    at = row[:, None] * stride + tl.arange(0, HEAD)[None, :]
    return tl.load(base + at, mask=(row < length)[:, None], other=0.0)


@triton.jit
def _store_rows(base, row, length, stride, value, HEAD: tl.constexpr):
    at = row[:, None] * stride + tl.arange(0, HEAD)[None, :]
    tl.store(base + at, value.to(base.dtype.element_ty), mask=(row < length)[:, None])


@triton.jit
def attention_forward(
    qkv, o, lse, length, heads, scale,
    HEAD: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Some queries of one head of one sequence; `scale` has the factor log2(e)."""
    block, line = _place(length, QUERIES)
    sequence = (line // heads).to(tl.int64)
    head = line % heads
    width = heads * HEAD
    base = qkv + sequence * length * 3 * width + head * HEAD
    query = block * QUERIES + tl.arange(0, QUERIES)
    q = _rows(base, query, length, 3 * width, HEAD)
    largest = tl.full((QUERIES,), float("-inf"), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    gathered = tl.zeros((QUERIES, HEAD), tl.float32)
    for first in range(0, tl.minimum((block + 1) * QUERIES, length), KEYS):
        key = first + tl.arange(0, KEYS)
        k = _rows(base + width, key, length, 3 * width, HEAD)
        v = _rows(base + 2 * width, key, length, 3 * width, HEAD)
        s = tl.dot(q, k.T) * scale
        s = tl.where(key[None, :] <= query[:, None], s, float("-inf"))
        larger = tl.maximum(largest, tl.max(s, 1))
        p = tl.exp2(s - larger[:, None])
        shrink = tl.exp2(largest - larger)
        total = total * shrink + tl.sum(p, 1)
        gathered = tl.dot(p.to(v.dtype), v, gathered * shrink[:, None])
        largest = larger
    gathered = gathered / total[:, None]
    _store_rows(o + sequence * length * width + head * HEAD, query, length, width, gathered, HEAD)
    at = lse + line.to(tl.int64) * length + query
    tl.store(at, largest + tl.log2(total), mask=query < length)


@triton.jit
def attention_backward_queries(
    qkv, o, do, lse, delta, dqkv, length, heads, scale, natural,
    HEAD: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """dq of some queries of one head of one sequence, and their delta; `natural` is the scale without log2(e)."""
    block, line = _place(length, QUERIES)
    sequence = (line // heads).to(tl.int64)
    head = line % heads
    width = heads * HEAD
    start = sequence * length * 3 * width + head * HEAD
    base = qkv + start
    output = sequence * length * width + head * HEAD
    query = block * QUERIES + tl.arange(0, QUERIES)
    q = _rows(base, query, length, 3 * width, HEAD)
    gradient = _rows(do + output, query, length, width, HEAD)
    value = _rows(o + output, query, length, width, HEAD)
    d = tl.sum(gradient.to(tl.float32) * value.to(tl.float32), 1)
    place = line.to(tl.int64) * length + query
    tl.store(delta + place, d, mask=query < length)
    normalizer = tl.load(lse + place, mask=query < length, other=0.0)
    dq = tl.zeros((QUERIES, HEAD), tl.float32)
    for first in range(0, tl.minimum((block + 1) * QUERIES, length), KEYS):
        key = first + tl.arange(0, KEYS)
        k = _rows(base + width, key, length, 3 * width, HEAD)
        v = _rows(base + 2 * width, key, length, 3 * width, HEAD)
        s = tl.dot(q, k.T) * scale
        s = tl.where(key[None, :] <= query[:, None], s, float("-inf"))
        p = tl.exp2(s - normalizer[:, None])
        ds = p * (tl.dot(gradient, v.T) - d[:, None])
        dq = tl.dot(ds.to(k.dtype), k, dq)
    _store_rows(dqkv + start, query, length, 3 * width, dq * natural, HEAD)


@triton.jit
def attention_backward_keys(
    qkv, do, lse, delta, dqkv, length, heads, scale, natural,
    HEAD: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """dk and dv of some keys of one head of one sequence."""
    block, line = _place(length, KEYS)
    sequence = (line // heads).to(tl.int64)
    head = line % heads
    width = heads * HEAD
    start = sequence * length * 3 * width + head * HEAD
    base = qkv + start
    output = do + sequence * length * width + head * HEAD
    place = line.to(tl.int64) * length
    key = block * KEYS + tl.arange(0, KEYS)
    k = _rows(base + width, key, length, 3 * width, HEAD)
    v = _rows(base + 2 * width, key, length, 3 * width, HEAD)
    dk = tl.zeros((KEYS, HEAD), tl.float32)
    dv = tl.zeros((KEYS, HEAD), tl.float32)
    for first in range(block * KEYS // QUERIES * QUERIES, length, QUERIES):
        query = first + tl.arange(0, QUERIES)
        q = _rows(base, query, length, 3 * width, HEAD)
        gradient = _rows(output, query, length, width, HEAD)
        normalizer = tl.load(lse + place + query, mask=query < length, other=0.0)
        d = tl.load(delta + place + query, mask=query < length, other=0.0)
        s = tl.dot(k, q.T) * scale
        s = tl.where(key[:, None] <= query[None, :], s, float("-inf"))
        p = tl.exp2(s - normalizer[None, :])
        dv = tl.dot(p.to(gradient.dtype), gradient, dv)
        ds = p * (tl.dot(v, gradient.T) - d[None, :])
        dk = tl.dot(ds.to(q.dtype), q, dk)
    _store_rows(dqkv + start + width, key, length, 3 * width, dk * natural, HEAD)
    _store_rows(dqkv + start + 2 * width, key, length, 3 * width, dv, HEAD)
