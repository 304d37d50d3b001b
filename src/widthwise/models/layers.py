"""Layers with a leading member axis: P models side by side in one call, nothing shared between them.

Shape legend: P members, B sequences, T positions, N = B * T tokens, I and O features, V vocabulary, D width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

NORM_EPSILON = 1e-6
"""Added to the variance in a layer norm."""


@dataclass(frozen=True)
class Weights:
    """Parameters with their forward multipliers, read in the compute precision.

    Args:
        parameters: name -> tensor [P, ...], float32.
        multipliers: name -> [P], the factors n^(-a) of the explicit gauge; None when all are folded into the weights.
        dtype: the precision of products; parameters are cast where they are used.
    """

    parameters: Mapping[str, Tensor]
    multipliers: Mapping[str, Tensor] | None = None
    dtype: torch.dtype = torch.float32

    def linear(self, x_PxNxI: Tensor, name: str) -> Tensor:
        """multiplier * x W, per member: [P, N, I] with W [P, I, O] gives [P, N, O]."""
        w_PxIxO = self.parameters[name].to(self.dtype)
        if x_PxNxI.is_cuda and len(x_PxNxI) == 1:  # cuBLAS is faster without the member axis
            return self._scaled((x_PxNxI[0] @ w_PxIxO[0])[None], name)
        return self._scaled(torch.bmm(x_PxNxI, w_PxIxO), name)

    def embed(self, tokens_PxN: Tensor, name: str) -> Tensor:
        """multiplier * table[token], per member: [P, N] with a table [P, V, D] gives [P, N, D]."""
        table_PxVxD = self.parameters[name]
        members, vocabulary, width = table_PxVxD.shape
        first_row_P = torch.arange(members, device=tokens_PxN.device) * vocabulary
        x_PxNxD = F.embedding(tokens_PxN + first_row_P[:, None], table_PxVxD.reshape(-1, width))
        return self._scaled(x_PxNxD.to(self.dtype), name)

    def table(self, name: str) -> Tensor:
        """multiplier * W for a table that is added as it stands (positions): [P, T, D]."""
        return self._scaled(self.parameters[name].to(self.dtype), name)

    def norm(self, x_PxNxD: Tensor, name: str) -> Tensor:
        """Layer norm with a gain [P, D] and no bias."""
        normalized = F.layer_norm(x_PxNxD, x_PxNxD.shape[-1:], eps=NORM_EPSILON)
        return normalized * self.parameters[name].to(self.dtype)[:, None, :]

    def _scaled(self, y: Tensor, name: str) -> Tensor:
        if self.multipliers is None:
            return y
        return y * self.multipliers[name].to(self.dtype).view(-1, 1, 1)


def recomputed(block: Callable[..., Tensor]) -> Callable[..., Tensor]:
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
