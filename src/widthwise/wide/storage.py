"""How one large model is kept on a device: formats of weights and state, pieces of a batch, where block inputs wait."""

from dataclasses import dataclass
from enum import StrEnum

from widthwise.optim import NEAREST, CompactUpdate, MemberUpdate, StateFormat, StochasticRounding
from widthwise.train import ActivationPlan, Precision


class Place(StrEnum):
    """Where the inputs of blocks wait for the backward pass."""

    DEVICE = "device"
    HOST = "host"


@dataclass(frozen=True)
class Storage:
    """What is kept how; none of it changes the mathematics, each changes the rounding or the memory.

    Args:
        weights: of matrices; gains are float32 always.
        state: of matrices' optimizer; see `StateFormat`.
        sums: of gradients over micro-batches. In bfloat16 each of m additions rounds the sum to 2^-9 of itself, so
            the error is at most about (m - 1) 2^-9, and sqrt(m - 1) 2^-9 / sqrt(3) if the roundings are independent.
        micro_batches: m, pieces of a batch that go through one block after the other; it divides the batch.
        boundaries: where block inputs wait: m pieces each of depth + 1 tensors [tokens, width].
        rounding_seed: of the random bits of bfloat16 weights and 8-bit state; None: weights to the nearest.

    Raises:
        ValueError: fewer than one micro-batch.
    """

    weights: Precision = Precision.BFLOAT16
    state: StateFormat = StateFormat.EIGHT_BIT
    sums: Precision = Precision.FLOAT32
    micro_batches: int = 1
    boundaries: Place = Place.DEVICE
    rounding_seed: int | None = 0

    def __post_init__(self) -> None:
        ActivationPlan(self.micro_batches)  # checks it

    def sequences(self, batch: int) -> int:
        """The sequences of one piece of a batch.

        Raises:
            ValueError: the batch does not divide.
        """
        return ActivationPlan(self.micro_batches).sequences(batch)

    def updates(self, update: MemberUpdate) -> tuple[CompactUpdate, CompactUpdate]:
        """The update of matrices, and that of gains."""
        rounding = NEAREST if self.rounding_seed is None else StochasticRounding(self.rounding_seed)
        return CompactUpdate(update, self.state, rounding), CompactUpdate(update)


EXACT = Storage(weights=Precision.FLOAT32, state=StateFormat.FLOAT32, rounding_seed=None)
"""Everything in float32: what a population of one member does, 16 bytes a parameter and more."""

COMPACT = Storage()
"""bfloat16 weights and 8 bits a state: 4 bytes a parameter for Adam, 3 for SGD with momentum, 2 without."""
