"""The size of a reference model and the arithmetic of its training, from a trial's recipe alone: no torch here.

With depth L, width D, context T, vocabulary V:

    Transformer   parameters  L (12 D^2 + 2 D) + 2 V D + T D + D      a token  6 (12 L D^2 + V D) + 6 L T D
    MLP           parameters  window V D + L D^2 + D V                a token  6 (L D^2 + V D)

Arithmetic counts the matrix products of training and attention once, which is causal; a test holds both to the models.
"""

from collections.abc import Mapping
from typing import Any

BYTES = 256
"""The vocabulary of a model whose recipe names none: it reads bytes."""


def parameter_count(model: Mapping[str, Any]) -> int | None:
    """The parameters of a recipe's model; None for a model that is the user's own.

    Example:
        >>> parameter_count({"kind": "transformer", "depth": 8, "width": 128, "context": 512, "vocabulary": 32101})
        9858432
    """
    if model["kind"] not in ("transformer", "mlp"):
        return None
    depth, width, vocabulary = model["depth"], model["width"], model.get("vocabulary", BYTES)
    if model["kind"] == "transformer":
        return depth * (12 * width**2 + 2 * width) + (2 * vocabulary + model["context"] + 1) * width
    return (model["window"] + 1) * vocabulary * width + depth * width**2


def token_flops(model: Mapping[str, Any]) -> float | None:
    """Floating-point operations of training one token; None for a model that is the user's own."""
    if model["kind"] not in ("transformer", "mlp"):
        return None
    depth, width, vocabulary = model["depth"], model["width"], model.get("vocabulary", BYTES)
    if model["kind"] == "transformer":
        return 6.0 * (12 * depth * width**2 + vocabulary * width + depth * model["context"] * width)
    return 6.0 * (depth * width**2 + vocabulary * width)
