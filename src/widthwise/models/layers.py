"""Layers with a leading member axis: P models side by side in one call, nothing shared between them.

Shape legend: P members, B sequences, T positions, N = B * T tokens, I and O features, V vocabulary, D width, F hidden.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Outputs = TypeVar("Outputs")

NORM_EPSILON = 1e-6
"""Added to the variance in a layer norm."""


def product(a_PxNxI: Tensor, b_PxIxO: Tensor) -> Tensor:
    """a b for each member, [P, N, O]; on CUDA, one member goes without its axis, which cuBLAS multiplies faster.

    Example:
        >>> product(torch.ones(1, 2, 3), torch.ones(1, 3, 1))
        tensor([[[3.],
                 [3.]]])
    """
    if a_PxNxI.is_cuda and len(a_PxNxI) == 1:
        return (a_PxNxI.squeeze(0) @ b_PxIxO.squeeze(0)).unsqueeze(0)
    return torch.bmm(a_PxNxI, b_PxIxO)


def scaled(y: Tensor, scales_P: Tensor | None) -> Tensor:
    """scale * y of each member, in y's precision; y itself without scales."""
    return y if scales_P is None else y * scales_P.to(y.dtype).view(-1, 1, 1)


def embed(tokens_PxBxT: Tensor, table_PxVxD: Tensor, positions_PxTxD: Tensor, dtype: torch.dtype) -> Tensor:
    """table[token] + positions[place], [P, N, D]; both are rounded to the dtype first."""
    P, B, T = tokens_PxBxT.shape
    D = table_PxVxD.shape[2]
    x_PxBxTxD = look_up(tokens_PxBxT.reshape(P, B * T), table_PxVxD, dtype).view(P, B, T, D)
    return (x_PxBxTxD + positions_PxTxD[:, None, :T].to(dtype)).view(P, B * T, D)


def look_up(tokens_PxN: Tensor, table_PxVxD: Tensor, dtype: torch.dtype) -> Tensor:
    """table[token] of each member's own table, [P, N, D]."""
    members, vocabulary, width = table_PxVxD.shape
    first_row_P = torch.arange(members, device=tokens_PxN.device) * vocabulary
    return F.embedding(tokens_PxN + first_row_P[:, None], table_PxVxD.reshape(-1, width)).to(dtype)


