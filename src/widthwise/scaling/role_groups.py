"""Parameter groups with one role each, for whatever treats roles differently."""

from collections.abc import Mapping, Sequence
from typing import Any

from widthwise.scaling.scaling_plan import ScalingPlan

ROLE = "role"
"""The field of a group that says its tensors' role."""


def groups_by_role(plan: ScalingPlan, groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A plan's groups, each split by its tensors' roles, which the new groups name as `role`.

    Args:
        groups: from `plan.param_groups`, before an optimizer is made of them.

    Raises:
        ValueError: a group without names, or a tensor that the plan does not know.

    Example:
        >>> from torch import nn
        >>> from widthwise.scaling import make_plan
        >>> from widthwise.theory import ADAM, STANDARD
        >>> def build(width):
        ...     return nn.Sequential(nn.Embedding(11, width), nn.Linear(width, width), nn.Linear(width, 11))
        >>> plan = make_plan(build, width=256, base_width=64, parameterization=STANDARD, optimizer=ADAM)
        >>> for group in groups_by_role(plan, plan.param_groups(build(256), learning_rate=1e-2)):
        ...     print(group["role"], group["lr"], *group["param_names"])
        embedding 0.01 0.weight
        vector 0.01 1.bias
        fixed 0.01 2.bias
        hidden 0.0025 1.weight
        readout 0.0025 2.weight
    """
    result: list[dict[str, Any]] = []
    for position, group in enumerate(groups):
        if "param_names" not in group:
            raise ValueError(f"group {position} has no param_names; make the groups with plan.param_groups")
        own: dict[str, dict[str, Any]] = {}
        for name, parameter in zip(group["param_names"], group["params"], strict=True):
            if name not in plan.rows:
                raise ValueError(f"the plan does not know {name}: its groups are of another model")
            role = plan.rows[name].role.value
            part = own.setdefault(role, {**group, "params": [], "param_names": [], ROLE: role})
            part["params"].append(parameter)
            part["param_names"].append(name)
        result += own.values()
    return result
