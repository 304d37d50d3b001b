"""What is measured of alignment while a population trains."""

from dataclasses import dataclass

from widthwise.models import ReferenceModel
from widthwise.records import Since

TOKENS = 256
"""Tokens of the probe unless asked otherwise: beyond them a log gain, pooled over tokens, moves by about 0.01."""


@dataclass(frozen=True)
class AlignmentPlan:
    """Alignment of some layers, after every so many steps; it observes a training and changes no bit of it.

    Args:
        every: steps between measurements, at least 1.
        layers: names of matrix layers, each once; see `matrix_layers`.
        tokens: of the probe, held-out text in whole windows of the model's context; at least so many.
        since: what changes are counted from, each a series of its own.

    Raises:
        ValueError: a number below 1, no layer, or nothing to count from.
    """

    every: int
    layers: tuple[str, ...]
    tokens: int = TOKENS
    since: tuple[Since, ...] = (Since.START,)

    def __post_init__(self) -> None:
        for name, number in (("every", self.every), ("tokens", self.tokens)):
            if number < 1:
                raise ValueError(f"alignment: {name} is {number}; it must be at least 1")
        if not self.layers:
            raise ValueError("alignment: no layers are named; name at least one")
        if not self.since:
            raise ValueError("alignment: changes must be counted from the start, the last update, or both")

    def windows(self, context: int) -> int:
        """How many windows of held-out text the probe has.

        Example:
            >>> AlignmentPlan(every=50, layers=("readout",)).windows(context=100)
            3
        """
        return -(-self.tokens // context)

    def measured(self, steps: int) -> range:
        """The steps after which is measured: multiples of `every`, up to the horizon."""
        return range(self.every, steps + 1, self.every)

    def require(self, model: ReferenceModel) -> None:
        """Check that the model has the layers.

        Raises:
            ValueError: a name that is no matrix layer's, or stands twice.
        """
        known = matrix_layers(model)
        wrong = [name for name in self.layers if name not in known]
        if wrong:
            raise ValueError(f"alignment: {wrong} are no matrix layers of the model; it has {list(known)}")
        if len(set(self.layers)) != len(self.layers):
            raise ValueError(f"alignment: layers {list(self.layers)} name a layer twice; name each once")


def matrix_layers(model: ReferenceModel) -> tuple[str, ...]:
    """The layers that multiply activations by a matrix, in the order of the forward pass.

    A look-up has no contraction over activations, and a gain none at all: neither has an alignment.

    Example:
        >>> from widthwise.models import MLP
        >>> matrix_layers(MLP(width=8, depth=2, window=2, vocabulary=16, context=4))
        ('hidden.0', 'hidden.1', 'readout')
    """
    return tuple(name for name, tensor in model.tensors().items() if tensor.multiplied)
