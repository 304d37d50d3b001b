"""The paper's decoder-only Transformer, member-first.

Pre-layer-norm blocks, GELU, learned positions, separate input and output embeddings, no biases, an MLP of 4D, heads of
a fixed size: the width D grows the number of heads. Attention logits are scaled by 1/sqrt(head_dim), a constant.

Source: Everett et al. 2024 (arXiv 2407.05872); what the paper leaves open follows NanoDO (the norm's epsilon).

Shape legend: P members, B sequences, T positions, N = B * T, D width, V vocabulary, H heads, K head dimension.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from types import MappingProxyType

import torch
from torch import Tensor

from widthwise.models.layers import PLAIN, Weights, recomputed
from widthwise.models.tensor import ModelTensor, count_parameters, require_positive


@dataclass(frozen=True)
class Transformer:
    """One architecture at one width.

    Raises:
        ValueError: a size below 1, or a width that is not a multiple of the head dimension.

    Example:
        >>> Transformer(width=128, depth=8, head_dim=128, vocabulary=32101, context=512).parameter_count
        9858432
    """

    width: int
    depth: int
    head_dim: int
    vocabulary: int
    context: int

    def __post_init__(self) -> None:
        require_positive(asdict(self))
        if self.width % self.head_dim:
            raise ValueError(
                f"width {self.width} is not a multiple of head_dim {self.head_dim}; "
                f"the nearest widths that are: {_neighbours(self.width, self.head_dim)}"
            )

    def tensors(self) -> Mapping[str, ModelTensor]:
        """Every tensor by name, in the order of the forward pass; matrices are [inputs, outputs]."""
        return _tensors(self)

    @property
    def parameter_count(self) -> int:
        """The number of parameters of one member: 12 depth D^2 + 2 V D + context D + (2 depth + 1) D."""
        return count_parameters(self.tensors())

    def logits(
        self,
        parameters: Mapping[str, Tensor],
        tokens_PxBxT: Tensor,
        *,
        multipliers: Mapping[str, Tensor] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Next-token logits of every member: tokens [P, B, T] give [P, B * T, V].

        Args:
            parameters: as in `tensors`, each with a leading member axis.
            tokens_PxBxT: token ids; T may be shorter than the context.
            multipliers: name -> [P] forward multipliers; None when folded into the weights.
            dtype: the compute precision.
        """
        return self.forward(Weights(parameters, multipliers, dtype, PLAIN), tokens_PxBxT)

    def forward(self, w: Weights, tokens_PxBxT: Tensor) -> Tensor:
        """Next-token logits, [P, B * T, V]."""
        return w.linear(self._normalized(w, tokens_PxBxT), "readout")

    def losses(self, w: Weights, tokens_PxBxT1: Tensor, *, recompute: bool = False) -> Tensor:
        """The mean next-token cross-entropy of each member, [P], float32 nats, of tokens [P, B, T + 1].

        Args:
            recompute: keep nothing of a block but its input; the backward pass computes the rest again.
        """
        h_PxNxD = self._normalized(w, tokens_PxBxT1[..., :-1], recompute=recompute)
        return w.readout_loss(h_PxNxD, "readout", tokens_PxBxT1[..., 1:].flatten(1))

    def _normalized(self, w: Weights, tokens_PxBxT: Tensor, *, recompute: bool = False) -> Tensor:
        """What the readout reads, [P, N, D]."""
        x_PxNxD = w.embed(tokens_PxBxT, "token_embedding", "position_embedding")
        run = recomputed(self.block) if recompute else self.block
        y_PxNxD = None
        for block in range(self.depth):
            if recompute and y_PxNxD is not None:  # one input to keep instead of two
                x_PxNxD, y_PxNxD = x_PxNxD + y_PxNxD, None
            x_PxNxD, y_PxNxD = run(w, f"blocks.{block}", x_PxNxD, y_PxNxD, tokens_PxBxT.shape[1])
        return w.add_norm(x_PxNxD, y_PxNxD, "final_norm")[1]

    def block(
        self, w: Weights, name: str, x_PxNxD: Tensor, y_PxNxD: Tensor | None, sequences: int
    ) -> tuple[Tensor, Tensor]:
        """Attention and MLP of the block of a name. The residual stream is x + y: what a layer adds is added where it
        is next read.
        """
        x_PxNxD, h_PxNxD = w.add_norm(x_PxNxD, y_PxNxD, f"{name}.attention.norm")
        h_PxNxD = w.attention(
            w.linear(h_PxNxD, f"{name}.attention.qkv"),
            sequences=sequences,
            heads=self.width // self.head_dim,
        )
        y_PxNxD = w.linear(h_PxNxD, f"{name}.attention.output")
        x_PxNxD, h_PxNxD = w.add_norm(x_PxNxD, y_PxNxD, f"{name}.mlp.norm")
        return x_PxNxD, w.mlp(h_PxNxD, f"{name}.mlp.up", f"{name}.mlp.down")


def _neighbours(width: int, divisor: int) -> str:
    below = width // divisor * divisor
    return " and ".join(str(w) for w in (below, below + divisor) if w > 0)


@lru_cache(maxsize=256)
def _tensors(model: Transformer) -> Mapping[str, ModelTensor]:
    """Listed once for each model: a study's plan asks thousands of times."""
    D = model.width
    tensors = {
        "token_embedding": ModelTensor((model.vocabulary, D), drawn=True),
        "position_embedding": ModelTensor((model.context, D), drawn=True),
    }
    for block in range(model.depth):
        tensors |= {
            f"blocks.{block}.attention.norm": ModelTensor((D,), drawn=False),
            f"blocks.{block}.attention.qkv": ModelTensor((D, 3 * D), drawn=True, multiplied=True),
            f"blocks.{block}.attention.output": ModelTensor((D, D), drawn=True, multiplied=True),
            f"blocks.{block}.mlp.norm": ModelTensor((D,), drawn=False),
            f"blocks.{block}.mlp.up": ModelTensor((D, 4 * D), drawn=True, multiplied=True),
            f"blocks.{block}.mlp.down": ModelTensor((4 * D, D), drawn=True, multiplied=True),
        }
    tensors |= {
        "final_norm": ModelTensor((D,), drawn=False),
        "readout": ModelTensor((D, model.vocabulary), drawn=True, multiplied=True),
    }
    return MappingProxyType(tensors)
