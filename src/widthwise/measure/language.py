"""Data and loss for models that take token ids and return logits: what a check uses if it is given neither."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from widthwise.measure.recorder import first_floating

SEQUENCES, LENGTH = 4, 16
"""Many examples blur the alignment of updates with the probe at small widths, few leave gradients to chance."""


def random_tokens(model: nn.Module, *, sequences: int = SEQUENCES, length: int = LENGTH) -> Tensor:
    """Tokens drawn uniformly from a model's vocabulary, always the same [sequences, length].

    The vocabulary is that of `model.get_input_embeddings()` where there is such a method (Hugging Face), and else of
    the model's first `nn.Embedding`.

    Raises:
        ValueError: a model without an embedding.

    Example:
        >>> random_tokens(nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 7)), sequences=1, length=3).shape
        torch.Size([1, 3])
    """
    ask = getattr(model, "get_input_embeddings", None)
    table = ask() if callable(ask) else None
    if not isinstance(table, nn.Embedding):
        table = next((module for module in model.modules() if isinstance(module, nn.Embedding)), None)
    if table is None:
        raise ValueError(
            f"{type(model).__name__} has no nn.Embedding, so its data cannot be guessed; give a batch and a loss"
        )
    generator = torch.Generator().manual_seed(0)
    return torch.randint(table.num_embeddings, (sequences, length), generator=generator)


def next_token_loss(model: nn.Module, batch: Tensor) -> Tensor:
    """The cross-entropy of each next token, in float32.

    Args:
        batch: token ids [sequences, length].

    Raises:
        ValueError: a model that does not return logits [sequences, length, vocabulary].
    """
    output = model(batch)
    logits = getattr(output, "logits", None)
    found = logits if isinstance(logits, Tensor) else first_floating(output)
    if found is None or found.dim() != 3 or found.shape[:2] != batch.shape:
        shape = None if found is None else tuple(found.shape)
        raise ValueError(
            f"{type(model).__name__} returned {shape} for tokens of shape {tuple(batch.shape)}, and logits "
            "[sequences, length, vocabulary] were expected; give a loss"
        )
    return F.cross_entropy(found[:, :-1].flatten(0, 1).float(), batch[:, 1:].flatten())
