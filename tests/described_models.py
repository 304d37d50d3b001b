"""Small models of plain torch modules that the tests of `describe` share."""

import torch
from torch import nn

from widthwise.scaling import ModelDescription
from widthwise.theory import Role

WIDTHS = (16, 32, 64)


def roles(description: ModelDescription) -> dict[str, Role]:
    return {name: tensor.role for name, tensor in description.tensors.items()}


class Held(nn.Module):
    """A user's module with bare parameters."""

    def __init__(self, **shapes: tuple[int, ...]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape)))


def mlp(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)
    )
