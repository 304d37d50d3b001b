"""Models for the coordinate check, in plain torch: a multilayer perceptron and a small Llama, with their data."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VOCABULARY = 64
FEATURES, CLASSES = 16, 10
HEAD_DIM = 16


class Mlp(nn.Module):
    """Three layers with biases on `FEATURES` inputs; the first one's draw does not depend on the width, nor does its
    fan-in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, width)
        self.second = nn.Linear(width, width)
        self.readout = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(F.gelu(self.second(F.gelu(self.first(x)))))


class RmsNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self.weight, 1e-5)


def rotated(x_BxHxTxD: Tensor) -> Tensor:
    """Rotary positions."""
    length, dim = x_BxHxTxD.shape[-2:]
    frequency = 10_000.0 ** (-torch.arange(0, dim, 2, device=x_BxHxTxD.device) / dim)
    angle = torch.arange(length, device=x_BxHxTxD.device)[:, None] * frequency
    cos, sin = angle.cos().to(x_BxHxTxD.dtype), angle.sin().to(x_BxHxTxD.dtype)
    one, two = x_BxHxTxD.chunk(2, dim=-1)
    return torch.cat([one * cos - two * sin, two * cos + one * sin], dim=-1)


class Attention(nn.Module):
    """Grouped queries: half as many keys and values as queries; heads of a fixed size, more of them with the width."""

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width // 2, bias=False)
        self.v_proj = nn.Linear(width, width // 2, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            proj(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        k, v = (t.repeat_interleave(2, dim=1) for t in (k, v))
        mixed = F.scaled_dot_product_attention(rotated(q), rotated(k), v, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).flatten(-2))


class Mlp3(nn.Module):
    """The gated feed-forward block, 5/2 times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, 5 * width // 2, bias=False)
        self.up_proj = nn.Linear(width, 5 * width // 2, bias=False)
        self.down_proj = nn.Linear(5 * width // 2, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = RmsNorm(width), RmsNorm(width)
        self.self_attn, self.mlp = Attention(width, head_dim), Mlp3(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """Every matrix drawn with a standard deviation of 0.02, whatever the width: Hugging Face's way.

    Args:
        forward_factor: multiplies the embedding's output by the width's root, as Gemma does.
    """

    def __init__(
        self,
        width: int,
        *,
        layers: int = 2,
        vocabulary: int = VOCABULARY,
        head_dim: int = HEAD_DIM,
        forward_factor: bool = False,
    ) -> None:
        super().__init__()
        self.factor = math.sqrt(width) if forward_factor else 1.0
        self.embed_tokens = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Block(width, head_dim) for _ in range(layers))
        self.norm = RmsNorm(width)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed_tokens(tokens) * self.factor
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm(x))


def mlp_batch(examples: int = 16) -> tuple[Tensor, Tensor]:
    """Normal inputs with random classes, always the same."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(examples, FEATURES, generator=generator)
    return inputs, torch.randint(CLASSES, (examples,), generator=generator)


def mlp_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    inputs, classes = batch
    return F.cross_entropy(model(inputs), classes)


def tokens(sequences: int = 4, length: int = 16, *, vocabulary: int = VOCABULARY) -> Tensor:
    """Random tokens, always the same."""
    return torch.randint(vocabulary, (sequences, length), generator=torch.Generator().manual_seed(0))


def next_token(model: nn.Module, batch: Tensor) -> Tensor:
    logits = model(batch)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), batch[:, 1:].flatten())


Builder = Callable[[int], nn.Module]
