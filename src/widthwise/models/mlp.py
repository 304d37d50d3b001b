"""A multilayer perceptron over a window of tokens, member-first: the theory's chain of layers, on text.

    z_1(t) = phi(sum_j E_j[token(t - j)]),   z_l = phi(W_l z_{l-1}),   logits = W z_L,   phi = ReLU

Position t sees the tokens t, t-1, ..., t-window+1 (fewer at the start of a sequence) and predicts token t+1. The first
layer contracts over a one-hot input of window * V entries, which does not grow with the width.

Shape legend: P members, B sequences, T positions, N = B * T, D width, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from widthwise.models.layers import PLAIN, Weights
from widthwise.models.tensor import ModelTensor, count_parameters, require_positive


@dataclass(frozen=True)
class MLP:
    """A chain of `depth` hidden layers between a first layer and a readout.

    Args:
        window: how many tokens a prediction sees, at least 1.

    Raises:
        ValueError: a size below 1.

    Example:
        >>> MLP(width=64, depth=2, window=4, vocabulary=256, context=32).parameter_count
        90112
    """

    width: int
    depth: int
    window: int
    vocabulary: int
    context: int

    def __post_init__(self) -> None:
        require_positive(asdict(self))

    def tensors(self) -> Mapping[str, ModelTensor]:
        """Every tensor by name, in the order of the forward pass; matrices are [inputs, outputs]."""
        D = self.width
        hidden = {
            f"hidden.{layer}": ModelTensor((D, D), drawn=True, multiplied=True) for layer in range(self.depth)
        }
        return {
            "first_layer": ModelTensor((self.window * self.vocabulary, D), drawn=True),
            **hidden,
            "readout": ModelTensor((D, self.vocabulary), drawn=True, multiplied=True),
        }

    @property
    def parameter_count(self) -> int:
        """The number of parameters of one member: window V D + depth D^2 + D V."""
        return count_parameters(self.tensors())

    def logits(
        self,
        parameters: Mapping[str, Tensor],
        tokens_PxBxT: Tensor,
        *,
        multipliers: Mapping[str, Tensor] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Next-token logits of every member: tokens [P, B, T] give [P, B * T, V]. Arguments as the Transformer's."""
        return self.forward(Weights(parameters, multipliers, dtype, PLAIN), tokens_PxBxT)

    def forward(self, w: Weights, tokens_PxBxT: Tensor) -> Tensor:
        """Next-token logits, [P, B * T, V]."""
        return w.linear(self._features(w, tokens_PxBxT), "readout")

    def losses(self, w: Weights, tokens_PxBxT1: Tensor, *, recompute: bool = False) -> Tensor:
        """The mean next-token cross-entropy of each member, [P], float32 nats, of tokens [P, B, T + 1].

        A layer keeps its output alone, which is the next one's input, so that `recompute` changes nothing.
        """
        z_PxNxD = self._features(w, tokens_PxBxT1[..., :-1])
        return w.readout_loss(z_PxNxD, "readout", tokens_PxBxT1[..., 1:].flatten(1))

    def _features(self, w: Weights, tokens_PxBxT: Tensor) -> Tensor:
        """What the readout reads, [P, N, D]."""
        P, B, T = tokens_PxBxT.shape
        x_PxBxTxD = torch.zeros((P, B, T, self.width), dtype=w.dtype, device=tokens_PxBxT.device)
        for lag in range(min(self.window, T)):
            rows_PxN = tokens_PxBxT[:, :, : T - lag].reshape(P, -1) + lag * self.vocabulary
            seen = w.look_up(rows_PxN, "first_layer").view(P, B, T - lag, self.width)
            x_PxBxTxD = x_PxBxTxD + F.pad(seen, (0, 0, lag, 0))
        z_PxNxD = F.relu(x_PxBxTxD.view(P, B * T, self.width))
        for layer in range(self.depth):
            z_PxNxD = F.relu(w.linear(z_PxNxD, f"hidden.{layer}"))
        return z_PxNxD
