"""What a reference model says about one of its tensors."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelTensor:
    """The shape of one member's tensor, and how it starts.

    Args:
        shape: without the leading member axis.
        drawn: True for independent normal draws, False for a constant (the gains of a layer norm).
    """

    shape: tuple[int, ...]
    drawn: bool
