"""Scaling plans: from roles and theory to every tensor's init, multiplier, rate and epsilon at a width.

`assign_roles` gives each tensor of a reference model its role, `make_reference_plan` computes the plan, `resolve`
applies it to a base learning rate and epsilon. `describe` reads any PyTorch model at several widths, and a `Rule` says
what it cannot see. torch is loaded when `describe` is called, and not before.
"""

from widthwise.scaling.axis import Axis, role_of
from widthwise.scaling.describe import describe
from widthwise.scaling.description import Alias, ModelDescription, TensorDescription
from widthwise.scaling.description_json import description_from_json, description_to_json
from widthwise.scaling.growth import Growth, GrowthKind, fit_growth
from widthwise.scaling.initializers import Draw, InitializerFit, fit_initializer
from widthwise.scaling.numbers import TensorNumbers, resolve
from widthwise.scaling.plan import Anchor, EpsilonPolicy, Gauge, PlanRow, ScalingPlan, make_reference_plan
from widthwise.scaling.reference_roles import TRANSFORMER_ROLES, TensorRole, assign_roles, mlp_roles
from widthwise.scaling.rules import Rule

__all__ = [
    "TRANSFORMER_ROLES",
    "Alias",
    "Anchor",
    "Axis",
    "Draw",
    "EpsilonPolicy",
    "Gauge",
    "Growth",
    "GrowthKind",
    "InitializerFit",
    "ModelDescription",
    "PlanRow",
    "Rule",
    "ScalingPlan",
    "TensorDescription",
    "TensorNumbers",
    "TensorRole",
    "assign_roles",
    "describe",
    "description_from_json",
    "description_to_json",
    "fit_growth",
    "fit_initializer",
    "make_reference_plan",
    "mlp_roles",
    "resolve",
    "role_of",
]
