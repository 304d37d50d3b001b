"""The MLP of a block, gelu(scale h W_up) W_down, that never writes what comes before the GELU.

Shape legend: P members, N tokens, D width, F hidden features.
"""

# A launch takes options that no kernel declares.
# pyright: reportCallIssue=false

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from widthwise.models.layers import product


@dataclass(frozen=True)
class Tile:
    """How a product is cut: a program's rows and columns, its step along the contraction, and its resources."""

    rows: int
    columns: int
    inner: int
    warps: int
    stages: int


TIMES_TILE = Tile(rows=128, columns=128, inner=64, warps=4, stages=2)
"""The fastest of 15 on an H200 at widths 128 to 2048."""

GELU_BLOCK = 2048


def gelu_(u_PxNxF: Tensor, scales_P: Tensor) -> Tensor:
    """gelu(scale u), [P, N, F]; u becomes scale gelu'(scale u)."""
    from widthwise.kernels.mlp_kernel import gelu

    g_PxNxF = torch.empty_like(u_PxNxF)
    elements = u_PxNxF[0].numel()
    gelu[(-(-elements // GELU_BLOCK), len(u_PxNxF))](
        u_PxNxF, g_PxNxF, scales_P, elements, BLOCK=GELU_BLOCK, num_warps=4
    )
    return g_PxNxF


def product_times(
    y_PxNxD: Tensor, w_PxFxD: Tensor, slope_PxNxF: Tensor, *, tile: Tile = TIMES_TILE
) -> Tensor:
    """(y W^T) * slope, [P, N, F]."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    from widthwise.kernels.mlp_kernel import product_times as kernel

    def blocks(tensor: Tensor, rows: int, columns: int) -> TensorDescriptor:
        return TensorDescriptor.from_tensor(tensor, [1, rows, columns])

    members, tokens, inner = y_PxNxD.shape
    features = w_PxFxD.shape[1]
    out_PxNxF = torch.empty_like(slope_PxNxF)
    kernel[(members * -(-tokens // tile.rows) * -(-features // tile.columns),)](
        blocks(y_PxNxD, tile.rows, tile.inner),
        blocks(w_PxFxD, tile.columns, tile.inner),
        blocks(slope_PxNxF, tile.rows, tile.columns),
        blocks(out_PxNxF, tile.rows, tile.columns),
        tokens,
        features,
        inner,
        ROWS=tile.rows,
        COLUMNS=tile.columns,
        INNER=tile.inner,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    return out_PxNxF


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, up: Tensor, down: Tensor, scales: Tensor) -> Tensor:
        slope = product(h, up)  # until the GELU makes it so
        g = gelu_(slope, scales)
        ctx.save_for_backward(h, up, down, g, slope)
        return product(g, down)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        h, up, down, g, slope = ctx.saved_tensors
        dy = gradients[0].contiguous()
        du = product_times(dy, down, slope)
        return product(du, up.mT), product(h.mT, du), product(g.mT, dy), None


def mlp(h_PxNxD: Tensor, up_PxDxF: Tensor, down_PxFxD: Tensor, scales_P: Tensor | None) -> Tensor:
    """gelu(scale h W_up) W_down, [P, N, D].

    Args:
        h_PxNxD, up_PxDxF, down_PxFxD: contiguous, of one dtype; D and F divisible by 8 (of 16 bits).
        scales_P: float32, the members' multipliers of the first product; None for 1.
    """
    if scales_P is None:
        scales_P = torch.ones(len(h_PxNxD), device=h_PxNxD.device)
    return _Mlp.apply(h_PxNxD, up_PxDxF, down_PxFxD, scales_P)
