"""Reference models, written member-first: every tensor has a leading axis over the members of a population.

A model is a frozen value that names its tensors (`tensors`) and computes logits from them (`logits`); it holds no
parameters. Roles and scales are not its business: they come from a scaling plan, keyed by the same names.
"""

from widthwise.models.layers import PLAIN, LayerFunctions, Seen, Weights, member_cross_entropy
from widthwise.models.mlp import MLP
from widthwise.models.tensor import ModelTensor
from widthwise.models.transformer import Transformer

ReferenceModel = Transformer | MLP

__all__ = [
    "MLP",
    "PLAIN",
    "LayerFunctions",
    "ModelTensor",
    "ReferenceModel",
    "Seen",
    "Transformer",
    "Weights",
    "member_cross_entropy",
]
