"""The paper's decoder-only Transformer, member-first.

Pre-layer-norm blocks, GELU, learned positions, separate input and output embeddings, no biases, an MLP of 4D, heads of
a fixed size: the width D grows the number of heads. Attention logits are scaled by 1/sqrt(head_dim), a constant.

Source: Everett et al. 2024 (arXiv 2407.05872); what the paper leaves open follows NanoDO (the norm's epsilon).

Shape legend: P members, B sequences, T positions, N = B * T, D width, V vocabulary, H heads, K head dimension.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from widthwise.models.layers import Weights, recomputed
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

    def tensors(self) -> dict[str, ModelTensor]:
        """Every tensor by name, in the order of the forward pass; matrices are [inputs, outputs]."""
        D = self.width
        tensors = {
            "token_embedding": ModelTensor((self.vocabulary, D), drawn=True),
            "position_embedding": ModelTensor((self.context, D), drawn=True),
        }
        for block in range(self.depth):
            tensors |= {
                f"blocks.{block}.attention.norm": ModelTensor((D,), drawn=False),
                f"blocks.{block}.attention.qkv": ModelTensor((D, 3 * D), drawn=True, multiplied=True),
                f"blocks.{block}.attention.output": ModelTensor((D, D), drawn=True, multiplied=True),
                f"blocks.{block}.mlp.norm": ModelTensor((D,), drawn=False),
                f"blocks.{block}.mlp.up": ModelTensor((D, 4 * D), drawn=True, multiplied=True),
                f"blocks.{block}.mlp.down": ModelTensor((4 * D, D), drawn=True, multiplied=True),
            }
        return tensors | {
            "final_norm": ModelTensor((D,), drawn=False),
            "readout": ModelTensor((D, self.vocabulary), drawn=True, multiplied=True),
        }

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
        recompute: bool = False,
    ) -> Tensor:
        """Next-token logits of every member: tokens [P, B, T] give [P, B * T, V].

        Args:
            parameters: as in `tensors`, each with a leading member axis.
            tokens_PxBxT: token ids; T may be shorter than the context.
            multipliers: name -> [P] forward multipliers; None when folded into the weights.
            dtype: the compute precision.
            recompute: keep nothing of a block but its input; the backward pass computes the rest again.
        """
        P, B, T = tokens_PxBxT.shape
        D = self.width
        w = Weights(parameters, multipliers, dtype)
        x_PxNxD = w.embed(tokens_PxBxT.reshape(P, B * T), "token_embedding")
        positions_PxTxD = w.table("position_embedding")[:, :T]
        x_PxNxD = (x_PxNxD.view(P, B, T, D) + positions_PxTxD[:, None]).view(P, B * T, D)
        for block in range(self.depth):
            run = recomputed(self._block) if recompute else self._block
            x_PxNxD = run(w, x_PxNxD, f"blocks.{block}", (P, B, T))
        return w.linear(w.norm(x_PxNxD, "final_norm"), "readout")

    def _block(self, w: Weights, x_PxNxD: Tensor, name: str, sizes: tuple[int, int, int]) -> Tensor:
        """The residual stream after one block."""
        h_PxNxD = w.norm(x_PxNxD, f"{name}.attention.norm")
        a_PxNxD = self._attention(w.linear(h_PxNxD, f"{name}.attention.qkv"), sizes)
        x_PxNxD = x_PxNxD + w.linear(a_PxNxD, f"{name}.attention.output")
        h_PxNxD = w.norm(x_PxNxD, f"{name}.mlp.norm")
        h_PxNx4D = F.gelu(w.linear(h_PxNxD, f"{name}.mlp.up"))
        return x_PxNxD + w.linear(h_PxNx4D, f"{name}.mlp.down")

    def _attention(self, qkv_PxNx3D: Tensor, sizes: tuple[int, int, int]) -> Tensor:
        """Causal attention with the members folded into the batch."""
        P, B, T = sizes
        H, K = self.width // self.head_dim, self.head_dim
        q, k, v = qkv_PxNx3D.view(P * B, T, 3, H, K).permute(2, 0, 3, 1, 4)
        a_PBxHxTxK = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return a_PBxHxTxK.transpose(1, 2).reshape(P, B * T, self.width)


def _neighbours(width: int, divisor: int) -> str:
    below = width // divisor * divisor
    return " and ".join(str(w) for w in (below, below + divisor) if w > 0)
