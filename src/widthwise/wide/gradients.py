"""Gradients of a few tensors summed over the pieces of a batch, each taken in as soon as the backward pass has it."""

from collections.abc import Mapping

import torch
from torch import Tensor


class GradientSums:
    """The sums of one block's gradients; gone when this is.

    A gradient of a piece lives until the next tensor's is there: beside the sums, memory is that of the largest tensor.
    A single piece has its gradients as they are, in the weights' precision.

    Args:
        weights: by name; gradients are of [1, ...].
        pieces: how many will be added.
        dtype: of the sums.
    """

    def __init__(self, weights: Mapping[str, Tensor], *, pieces: int, dtype: torch.dtype) -> None:
        self._weights, self._pieces, self._dtype = weights, pieces, dtype
        self._sums: dict[str, Tensor] = {}

    def leaves(self) -> dict[str, Tensor]:
        """The weights as a piece's forward pass reads them, [1, ...]; their backward pass adds to the sums."""
        leaves: dict[str, Tensor] = {}
        for name, weight in self._weights.items():
            leaf = weight.detach()[None].requires_grad_()
            leaf.register_post_accumulate_grad_hook(self._taker(name))
            leaves[name] = leaf
        return leaves

    def _taker(self, name: str):
        def take(leaf: Tensor) -> None:
            gradient, leaf.grad = leaf.grad, None
            assert gradient is not None
            self.add(name, gradient[0])

        return take

    def add(self, name: str, gradient: Tensor) -> None:
        """Take in one piece's gradient of a tensor."""
        if self._pieces == 1:
            self._sums[name] = gradient.contiguous()
        elif name in self._sums:
            self._sums[name].add_(gradient)
        else:
            self._sums[name] = gradient.to(self._dtype, copy=True, memory_format=torch.contiguous_format)

    def pop(self, name: str) -> Tensor:
        """A tensor's sum, which is no longer kept here."""
        return self._sums.pop(name)
