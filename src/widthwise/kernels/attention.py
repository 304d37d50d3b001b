"""Causal attention on queries, keys and values that lie side by side; short sequences by kernels of this room.

PyTorch's backends take queries, keys and values apart, and their three gradients have to be laid side by side again.
On an H200 at 256 and 512 positions that copy and cuDNN's backward pass take half again as long as the kernels here.
Longer sequences go to a backend of PyTorch that is chosen here: its own order differs between its versions.

Shape legend: P members, B sequences, S = P * B, T positions, N = B * T tokens, D width, H heads, K head dimension.
"""

# A launch takes options that no kernel declares.
# pyright: reportCallIssue=false

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

LONGEST = 512
"""The most positions for the kernels; any number where torch is asked for deterministic algorithms."""

HEAD_DIMENSIONS = (16, 32, 64, 128)

BACKENDS = (
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
)
"""For what is not for the kernels, in the order in which they are tried."""

DETERMINISTIC_BACKENDS = (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH)
"""The same where torch is asked for deterministic algorithms: cuDNN's backward pass adds atomically, FlashAttention's
does not unless torch is told to warn only."""


@dataclass(frozen=True)
class _Tile:
    """Queries and keys at a time, warps, and tiles that are loaded ahead."""

    queries: int
    keys: int
    warps: int
    stages: int


_FORWARD = _Tile(queries=64, keys=64, warps=4, stages=3)
_BACKWARD = _Tile(queries=64, keys=64, warps=4, stages=2)
"""The fastest of nine on an H200 at 256 and 512 positions and heads of 128, or within 5 % of it."""


class _Attention(torch.autograd.Function):
    """o [S, T, H, K] of qkv [S, T, 3, H, K]."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor) -> Tensor:
        from widthwise.kernels.attention_kernel import attention_forward

        sequences, length, _, heads, head_dim = qkv.shape
        o = qkv.new_empty(sequences, length, heads, head_dim)
        lse = torch.empty(sequences, heads, length, device=qkv.device)
        attention_forward[(-(-length // _FORWARD.queries) * sequences * heads,)](
            qkv, o, lse, length, heads, math.log2(math.e) / math.sqrt(head_dim),
            HEAD=head_dim, QUERIES=_FORWARD.queries, KEYS=_FORWARD.keys,
            num_warps=_FORWARD.warps, num_stages=_FORWARD.stages,
        )  # fmt: skip
        ctx.save_for_backward(qkv, o, lse)
        return o

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        from widthwise.kernels.attention_kernel import attention_backward_keys, attention_backward_queries

        qkv, o, lse = ctx.saved_tensors
        do = gradients[0].contiguous()
        sequences, length, _, heads, head_dim = qkv.shape
        dqkv, delta = torch.empty_like(qkv), torch.empty_like(lse)
        sizes = length, heads, math.log2(math.e) / math.sqrt(head_dim), 1 / math.sqrt(head_dim)
        options = {
            "HEAD": head_dim, "QUERIES": _BACKWARD.queries, "KEYS": _BACKWARD.keys,
            "num_warps": _BACKWARD.warps, "num_stages": _BACKWARD.stages,
        }  # fmt: skip
        of_queries = (-(-length // _BACKWARD.queries) * sequences * heads,)
        attention_backward_queries[of_queries](qkv, o, do, lse, delta, dqkv, *sizes, **options)  # makes delta
        of_keys = (-(-length // _BACKWARD.keys) * sequences * heads,)
        attention_backward_keys[of_keys](qkv, do, lse, delta, dqkv, *sizes, **options)
        return dqkv


class _Split(torch.autograd.Function):
    """[S, T, 3, H, K] as three views [S, H, T, K]."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = qkv.transpose(1, 3).unbind(2)
        return q, k, v

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return torch.stack([gradient.transpose(1, 2) for gradient in gradients], dim=2)


def attention(qkv_PxNx3D: Tensor, *, sequences: int, heads: int) -> Tensor:
    """Causal attention of every sequence by itself, [P, N, D].

    Args:
        qkv_PxNx3D: queries, keys and values side by side, each of all heads; contiguous.
        sequences: B of a member, N = B * T.
    """
    P, N, D3 = qkv_PxNx3D.shape
    qkv = qkv_PxNx3D.view(P * sequences, N // sequences, 3, heads, D3 // 3 // heads)
    deterministic = torch.are_deterministic_algorithms_enabled()
    if (qkv.shape[1] <= LONGEST or deterministic) and qkv.shape[4] in HEAD_DIMENSIONS:
        return _Attention.apply(qkv).view(P, N, D3 // 3)
    q, k, v = _Split.apply(qkv)
    backends = DETERMINISTIC_BACKENDS if deterministic else BACKENDS
    with sdpa_kernel(list(backends), set_priority=True):
        a_SxHxTxK = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return a_SxHxTxK.transpose(1, 2).reshape(P, N, D3 // 3)
