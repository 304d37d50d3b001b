"""The inputs and outputs of a population: what it trains, and how each member ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from widthwise.models import ReferenceModel
from widthwise.optim import MemberUpdate
from widthwise.scaling import TensorNumbers
from widthwise.train.schedule import WarmupCosine


class Precision(StrEnum):
    """The precision of matrix products; weights, gradients' accumulation and optimizer state are float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


@dataclass(frozen=True)
class Recipe:
    """What all members of a population have in common.

    Args:
        batch: sequences of `model.context` tokens per step.
        validation_windows: how many held-out windows the final loss averages over.
        curve_points: into how many equal stretches the training curve is averaged, at most the number of steps.
    """

    model: ReferenceModel
    update: MemberUpdate
    schedule: WarmupCosine
    batch: int
    precision: Precision
    validation_windows: int
    curve_points: int


@dataclass(frozen=True)
class Member:
    """What one member has of its own: its tensors' numbers, the seed of its draw, the seed of its data."""

    numbers: Mapping[str, TensorNumbers]
    init_seed: int
    data_seed: int


@dataclass(frozen=True)
class Divergence:
    """The step (from 1) at which a member stopped being finite, and what was not."""

    step: int
    reason: str


@dataclass(frozen=True)
class Outcome:
    """How one member ended.

    Args:
        validation_loss: nats per token on held-out text after the last step; None if the member diverged.
        divergence: None for a member that trained to its end.
        curve: (step, mean training loss since the previous point), finite values only.
    """

    validation_loss: float | None
    divergence: Divergence | None
    curve: tuple[tuple[int, float], ...]
