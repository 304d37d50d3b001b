"""Scaling plans: from roles and theory to every tensor's init, multiplier, rate and epsilon at a width.

`assign_roles` gives each tensor of a reference model its role, `make_reference_plan` computes the plan, `resolve`
applies it to a base learning rate and epsilon. No torch.
"""

from widthwise.scaling.numbers import TensorNumbers, resolve
from widthwise.scaling.plan import Anchor, EpsilonPolicy, Gauge, PlanRow, ScalingPlan, make_reference_plan
from widthwise.scaling.reference_roles import TRANSFORMER_ROLES, TensorRole, assign_roles, mlp_roles

__all__ = [
    "TRANSFORMER_ROLES",
    "Anchor",
    "EpsilonPolicy",
    "Gauge",
    "PlanRow",
    "ScalingPlan",
    "TensorNumbers",
    "TensorRole",
    "assign_roles",
    "make_reference_plan",
    "mlp_roles",
    "resolve",
]
