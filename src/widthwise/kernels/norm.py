"""A residual addition and the layer norm after it, in one pass forward and one backward.

Shape legend: P members, N tokens, D width.
"""

# A launch takes options that no kernel declares.
# pyright: reportCallIssue=false

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ELEMENTS = 4096
"""Elements of a program's tile in the forward pass; a wider row is a tile of its own."""


@dataclass(frozen=True)
class _Tile:
    rows: int
    width: int
    warps: int


def _forward_tile(width: int) -> _Tile:
    padded = 1 << (width - 1).bit_length()
    rows = max(1, ELEMENTS // padded)
    return _Tile(rows, padded, 4 if rows * padded <= ELEMENTS else 8)


def _backward_tile(width: int) -> tuple[_Tile, int]:
    """A tile, and how many follow one another in a program, which keeps their part of the gain's gradient.

    The fastest on an H200 of six tiles and three lengths, at widths 128, 256, 1024 and 2048.
    """
    padded = 1 << (width - 1).bit_length()
    elements, warps, tokens = next(
        choice for widest, *choice in ((512, 2048, 2, 32), (1024, 4096, 4, 32), (padded, 8192, 8, 64))
        if padded <= widest
    )  # fmt: skip
    rows = max(1, elements // padded)
    return _Tile(rows, padded, warps), max(1, tokens // rows)


def _forward(
    x: Tensor, y: Tensor | None, gains: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from widthwise.kernels.norm_kernel import add_norm_forward

    members, tokens, width = x.shape
    tile = _forward_tile(width)
    total = x if y is None else torch.empty_like(x)
    h = torch.empty_like(x)
    means = torch.empty(members, tokens, device=x.device)
    rstds = torch.empty_like(means)
    add_norm_forward[(-(-tokens // tile.rows), members)](
        x, x if y is None else y, gains, total, h, means, rstds, tokens, width, epsilon,
        ADD=y is not None, ROWS=tile.rows, WIDTH=tile.width, num_warps=tile.warps,
    )  # fmt: skip
    return total, h, means, rstds


def _backward(
    dtotal: Tensor | None, dh: Tensor, total: Tensor, gains: Tensor, means: Tensor, rstds: Tensor
) -> tuple[Tensor, Tensor]:
    from widthwise.kernels.norm_kernel import add_norm_backward

    members, tokens, width = total.shape
    tile, tiles = _backward_tile(width)
    programs = -(-tokens // (tile.rows * tiles))
    ds = torch.empty_like(total)
    partial = torch.empty(members, programs, width, device=total.device)
    add_norm_backward[(programs, members)](
        dh if dtotal is None else dtotal.contiguous(), dh.contiguous(), total, gains, means, rstds, ds, partial,
        tokens, width, tiles, ADD=dtotal is not None, ROWS=tile.rows, WIDTH=tile.width, num_warps=tile.warps,
    )  # fmt: skip
    return ds, partial.sum(1).to(gains.dtype)


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, gains: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        total, h, means, rstds = _forward(x, y, gains, epsilon)
        ctx.save_for_backward(total, gains, means, rstds)
        ctx.set_materialize_grads(False)
        return total, h

    @staticmethod
    def backward(
        ctx: Any, *gradients: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        dtotal, dh = gradients
        if dh is None:
            return dtotal, dtotal, None, None
        ds, dgains = _backward(dtotal, dh, *ctx.saved_tensors)
        return ds, ds, dgains, None


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gains: Tensor, epsilon: float) -> Tensor:
        _, h, means, rstds = _forward(x, None, gains, epsilon)
        ctx.save_for_backward(x, gains, means, rstds)
        return h

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        return *_backward(None, gradients[0], *ctx.saved_tensors), None


def add_norm(
    x_PxNxD: Tensor, y_PxNxD: Tensor | None, gains_PxD: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """s = x + y, and the layer norm of s with a gain; without y, s is x itself.

    Args:
        x_PxNxD, y_PxNxD: contiguous, of one dtype; the sum is rounded to it, and the norm is that of the rounded sum.
        gains_PxD: of any floating dtype.
        epsilon: added to the variance.
    """
    if y_PxNxD is None:
        return x_PxNxD, _Norm.apply(x_PxNxD, gains_PxD, epsilon)
    return _AddNorm.apply(x_PxNxD, y_PxNxD, gains_PxD, epsilon)
