"""How much of a step's activations is held at once: its batch in pieces, and blocks recomputed in the backward pass.

A batch is run in m pieces of whole sequences, one after the other:

    loss = (1/m) sum_i loss_i,    gradient = sum_i d(loss_i / m)

The pieces are equal, so both are the whole batch's, up to the order in which sums are taken. Gradients are summed in
float32, whatever they come in, in buffers that stay where they are: a recorded step writes into them at every replay.

Shape legend: P members, B sequences, T positions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Losses = Callable[[dict[str, Tensor], Tensor], Tensor]
"""(parameters, tokens [P, B, T + 1]) -> the mean loss of each member, [P]."""


@dataclass(frozen=True)
class ActivationPlan:
    """How a step's activations are kept small; like P, it changes results by rounding only.

    Args:
        micro_batches: m, the pieces of a batch; it divides the batch.
        recompute: compute each block again in the backward pass instead of keeping what is inside it.

    Raises:
        ValueError: fewer than one micro-batch.
    """

    micro_batches: int = 1
    recompute: bool = False

    def __post_init__(self) -> None:
        if self.micro_batches < 1:
            raise ValueError(f"micro_batches is {self.micro_batches}; it must be at least 1")

    def sequences(self, batch: int) -> int:
        """The sequences of one piece of a batch.

        Raises:
            ValueError: the batch does not divide.

        Example:
            >>> ActivationPlan(micro_batches=4).sequences(256)
            64
        """
        if batch % self.micro_batches:
            raise ValueError(
                f"a batch of {batch} sequences does not divide into {self.micro_batches} equal micro-batches; "
                f"choose one of {divisors(batch)}"
            )
        return batch // self.micro_batches


WHOLE = ActivationPlan()
"""The whole batch at once, everything kept: what is fastest where it fits."""


def divisors(number: int) -> list[int]:
    """Every divisor, ascending.

    Example:
        >>> divisors(12)
        [1, 2, 3, 4, 6, 12]
    """
    return [d for d in range(1, number + 1) if number % d == 0]


class MicroBatches:
    """A step's losses and gradients, piece by piece.

    Args:
        losses: of a piece; see `Losses`.
        leaves: what gradients are taken of, for the shapes of the buffers.
        count: m; 1 needs no buffers, and its gradients have the leaves' dtypes.

    Example:
        >>> def losses(leaves, tokens_PxBxT):
        ...     return (leaves["w"] * tokens_PxBxT.flatten(1)).mean(1)
        >>> w, tokens = torch.ones(1, 1, requires_grad=True), torch.tensor([[[1.0], [2.0], [6.0], [7.0]]])
        >>> found, gradients = MicroBatches(losses, {"w": w}, 2).run({"w": w}, tokens)
        >>> found, gradients["w"]
        (tensor([4.]), tensor([[4.]]))
    """

    def __init__(self, losses: Losses, leaves: Mapping[str, Tensor], count: int) -> None:
        self._losses, self._count = losses, count
        self._sums = {
            name: torch.empty_like(leaf, dtype=torch.float32, requires_grad=False)
            for name, leaf in (leaves.items() if count > 1 else ())
        }

    def run(self, leaves: dict[str, Tensor], tokens_PxBxT1: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean losses of the whole batch [P], without history, and its gradients by name.

        With several pieces the gradients are the buffers: good until the next call.
        """
        if self._count == 1:
            return self._piece(leaves, tokens_PxBxT1)
        sum_P = torch.zeros_like(tokens_PxBxT1[:, 0, 0], dtype=torch.float32)
        size = tokens_PxBxT1.shape[1] // self._count
        for i, piece in enumerate(tokens_PxBxT1.split(size, dim=1)):
            sum_P += self._add(leaves, piece, first=i == 0)
        return sum_P / self._count, self._sums

    def _add(self, leaves: dict[str, Tensor], piece: Tensor, *, first: bool) -> Tensor:
        """Take a piece's gradients in; they are gone when this returns, before the next piece needs their memory."""
        losses_P, gradients = self._piece(leaves, piece)
        for name, gradient in gradients.items():
            # The first piece overwrites: what the last step left is never added to.
            (self._sums[name].copy_ if first else self._sums[name].add_)(gradient)
        return losses_P

    def _piece(self, leaves: dict[str, Tensor], piece: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        losses_P = self._losses(leaves, piece)
        total = losses_P.sum() if self._count == 1 else losses_P.sum() / self._count
        gradients = torch.autograd.grad(total, list(leaves.values()))
        return losses_P.detach(), dict(zip(leaves, gradients, strict=True))
