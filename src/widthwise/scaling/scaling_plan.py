"""The plan of a user's model: what every tensor gets at a width, relative to what it has at the base width.

All factors are 1 at the base width, where the user's tuned model is reproduced. Every multiplier is folded into init,
rate and epsilon, so the forward pass is the user's own and nothing is attached to a tensor.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from widthwise.scaling.initializers import InitializerFit
from widthwise.scaling.weight_decay import INDEPENDENT, WeightDecay
from widthwise.theory import AnyAlignment, OptimizerRule, Parameterization, Role, RoleExponents

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

COLUMNS = ("init", "rate", "epsilon", "decay")


@dataclass(frozen=True)
class PlanRow:
    """One tensor at one width.

    Args:
        shape: at this width, in elements; None for a dimension that is rounded at widths that were not described.
        role: of the tensor; of its first use if it is tied.
        rule: the optimizer rule that its rate follows (`adam` for what Muon leaves to Adam).
        exponents: (a, b, c, g) in the gauge of the model's own forward pass.
        init: the factor on the user's own draw at this width.
        initializer: the draw's own law, against which `initialize_` checks it; None for a tensor without entries.
        rate: the factor on the base learning rate.
        epsilon: the factor on the optimizer's epsilon where it follows the gradient.
        decayed: whether weight decay applies by default: to matrices, not to gains and biases.
        trainable: False if the tensor was frozen when it was described. Groups are made of what is trainable then.
        decided_by: the rule, module type or shape that gave the role.
        note: what else happened, such as a factor taken over from a tied readout.
    """

    shape: tuple[int | None, ...]
    role: Role
    rule: str
    exponents: RoleExponents
    init: float
    initializer: InitializerFit | None
    rate: float
    epsilon: float
    decayed: bool
    trainable: bool
    decided_by: str
    note: str = ""

    @property
    def multiplier(self) -> float:
        """The factor in the forward pass: always 1, since multipliers are folded."""
        return 1.0

    @property
    def decay(self) -> float:
        """The factor on the weight decay under independent decay, or 0 where none applies."""
        return 1 / self.rate if self.decayed else 0.0


@dataclass(frozen=True)
class ScalingPlan:
    """Every tensor's numbers at one width, keyed by parameter name.

    Args:
        notes: what concerns the model as a whole.
    """

    width: int
    base_width: int
    parameterization: Parameterization
    optimizer: OptimizerRule
    alignment: AnyAlignment
    rows: Mapping[str, PlanRow]
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """The plan as plain text, layers that differ only in their number in one row."""
        from widthwise.scaling.plan_text import plan_table

        return plan_table(self)

    def diff(self, other: "ScalingPlan") -> tuple[str, ...]:
        """What differs from another plan, one line a fact; empty if nothing does."""
        from widthwise.scaling.plan_text import plan_diff

        return plan_diff(self, other)

    def save(self, path: Path | str) -> None:
        """Write the plan as JSON, replacing the file at once or not at all."""
        from widthwise.scaling.plan_json import save_plan

        save_plan(self, Path(path))

    @staticmethod
    def load(path: Path | str) -> "ScalingPlan":
        """Read a plan that `save` wrote.

        Raises:
            ValueError: a file that is not such a plan.
        """
        from widthwise.scaling.plan_json import load_plan

        return load_plan(Path(path))

    def initialize_(self, model: "nn.Module") -> None:
        """Turn the draw of the user's own initializer into the plan's. See `initialize.initialize_`."""
        from widthwise.scaling.initialize import initialize_

        initialize_(self, model)

    def param_groups(
        self,
        model: "nn.Module",
        *,
        learning_rate: float,
        weight_decay: float = 0.0,
        policy: WeightDecay = INDEPENDENT,
        decay_vectors: bool = False,
        epsilon: float | None = None,
        parameter_floor: float | None = None,
        rule: str | None = None,
    ) -> list[dict[str, Any]]:
        """Groups for any optimizer. See `groups.param_groups`."""
        from widthwise.scaling.groups import param_groups

        return param_groups(
            self,
            model,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            policy=policy,
            decay_vectors=decay_vectors,
            epsilon=epsilon,
            parameter_floor=parameter_floor,
            rule=rule,
        )

    def verify(self, optimizer: "Optimizer", model: "nn.Module | None" = None) -> None:
        """Check that an optimizer is one the plan was made for and still has its factors. See `groups.verify`."""
        from widthwise.scaling.groups import verify

        verify(self, optimizer, model)

    def folded(self, name: str) -> Fraction:
        """The exponent b of a tensor's initial standard deviation, n^(-b), as the model's own forward pass sees it."""
        return self.rows[name].exponents.b
