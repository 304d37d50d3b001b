"""How the sizes of a tensor's entries are spread, counted on its device: `records.Spread`.

A float32 number's exponent and the first two bits of its fraction are the number of its bin, so that no logarithm is
taken and the edges are exact. (Below 2^-126 a bin's edges are not those of `Spread.edge`.) Large tensors are looked at
in pieces, spread evenly over them: tables that are looked up whole, since tokens that no text has have no gradient.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from widthwise.optim.compact_step import PIECE
from widthwise.records import Magnitude, Spread

BINS = 2**10
_SHIFT = 21
PIECES = 4
"""So many pieces of a matrix are looked at: 67 million entries of up to a billion."""


def looked_at(entries: int, *, whole: bool, piece: int = PIECE) -> Iterator[slice]:
    """Which entries of a tensor are looked at, flat; pieces begin at multiples of `piece`.

    Example:
        >>> [part.start for part in looked_at(100, whole=False, piece=10)]
        [0, 30, 60, 90]
        >>> [(part.start, part.stop) for part in looked_at(25, whole=False, piece=10)]
        [(0, 10), (10, 20), (20, 25)]
    """
    count = -(-entries // piece)
    if whole or count <= PIECES:
        chosen = list(range(count))
    else:
        chosen = [place * (count - 1) // (PIECES - 1) for place in range(PIECES)]
    return (slice(k * piece, min((k + 1) * piece, entries)) for k in chosen)


def count_spread(
    parts: Iterable[Tensor], *, step: int, tensor: str, magnitude: Magnitude, scale: float
) -> Spread:
    """The spread of the entries of some tensors (waits for the device).

    Args:
        scale: see `Spread`.

    Example:
        >>> found = count_spread([torch.tensor([0.0, -1.0, 1.2, 2.0])], step=1, tensor="w",
        ...                      magnitude=Magnitude.GRADIENT, scale=1.0)
        >>> found.zeros, Spread.edge(found.first), found.counts
        (1, 1.0, (2, 0, 0, 0, 1))
    """
    zeros, total = 0, torch.zeros(BINS, dtype=torch.int64)
    for part in parts:
        values = part.float().abs().reshape(-1)
        counts = torch.bincount(values.view(torch.int32) >> _SHIFT & (BINS - 1), minlength=BINS).cpu()
        nothing = int((values == 0).sum())
        counts[0] -= nothing
        zeros, total = zeros + nothing, total + counts
    filled = total.nonzero().flatten().tolist()
    first, last = (filled[0], filled[-1]) if filled else (0, -1)
    return Spread(step, tensor, magnitude, scale, zeros, first, tuple(total[first : last + 1].tolist()))
