"""Scaling plans: from roles and theory to every tensor's init, rate, epsilon and weight decay at a width.

A user's model: `describe` reads it at several widths, `make_plan` gives its `ScalingPlan`. The reference models:

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
from widthwise.scaling.make_plan import make_plan, plan_from
from widthwise.scaling.muon import muon_with_adamw
from widthwise.scaling.numbers import TensorNumbers, resolve
from widthwise.scaling.rate_constants import UNIT_CONSTANTS, RateConstants
from widthwise.scaling.rate_path import RatePath, make_rate_path
from widthwise.scaling.reference_plan import (
    Anchor,
    EpsilonPolicy,
    Gauge,
    ReferenceLaws,
    ReferencePlan,
    ReferenceRow,
    make_reference_plan,
    reference_laws,
)
from widthwise.scaling.reference_roles import TRANSFORMER_ROLES, TensorRole, assign_roles, mlp_roles
from widthwise.scaling.role_groups import groups_by_role
from widthwise.scaling.rules import Rule
from widthwise.scaling.scaling_plan import PlanRow, ScalingPlan
from widthwise.scaling.weight_decay import COUPLED, INDEPENDENT, Coupled, Independent, Timescale, WeightDecay

__all__ = [
    "COUPLED",
    "INDEPENDENT",
    "TRANSFORMER_ROLES",
    "UNIT_CONSTANTS",
    "Alias",
    "Anchor",
    "Axis",
    "Coupled",
    "Draw",
    "EpsilonPolicy",
    "Gauge",
    "Growth",
    "GrowthKind",
    "Independent",
    "InitializerFit",
    "ModelDescription",
    "PlanRow",
    "RateConstants",
    "RatePath",
    "ReferenceLaws",
    "ReferencePlan",
    "ReferenceRow",
    "Rule",
    "ScalingPlan",
    "TensorDescription",
    "TensorNumbers",
    "TensorRole",
    "Timescale",
    "WeightDecay",
    "assign_roles",
    "describe",
    "description_from_json",
    "description_to_json",
    "fit_growth",
    "fit_initializer",
    "groups_by_role",
    "make_plan",
    "make_rate_path",
    "make_reference_plan",
    "mlp_roles",
    "muon_with_adamw",
    "plan_from",
    "reference_laws",
    "resolve",
    "role_of",
]
