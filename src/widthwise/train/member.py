"""The inputs and outputs of a population: what it trains, and how each member ended."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from widthwise.models import ReferenceModel
from widthwise.optim import MemberUpdate
from widthwise.records import AlignmentPoint
from widthwise.scaling import TensorNumbers
from widthwise.train.alignment_plan import AlignmentPlan
from widthwise.train.schedule import WarmupCosine


class Precision(StrEnum):
    """The precision of matrix products; weights, gradients' accumulation and optimizer state are float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


@dataclass(frozen=True)
class LossLimit:
    """When a finite loss counts as divergence: above ln V + margin for so many steps in a row, after the warm-up.

    ln V is the loss of a model that knows nothing: equal odds for each of the V tokens. During the warm-up a start far
    above it is none of the rate's doing. Members are never compared with each other.

    Args:
        margin: nats per token above ln V; at least 0.
        steps: how many in a row; at least 1.

    Raises:
        ValueError: a margin below 0 or not finite, or fewer than one step.

    Example:
        >>> limit = LossLimit(margin=1.0, steps=50)
        >>> round(limit.loss(vocabulary=256), 3), limit.reason
        (6.545, 'loss above ln V + 1 for 50 steps')
    """

    margin: float
    steps: int

    def __post_init__(self) -> None:
        if not 0 <= self.margin < math.inf:
            raise ValueError(
                f"the loss limit's margin is {self.margin}; it must be at least 0 nats above ln V, and finite"
            )
        if self.steps < 1:
            raise ValueError(f"the loss limit's steps are {self.steps}; they must be at least 1")

    def loss(self, *, vocabulary: int) -> float:
        """The loss, in nats per token, above which a step counts."""
        return math.log(vocabulary) + self.margin

    @property
    def reason(self) -> str:
        """What a divergence says."""
        return f"loss above ln V + {self.margin:g} for {self.steps} steps"


@dataclass(frozen=True)
class Recipe:
    """What all members of a population have in common.

    Args:
        batch: sequences of `model.context` tokens per step.
        validation_windows: how many held-out windows the final loss averages over.
        curve_points: into how many equal stretches the training curve is averaged, at most the number of steps.
        loss_limit: when a finite loss counts as divergence; None for never.
        alignment: what is measured of it on the way; None for nothing.
    """

    model: ReferenceModel
    update: MemberUpdate
    schedule: WarmupCosine
    batch: int
    precision: Precision
    validation_windows: int
    curve_points: int
    loss_limit: LossLimit | None = None
    alignment: AlignmentPlan | None = None


@dataclass(frozen=True)
class Member:
    """What one member has of its own: its tensors' numbers, the seed of its draw, the seed of its data."""

    numbers: Mapping[str, TensorNumbers]
    init_seed: int
    data_seed: int


@dataclass(frozen=True)
class Divergence:
    """The step (from 1) at which a member was found to have diverged, and why."""

    step: int
    reason: str


@dataclass(frozen=True)
class Outcome:
    """How one member ended.

    Args:
        validation_loss: nats per token on held-out text after the last step; None if the member diverged.
        divergence: None for a member that trained to its end.
        curve: (step, mean training loss since the previous point), finite values up to a divergence only.
        alignment: what was measured, in the order of steps; before a divergence only.
    """

    validation_loss: float | None
    divergence: Divergence | None
    curve: tuple[tuple[int, float], ...]
    alignment: tuple[AlignmentPoint, ...] = ()
