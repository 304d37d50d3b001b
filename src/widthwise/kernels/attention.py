"""Causal attention on queries, keys and values that lie side by side, by a backend that is chosen and not found.

PyTorch's own order of backends differs between its versions, and the gradient of a split of one tensor into three is
three padded tensors that are added. Here the order is fixed and the three gradients are laid side by side once.

Shape legend: P members, B sequences, T positions, N = B * T tokens, D width, H heads, K head dimension.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = (
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
)
"""In the order in which they are tried; cuDNN takes half of FlashAttention-2's time on an H200 at 256 positions."""

DETERMINISTIC_BACKENDS = (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH)
"""The same where torch is asked for deterministic algorithms: cuDNN's backward pass adds atomically."""


class _Split(torch.autograd.Function):
    """[PB, T, 3, H, K] as three views [PB, H, T, K]."""

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
        qkv_PxNx3D: queries, keys and values side by side, each of all heads.
        sequences: B of a member, N = B * T.
    """
    P, N, D3 = qkv_PxNx3D.shape
    qkv = qkv_PxNx3D.view(P * sequences, N // sequences, 3, heads, D3 // 3 // heads)
    q, k, v = _Split.apply(qkv)
    backends = DETERMINISTIC_BACKENDS if torch.are_deterministic_algorithms_enabled() else BACKENDS
    with sdpa_kernel(list(backends), set_priority=True):
        a_PBxHxTxK = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return a_PBxHxTxK.transpose(1, 2).reshape(P, N, D3 // 3)
