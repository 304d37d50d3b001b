"""A trial's resolved numbers: what the trainer is told about each tensor, and nothing else.

Two trials with the same numbers are the same run, whatever parameterization and prescription they were written in.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from widthwise.scaling.rate_constants import UNIT_CONSTANTS, RateConstants
from widthwise.scaling.reference_plan import ReferencePlan
from widthwise.theory import Role


@dataclass(frozen=True)
class TensorNumbers:
    """One tensor of one run.

    Args:
        init: standard deviation of the initial draw, or the value of a constant start.
        multiplier: factor of the layer's output in the forward pass.
        rate: learning rate before the schedule.
        epsilon: added to the root of Adam's second moment; 0 where the optimizer has none.
        decay: the share of the weights that a step takes away before the schedule, whatever the rate.
    """

    init: float
    multiplier: float
    rate: float
    epsilon: float
    decay: float = 0.0


def resolve(
    plan: ReferencePlan,
    *,
    learning_rate: float,
    epsilon: float,
    constants: RateConstants = UNIT_CONSTANTS,
    weight_decay: float = 0.0,
) -> Mapping[str, TensorNumbers]:
    """The plan's factors and each role's constant applied to a base learning rate, and to a base epsilon.

    Weight decay is independent of the rate, the same for every matrix and table, at every width and in every gauge, and
    none for gains.

    Raises:
        ValueError: a learning rate that is not positive, a negative epsilon, or a decay outside [0, 1).

    Example:
        >>> from widthwise.scaling import make_reference_plan, mlp_roles
        >>> from widthwise.theory import ADAM, FULL_RATES, STANDARD
        >>> plan = make_reference_plan({"hidden.0": mlp_roles(1)["hidden.*"]}, width=256, base_width=64,
        ...                            parameterization=STANDARD, optimizer=ADAM, prescription=FULL_RATES)
        >>> resolve(plan, learning_rate=0.5, epsilon=1e-12)["hidden.0"].rate
        0.125
    """
    if not learning_rate > 0:
        raise ValueError(f"learning rate {learning_rate} must be positive")
    if not epsilon >= 0:
        raise ValueError(f"epsilon {epsilon} must not be negative")
    if not 0 <= weight_decay < 1:
        raise ValueError(
            f"weight decay {weight_decay} must be at least 0 and below 1: a share of the weights"
        )
    made: dict[int, TensorNumbers] = {}  # tensors of one role share their row
    for row in plan.rows.values():
        if id(row) not in made:
            made[id(row)] = TensorNumbers(
                init=row.init,
                multiplier=row.multiplier,
                rate=learning_rate * constants.at(row.role) * row.rate,
                epsilon=epsilon * row.epsilon,
                decay=0.0 if row.role is Role.VECTOR else weight_decay,
            )
    return {name: made[id(row)] for name, row in plan.rows.items()}
