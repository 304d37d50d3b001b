"""The embedding of one member and its gradients, which need no graph: a sum over each entry's tokens.

Shape legend: B sequences, T positions, N = B * T tokens, V vocabulary, D width.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def embed(
    tokens_BxT: Tensor, weights: Sequence[Tensor], multipliers: Sequence[float], dtype: torch.dtype
) -> Tensor:
    """multiplier * table[token] + multiplier * positions[place], added in float32: [1, N, D].

    Args:
        weights: the table [V, D] and the positions [T or more, D].
        multipliers: of each.
    """
    table_VxD, positions = weights
    B, T = tokens_BxT.shape
    x_NxD = table_VxD[tokens_BxT.reshape(-1)].float().mul_(multipliers[0])
    x_NxD.view(B, T, -1).add_(positions[:T].float() * multipliers[1])
    return x_NxD.to(dtype)[None]


def embedding_gradients(
    tokens_BxT: Tensor, dx_1xNxD: Tensor, multipliers: Sequence[float], shapes: Sequence[torch.Size]
) -> Iterator[Tensor]:
    """The gradients of table and positions, float32, one after the other; sums in a fixed order.

    Example:
        >>> tokens, dx = torch.tensor([[0, 2], [2, 2]]), torch.ones(1, 4, 1)
        >>> shapes = [torch.Size([3, 1]), torch.Size([2, 1])]
        >>> [g.flatten().tolist() for g in embedding_gradients(tokens, dx, [2.0, 1.0], shapes)]
        [[2.0, 0.0, 6.0], [2.0, 2.0]]
    """
    B, T = tokens_BxT.shape
    dx_NxD = dx_1xNxD[0].float()
    table = torch.ops.aten.embedding_dense_backward(dx_NxD, tokens_BxT.reshape(-1), shapes[0][0], -1, False)
    yield table.mul_(multipliers[0])
    del table
    positions = dx_NxD.new_zeros(shapes[1])
    torch.sum(dx_NxD.view(B, T, -1), 0, out=positions[:T])
    yield positions.mul_(multipliers[1])
