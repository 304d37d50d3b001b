"""The MLP of a block, gelu(scale h W_up) W_down, that never writes what comes before the GELU.

Shape legend: P members, N tokens, D width, F hidden features.
"""

# A launch takes options that no kernel declares.
# pyright: reportCallIssue=false, reportArgumentType=false

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from widthwise.models.layers import product


@dataclass(frozen=True)
class Tile:
    """How a product is cut: a tile's rows and columns, its step along the contraction, and a program's resources."""

    rows: int
    columns: int
    inner: int
    warps: int
    stages: int


GELU_TILE = Tile(rows=128, columns=64, inner=64, warps=4, stages=3)
TIMES_TILE = Tile(rows=128, columns=128, inner=64, warps=4, stages=2)
"""The fastest of 15 on an H200 at widths 128 to 2048, or within 4 % of it."""

GELU_PROGRAMS = 2
"""Programs of `product_gelu` on each multiprocessor."""

GELU_WIDTH = 256
"""Up to this width the GELU is evaluated in the product's tiles; wider, the product alone keeps a device busy."""

TIMES_WIDTH = 2048
"""Up to this width the slope is multiplied in the product's tiles; wider, its own pass is nothing beside cuBLAS'."""

GELU_BLOCK = 2048
"""Elements of a program where the GELU has a pass of its own."""


def product_gelu(
    h_PxNxD: Tensor, w_PxDxF: Tensor, scales_P: Tensor, *, tile: Tile = GELU_TILE
) -> tuple[Tensor, Tensor]:
    """gelu(scale u) and scale gelu'(scale u) of u = h W, both [P, N, F]."""
    from widthwise.kernels.mlp_kernel import product_gelu as kernel

    g_PxNxF = h_PxNxD.new_empty(*h_PxNxD.shape[:2], w_PxDxF.shape[2])
    slope_PxNxF = torch.empty_like(g_PxNxF)
    operands = (
        _blocks(h_PxNxD, tile.rows, tile.inner),
        _blocks(w_PxDxF, tile.inner, tile.columns),
        _blocks(g_PxNxF, tile.rows, tile.columns),
        _blocks(slope_PxNxF, tile.rows, tile.columns),
        scales_P,
    )
    tiles = _tiles(g_PxNxF, tile)
    programs = min(tiles, GELU_PROGRAMS * _multiprocessors(h_PxNxD.device))
    kernel[(programs,)](*operands, *_sizes(g_PxNxF, h_PxNxD), tiles, **_options(tile))
    return g_PxNxF, slope_PxNxF


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
    from widthwise.kernels.mlp_kernel import product_times as kernel

    out_PxNxF = torch.empty_like(slope_PxNxF)
    operands = (
        _blocks(y_PxNxD, tile.rows, tile.inner),
        _blocks(w_PxFxD, tile.columns, tile.inner),
        _blocks(slope_PxNxF, tile.rows, tile.columns),
        _blocks(out_PxNxF, tile.rows, tile.columns),
    )
    kernel[(_tiles(out_PxNxF, tile),)](*operands, *_sizes(out_PxNxF, y_PxNxD), **_options(tile))
    return out_PxNxF


def _blocks(tensor: Tensor, rows: int, columns: int) -> Any:
    from triton.tools.tensor_descriptor import TensorDescriptor

    return TensorDescriptor.from_tensor(tensor, [1, rows, columns])


def _tiles(result: Tensor, tile: Tile) -> int:
    members, rows, columns = result.shape
    return members * -(-rows // tile.rows) * -(-columns // tile.columns)


def _sizes(result: Tensor, operand: Tensor) -> tuple[int, int, int]:
    """Rows and columns of the result, and what is contracted over."""
    return result.shape[1], result.shape[2], operand.shape[2]


def _options(tile: Tile) -> dict[str, int]:
    return {
        "ROWS": tile.rows,
        "COLUMNS": tile.columns,
        "INNER": tile.inner,
        "num_warps": tile.warps,
        "num_stages": tile.stages,
    }


def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, up: Tensor, down: Tensor, scales: Tensor) -> Tensor:
        if h.shape[2] <= GELU_WIDTH:
            g, slope = product_gelu(h, up, scales)
        else:
            slope = product(h, up)  # until the GELU makes it so
            g = gelu_(slope, scales)
        ctx.save_for_backward(h, up, down, g, slope)
        return product(g, down)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        h, up, down, g, slope = ctx.saved_tensors
        dy = gradients[0].contiguous()
        fused = h.shape[2] <= TIMES_WIDTH
        du = product_times(dy, down, slope) if fused else product(dy, down.mT).mul_(slope)
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
