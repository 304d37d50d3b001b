"""How large a tensor's root mean square gradients are: counted and sampled on its device, nothing waits for the host.

    below      touched, and sqrt(v_hat) < epsilon
    vanished   m != 0 and v = 0: the square of the gradient is below the smallest number (|g| < 1e-22 or so in float32)
    untouched  m = v = 0: never had a gradient that is not zero
    non-finite touched, and sqrt(v_hat) infinite or NaN

Counts are exact. Sizes of order come from a sample of at most LIMIT touched, finite coordinates: each `stride`-th of
them, from the first on, so that the same state gives the same numbers. It is all of them up to LIMIT; beyond, it is
LIMIT / 3 or more, and the rank of a quantile p has the standard error sqrt(p (1 - p) / sample) of independent draws:
at most 0.34 % at the median and 0.07 % at the 1 % point. The stride is odd, since with a power of two it would see a
few columns of a matrix only.

Large tensors are taken in chunks, twice (a stride needs the count first); nothing else is as large as a tensor.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from widthwise.measure.adam_moments import Moments
from widthwise.measure.epsilon_verdict import BITES_FRACTION
from widthwise.scaling.shards import local_part

LIMIT = 2**16
"""How many coordinates of a tensor are sampled at most."""

CHUNK, CUDA_CHUNK = 2**21, 2**24
"""How many coordinates are worked on at a time, on a CPU and on a GPU, where every piece costs some forty launches: 50
and 260 MB of temporary memory."""

SKETCH = 2**10
"""How many of the sorted sample are kept to pool tensors, evenly spaced: a rank is right to 1 / (2 SKETCH)."""

ORDERED = 3
"""Order statistics that are kept as they are: the two in the middle, and the one at the 1 % point."""

COUNTS = 6
"""Below, touched, with v not zero, valid, sampled, step."""


class Chunk(NamedTuple):
    """A stretch of a tensor: sqrt(v_hat), where it counts, where m or v is not zero, and where v is not."""

    root: Tensor
    valid: Tensor
    touched: Tensor
    filled: Tensor


def chunks(moments: Moments) -> Iterator[Chunk]:
    """A tensor's local part, piece by piece, in the order in which it lies in memory."""
    assert moments.first is not None
    assert moments.second is not None
    parts = [local_part(moments.first), local_part(moments.second)]
    parts = [torch.view_as_real(part) if part.is_complex() else part for part in parts]
    order = sorted(range(parts[0].dim()), key=parts[0].stride, reverse=True)
    first, second = (part.permute(order).reshape(-1) for part in parts)  # a view wherever one is possible
    working = torch.float64 if second.dtype == torch.float64 else torch.float32
    size = _chunk(second)
    for m, moment in zip(first.split(size), second.split(size), strict=True):
        root = moment.to(working)
        root = (root.sqrt() if moments.squared else root) / moments.correction
        filled = moment.bool()
        touched = m.bool() | filled
        yield Chunk(root, touched & (root <= torch.finfo(working).max), touched, filled)


def _chunk(part: Tensor) -> int:
    return CUDA_CHUNK if part.is_cuda else CHUNK


def device_sizes(moments: Moments) -> Tensor:
    """Everything that the host needs of this process's part of a tensor, as one integer vector on its device.

    Floating-point numbers are in it by their bits, so that one copy brings everything and nothing is rounded.
    """
    assert moments.second is not None
    part = local_part(moments.second)
    small = part.numel() <= _chunk(part)
    held = list(chunks(moments)) if small else None
    counts = [_counts(chunk, moments.epsilon) for chunk in held or chunks(moments)]
    numbers = torch.stack(counts)
    valid = numbers[:, 3]
    found = valid.sum()
    stride = (found + LIMIT - 1) // LIMIT
    stride = (stride + 1 - stride % 2).clamp(min=1)
    sampled = (found + stride - 1) // stride
    ordered = _sample(held or chunks(moments), valid, stride).sort().values
    ordered = torch.cat([ordered, ordered.new_full((1,), torch.inf)])  # a place to point to, if there is none
    parts, whole = BITES_FRACTION.numerator, BITES_FRACTION.denominator
    one_percent = (sampled * parts + whole - 1) // whole - 1  # of n, at most ceil(n / 100) - 1 may be smaller
    middle = torch.stack([(sampled - 1) // 2, sampled // 2, one_percent]).clamp(0, len(ordered) - 1)
    places = torch.arange(SKETCH, device=ordered.device)
    spread = torch.where(sampled > SKETCH, (2 * places + 1) * sampled // (2 * SKETCH), places)
    step = moments.step
    if not isinstance(step, Tensor):  # filled in there: a copy of a number to a device would wait for it
        step = torch.full((), int(step), device=ordered.device)
    head = torch.cat([numbers.sum(0), torch.stack([sampled, step.to(torch.int64).reshape(())])])
    return torch.cat([head, _bits(ordered[middle]), _bits(ordered[spread.clamp(max=len(ordered) - 1)])])


def _counts(chunk: Chunk, epsilon: float | None) -> Tensor:
    below = chunk.valid & (chunk.root < (0.0 if epsilon is None else epsilon))
    masks = (below, chunk.touched, chunk.filled, chunk.valid)
    return torch.stack([torch.count_nonzero(mask) for mask in masks])


def _sample(pieces: Iterable[Chunk], valid: Tensor, stride: Tensor) -> Tensor:
    """Each `stride`-th valid root, then infinities; of a small tensor, all of them."""
    # the k-th is where the count of valid ones reaches k stride + 1
    wanted = torch.arange(LIMIT, device=valid.device) * stride + 1
    before = torch.zeros_like(valid[0])
    sample: Tensor | None = None
    for count, chunk in zip(valid, pieces, strict=True):
        if len(valid) == 1 and len(chunk.root) <= LIMIT:
            return chunk.root.masked_fill(~chunk.valid, torch.inf)
        if sample is None:
            sample = chunk.root.new_full((LIMIT,), torch.inf)
        reached = chunk.valid.cumsum(0, dtype=torch.int32)
        here = wanted - before
        place = torch.searchsorted(reached, here.to(torch.int32)).clamp(max=len(reached) - 1)
        sample = torch.where((here >= 1) & (here <= count), chunk.root[place], sample)
        before = before + count
    assert sample is not None
    return sample


def _bits(values: Tensor) -> Tensor:
    return values.view(torch.int64 if values.dtype == torch.float64 else torch.int32).to(torch.int64)
