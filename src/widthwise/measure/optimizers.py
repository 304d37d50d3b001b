"""The optimizer of a check: PyTorch's or our own of the plan's rule, or the caller's, which the plan verifies."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, Optimizer, RMSprop

from widthwise.optim import Adafactor, AdamW, ParameterScaling
from widthwise.scaling import ScalingPlan, muon_with_adamw
from widthwise.theory import ADAFACTOR, ADAM, ADAM_PS, MUON, RMSPROP, OptimizerRule
from widthwise.theory import SGD as SGD_RULE

Groups = dict[str, Any]

OPTIMIZERS: dict[OptimizerRule, Callable[[list[Groups]], Optimizer]] = {
    SGD_RULE: SGD,
    ADAM: Adam,
    RMSPROP: RMSprop,
    ADAFACTOR: Adafactor,
    ADAM_PS: lambda groups: AdamW(groups, parameter_scaling=ParameterScaling()),
}
"""What a check takes where the caller gives no optimizer; Muon with AdamW besides.

Adafactor is ours: the rate of PyTorch's is a cap on a schedule of its own. So is Adam with parameter scaling.
"""


def optimizer_maker(
    plan: ScalingPlan,
    learning_rate: float,
    epsilon: float | None,
    make: Callable[[list[Groups]], Optimizer] | None,
) -> Callable[[ScalingPlan, nn.Module], Sequence[Optimizer]]:
    """How to make the optimizers of a planned model.

    Raises:
        ValueError: a rule for which PyTorch has no optimizer, and none was given.
    """
    if make is None and plan.optimizer == MUON:

        def muon(plan: ScalingPlan, model: nn.Module) -> Sequence[Optimizer]:
            if epsilon is None:
                return muon_with_adamw(plan, model, muon_rate=learning_rate, adamw_rate=learning_rate)
            return muon_with_adamw(
                plan, model, muon_rate=learning_rate, adamw_rate=learning_rate, epsilon=epsilon
            )

        return muon
    if make is None and plan.optimizer not in OPTIMIZERS:
        known = ", ".join([*(rule.name for rule in OPTIMIZERS), MUON.name])
        raise ValueError(
            f"the plan is for {plan.optimizer.name}, of which PyTorch has no optimizer (a check makes {known}); "
            "give one: optimizer=lambda groups: ..."
        )
    chosen = OPTIMIZERS[plan.optimizer] if make is None else make

    def makers(plan: ScalingPlan, model: nn.Module) -> tuple[Optimizer]:
        found = chosen(plan.param_groups(model, learning_rate=learning_rate, epsilon=epsilon))
        plan.verify(found)
        return (found,)

    return makers