def attention(qkv_PxNx3D: Tensor, *, sequences: int, heads: int) -> Tensor:
    """Causal attention of every sequence by itself, with the members folded into the batch: [P, N, D].

    Args:
        qkv_PxNx3D: queries, keys and values side by side, each of all heads.
        sequences: B of a member, N = B * T.
    """
    P, N, D3 = qkv_PxNx3D.shape
    qkv = qkv_PxNx3D.view(P * sequences, N // sequences, 3, heads, D3 // 3 // heads)
    q, k, v = qkv.transpose(1, 3).unbind(2)
    a_PBxHxTxK = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return a_PBxHxTxK.transpose(1, 2).reshape(P, N, D3 // 3)


def add_norm(
    x_PxNxD: Tensor, y_PxNxD: Tensor | None, gains_PxD: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """s = x + y (x itself without y), and the layer norm of s with a gain and no bias."""
    total = x_PxNxD if y_PxNxD is None else x_PxNxD + y_PxNxD
    normalized = F.layer_norm(total, total.shape[-1:], eps=epsilon)
    return total, normalized * gains_PxD.to(total.dtype)[:, None, :]


def mlp(h_PxNxD: Tensor, up_PxDxF: Tensor, down_PxFxD: Tensor, scales_P: Tensor | None) -> Tensor:
    """gelu(scale h W_up) W_down, [P, N, D]; the GELU is the exact one."""
    return product(F.gelu(scaled(product(h_PxNxD, up_PxDxF), scales_P)), down_PxFxD)


def readout_loss(x_PxNxD: Tensor, w_PxDxV: Tensor, targets_PxN: Tensor, scales_P: Tensor | None) -> Tensor:
    """The mean cross-entropy of each member's softmax(scale x W) over its own tokens, [P], in float32 nats."""
    return member_cross_entropy(scaled(product(x_PxNxD, w_PxDxV), scales_P), targets_PxN)


def recomputed(block: Callable[..., Outputs]) -> Callable[..., Outputs]:
    """The same function, of which the backward pass keeps the arguments alone and computes the rest again.

    Nothing in a model is random, so no generator's state is kept: reading it would stop a recorded step.
    """
    return partial(checkpoint, block, use_reentrant=False, preserve_rng_state=False)


def member_cross_entropy(logits_PxNxV: Tensor, targets_PxN: Tensor) -> Tensor:
    """The mean cross-entropy of each member over its own tokens, [P], in float32 nats."""
    members, tokens, vocabulary = logits_PxNxV.shape
    loss = F.cross_entropy(
        logits_PxNxV.float().reshape(-1, vocabulary), targets_PxN.reshape(-1), reduction="none"
    )
    return loss.view(members, tokens).mean(1)


@dataclass(frozen=True)
class LayerFunctions:
    """The layers that have more than one implementation, each as the function of its name in this module."""

    embed: Callable[[Tensor, Tensor, Tensor, torch.dtype], Tensor]
    attention: Callable[..., Tensor]
    add_norm: Callable[[Tensor, Tensor | None, Tensor, float], tuple[Tensor, Tensor]]
    mlp: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
    readout_loss: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


PLAIN = LayerFunctions(
    embed=embed, attention=attention, add_norm=add_norm, mlp=mlp, readout_loss=readout_loss
)
"""PyTorch's own operations, on any device and in any precision: the reference of every other implementation."""


Seen = Callable[[str, Tensor, Tensor, Tensor], None]
"""Told of every matrix layer: its name, input [P, N, I], weights [P, I, O] and their product [P, N, O]."""


@dataclass(frozen=True)
class Weights:
    """Parameters with their forward multipliers, read in the compute precision.

    Args:
        parameters: name -> tensor [P, ...], float32.
        multipliers: name -> [P], the factors n^(-a) of the explicit gauge; None when all are folded into the weights.
        dtype: the precision of products; parameters are cast where they are used.
        functions: the implementation of the layers that have several.
        seen: called at every matrix layer of a forward pass that is measured, before the multiplier; then an MLP is
            two layers, one after the other, whatever the functions.
    """

    parameters: Mapping[str, Tensor]
    multipliers: Mapping[str, Tensor] | None
    dtype: torch.dtype
    functions: LayerFunctions
    seen: Seen | None = None

    def linear(self, x_PxNxI: Tensor, name: str) -> Tensor:
        """multiplier * x W, per member: [P, N, I] with W [P, I, O] gives [P, N, O]."""
        w_PxIxO = self._matrix(name)
        y_PxNxO = product(x_PxNxI, w_PxIxO)
        if self.seen is not None:
            self.seen(name, x_PxNxI, w_PxIxO, y_PxNxO)
        return self._scaled(y_PxNxO, name)

    def embed(self, tokens_PxBxT: Tensor, table: str, positions: str) -> Tensor:
        """multiplier * table[token] + multiplier * positions[place], [P, N, D]."""
        entries_PxVxD = self._scaled(self.parameters[table], table)
        positions_PxTxD = self._scaled(self.parameters[positions], positions)
        return self.functions.embed(tokens_PxBxT, entries_PxVxD, positions_PxTxD, self.dtype)

    def look_up(self, tokens_PxN: Tensor, name: str) -> Tensor:
        """multiplier * table[token], [P, N, D]."""
        return self._scaled(look_up(tokens_PxN, self.parameters[name], self.dtype), name)

    def attention(self, qkv_PxNx3D: Tensor, *, sequences: int, heads: int) -> Tensor:
        """Causal attention, [P, N, D]."""
        return self.functions.attention(qkv_PxNx3D, sequences=sequences, heads=heads)

    def add_norm(self, x_PxNxD: Tensor, y_PxNxD: Tensor | None, name: str) -> tuple[Tensor, Tensor]:
        """x + y (x itself without y) and its layer norm with a gain [P, D] and no bias."""
        return self.functions.add_norm(x_PxNxD, y_PxNxD, self.parameters[name], NORM_EPSILON)

    def mlp(self, h_PxNxD: Tensor, up: str, down: str) -> Tensor:
        """multiplier * gelu(multiplier * h W_up) W_down: [P, N, D]."""
        if self.seen is not None:
            return self.linear(F.gelu(self.linear(h_PxNxD, up)), down)
        y_PxNxD = self.functions.mlp(h_PxNxD, self._matrix(up), self._matrix(down), self._scales(up))
        return self._scaled(y_PxNxD, down)

    def readout_loss(self, x_PxNxD: Tensor, name: str, targets_PxN: Tensor) -> Tensor:
        """The mean cross-entropy of softmax(multiplier * x W) over each member's tokens, [P], float32 nats."""
        return self.functions.readout_loss(x_PxNxD, self._matrix(name), targets_PxN, self._scales(name))

    def _matrix(self, name: str) -> Tensor:
        return self.parameters[name].to(self.dtype)

    def _scales(self, name: str) -> Tensor | None:
        return None if self.multipliers is None else self.multipliers[name]

    def _scaled(self, y: Tensor, name: str) -> Tensor:
        return scaled(y, self._scales(name))
