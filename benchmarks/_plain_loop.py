"""The baseline of the population engine: the same Transformer as anyone would write it, in an ordinary loop.

An nn.Module under torch.compile with its defaults, bfloat16 autocast, scaled_dot_product_attention, fused AdamW, one
model at a time. Shape legend: B sequences, T positions, D width.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from widthwise.models import Transformer

DIFFERENT_BATCHES = 8


class Block(nn.Module):
    """Pre-norm attention and MLP, without biases."""

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.heads = width // head_dim
        self.norm1, self.norm2 = (nn.LayerNorm(width, bias=False) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x_BxTxD: Tensor) -> Tensor:
        """One block's contribution, on the residual stream."""
        B, T, D = x_BxTxD.shape
        q, k, v = self.qkv(self.norm1(x_BxTxD)).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x_BxTxD = x_BxTxD + self.output(a.transpose(1, 2).reshape(B, T, D))
        return x_BxTxD + self.down(F.gelu(self.up(self.norm2(x_BxTxD))))


class Plain(nn.Module):
    """The sizes of a reference model, in plain modules; a batch goes in, its mean loss comes out."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.embedding = nn.Embedding(model.vocabulary, model.width)
        self.position = nn.Parameter(0.02 * torch.randn(model.context, model.width))
        self.blocks = nn.ModuleList([Block(model.width, model.head_dim) for _ in range(model.depth)])
        self.norm = nn.LayerNorm(model.width, bias=False)
        self.head = nn.Linear(model.width, model.vocabulary, bias=False)

    def forward(self, tokens_BxT1: Tensor) -> Tensor:
        """The mean next-token cross-entropy in nats."""
        x_BxTxD = self.embedding(tokens_BxT1[:, :-1]) + self.position
        for block in self.blocks:
            x_BxTxD = block(x_BxTxD)
        logits = self.head(self.norm(x_BxTxD))
        return F.cross_entropy(logits.flatten(0, 1).float(), tokens_BxT1[:, 1:].flatten())


def plain_loop(model: Transformer, batch: int, device: torch.device) -> Callable[[], object]:
    """One step of the ordinary loop a call; compiled on a CUDA device."""
    torch.manual_seed(0)
    cuda = device.type == "cuda"
    with device:
        module = Plain(model)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, fused=cuda)
    shape = (DIFFERENT_BATCHES, batch, model.context + 1)
    tokens = torch.randint(0, model.vocabulary, shape, device=device)
    forward = torch.compile(module) if cuda else module
    count = 0

    def step() -> None:
        nonlocal count
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16):
            loss = forward(tokens[count % DIFFERENT_BATCHES])
        loss.backward()
        optimizer.step()
        count += 1

    return step
