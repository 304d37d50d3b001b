"""Tokens and positions to the residual stream in one pass, and their gradients without atomic additions.

Shape legend: P members, B sequences, T positions, N = B * T tokens, V vocabulary, D width.
"""

# A launch takes options that no kernel declares.
# pyright: reportCallIssue=false

from typing import Any

import torch
from torch import Tensor

ONEHOT_VOCABULARY = 1024
"""The largest vocabulary whose gradient is a product with one-hot rows: a sort costs the same for any."""

_ENTRIES, _COLUMNS, _TOKENS = 64, 64, 64
_PROGRAMS = 512
"""About how many programs fill a GPU."""


class _Embed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor, table: Tensor, positions: Tensor, dtype: torch.dtype) -> Tensor:
        from widthwise.kernels.embedding_kernel import look_up

        members, sequences, length = tokens.shape
        vocabulary, width = table.shape[1:]
        tokens = tokens.contiguous()
        x = torch.empty(members, sequences * length, width, dtype=dtype, device=table.device)
        padded = 1 << (width - 1).bit_length()
        rows = max(1, 4096 // padded)
        look_up[(-(-sequences * length // rows), members)](
            tokens, table, positions, x, sequences * length, length, positions.shape[1], vocabulary, width,
            ROWS=rows, WIDTH=padded, num_warps=4,
        )  # fmt: skip
        ctx.save_for_backward(tokens)
        ctx.sizes = vocabulary, positions.shape[1]
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, Tensor, None]:
        (tokens,) = ctx.saved_tensors
        vocabulary, rows = ctx.sizes
        dx = gradients[0].contiguous()
        members, sequences, length = tokens.shape
        width = dx.shape[2]
        dtable = table_gradient(tokens.view(members, -1), dx, vocabulary)
        dpositions = dx.new_zeros(members, rows, width, dtype=torch.float32)
        torch.sum(
            dx.view(members, sequences, length, width), 1, dtype=torch.float32, out=dpositions[:, :length]
        )
        return None, dtable, dpositions, None


def table_gradient(tokens_PxN: Tensor, dx_PxNxD: Tensor, vocabulary: int) -> Tensor:
    """The sum of dx over the tokens of each entry, [P, V, D], float32, in a fixed order of addition."""
    members, count, width = dx_PxNxD.shape
    if vocabulary > ONEHOT_VOCABULARY:
        rows = tokens_PxN + (torch.arange(members, device=tokens_PxN.device) * vocabulary)[:, None]
        flat = torch.ops.aten.embedding_dense_backward(
            dx_PxNxD.float().flatten(0, 1), rows.flatten(), members * vocabulary, -1, False
        )
        return flat.view(members, vocabulary, width)
    from widthwise.kernels.embedding_kernel import table_gradient as kernel

    blocks = -(-vocabulary // _ENTRIES) * -(-width // _COLUMNS)
    tiles = -(-count // _TOKENS)
    parts = max(1, min(tiles // 8, _PROGRAMS // (blocks * members)))
    each = -(-tiles // parts)
    partial = torch.empty(members, parts, vocabulary, width, device=dx_PxNxD.device)
    kernel[(blocks, parts, members)](
        tokens_PxN, dx_PxNxD, partial, count, vocabulary, width, each,
        ENTRIES=_ENTRIES, COLUMNS=_COLUMNS, TOKENS=_TOKENS, num_warps=4,
    )  # fmt: skip
    return partial.squeeze(1) if parts == 1 else partial.sum(1)


def embed(tokens_PxBxT: Tensor, table_PxVxD: Tensor, positions_PxTxD: Tensor, dtype: torch.dtype) -> Tensor:
    """table[token] + positions[place], [P, N, D], added in float32 and rounded once to the dtype.

    Args:
        tokens_PxBxT: int64, in [0, V); T at most the number of positions.
        table_PxVxD, positions_PxTxD: float32, contiguous.
    """
    return _Embed.apply(tokens_PxBxT, table_PxVxD, positions_PxTxD, dtype)
