"""A user's own training function: what it is called with, what it says, and how its trial ends.

    def train(trial: Trial, report: Report) -> float:
        model = build(trial.width)
        ...
        for step in range(1, trial.steps + 1):
            ...
            report(step, loss)
        return validation_loss

in any framework, one trial at a time. The value it returns is the trial's loss. NaN or an infinity, returned or
reported, is divergence, and so is `Diverged` when it is raised. Any other error is a failure of this trial alone: its
reason stands in the store, and the study goes on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, SupportsFloat

from widthwise.study.arms import RULES
from widthwise.study.recipe import Recipe, unpack_numbers
from widthwise.theory import rate_power


class Diverged(Exception):  # noqa: N818 - it says what happened, and that is no error
    """Raised by a training function whose run has diverged.

    Args:
        reason: how it is seen.
    """

    def __init__(self, reason: str = "the training function says so") -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class RoleNumbers:
    """What the tensors of one role get at a trial's width, in the folded gauge: no layer's output has a factor.

    Args:
        exponents: theory's (a, b, c, g), before folding: multiplier n^(-a), init n^(-b), rate n^(-c), gradient n^(-g).
        init: the standard deviation of the initial draw over that at the base width; under `anchor: absolute`, the
            n^(-b) itself.
        learning_rate: the base one times its factor at this width, and the study's constant for this kind of layer.
        epsilon: the base one times its factor at this width.
        weight_decay: the share of the weights that a step takes away, times the schedule and whatever the rate.
    """

    exponents: tuple[Fraction, Fraction, Fraction, Fraction]
    init: float
    learning_rate: float
    epsilon: float
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Trial:
    """One training run, with nothing left open.

    Args:
        parameterization, prescription, optimizer: their names in the specification.
        optimizer_constants: such as `beta1`.
        learning_rate, epsilon: the base ones, which the roles' are made from; epsilon is 0 where there is none.
        roles: by name: `embedding`, `hidden`, `readout`, `vector`.
        seed: of the initial draw; `data_seed` of the data's order.
        steps, warmup: the horizon, and the steps of it in which the rate rises.
        floor: the share of the rate that is left at the end.
        batch: as the specification says, in whatever unit.
        precision: `float32` or `bfloat16`, as the specification says.
        options: the specification's `model.options`.
    """

    width: int
    base_width: int
    parameterization: str
    prescription: str
    anchor: str
    optimizer: str
    optimizer_constants: Mapping[str, Any]
    learning_rate: float
    epsilon: float
    roles: Mapping[str, RoleNumbers]
    seed: int
    data_seed: int
    steps: int
    warmup: int
    floor: float
    batch: int
    precision: str
    options: Mapping[str, Any]


Report = Callable[[int, SupportsFloat], None]
"""`report(step, loss)`: the training loss after so many steps, from 1, each later than the one before."""

OwnFunction = Callable[[Trial, Report], SupportsFloat]


def own_trial(recipe: Recipe) -> Trial:
    """The trial that a recipe describes."""
    own, schedule, optimizer = recipe["own"], recipe["schedule"], recipe["optimizer"]
    numbers = unpack_numbers(recipe, own["exponents"], rate_power=rate_power(RULES[optimizer["kind"]]))
    roles: dict[str, RoleNumbers] = {}
    for role, texts in own["exponents"].items():
        a, b, c, g = (Fraction(text) for text in texts)
        n = numbers[role]
        roles[role] = RoleNumbers((a, b, c, g), n.init, n.rate, n.epsilon, n.decay)
    return Trial(
        width=recipe["model"]["width"],
        base_width=own["base_width"],
        parameterization=own["parameterization"],
        prescription=own["prescription"],
        anchor=own["anchor"],
        optimizer=optimizer["kind"],
        optimizer_constants={field: value for field, value in optimizer.items() if field != "kind"},
        learning_rate=own["learning_rate"],
        epsilon=own["epsilon"],
        roles=roles,
        seed=recipe["seeds"]["init"],
        data_seed=recipe["seeds"]["data"],
        steps=schedule["steps"],
        warmup=schedule["warmup"],
        floor=schedule["floor"],
        batch=recipe["batch"],
        precision=recipe["precision"],
        options=recipe["model"]["options"],
    )
