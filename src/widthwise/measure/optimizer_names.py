"""The names of an optimizer's tensors, and whether a plan is for them."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from widthwise.scaling import ScalingPlan
from widthwise.scaling.parameter_names import check_shapes, plain_names, without_wrappers
from widthwise.scaling.reference_plan import ReferencePlan

SHOWN = 3


def tensor_names(
    optimizer: Optimizer, plan: ScalingPlan | ReferencePlan | None, model: nn.Module | None
) -> list[str]:
    """A name for every tensor, in the order of the groups: the model's, or the groups' `param_names`, or its place.

    Args:
        plan: whose names those of a wrapped model are brought to.

    Raises:
        ValueError: a tensor that the model does not have; names that are not one a tensor, or not different.
    """
    if model is not None:
        own = {id(parameter): name for name, parameter in model.named_parameters()}
        plain = _plain(list(own.values()), plan)
        tensors = [
            (i, j, p) for i, group in enumerate(optimizer.param_groups) for j, p in enumerate(group["params"])
        ]
        strange = [f"{j} of group {i}" for i, j, parameter in tensors if id(parameter) not in own]
        if strange:
            raise ValueError(
                f"the model has no such parameter as {strange[0]} of the optimizer ({len(strange)} of {len(tensors)} "
                "are not the model's): give the model that the optimizer trains"
            )
        return [plain[own[id(parameter)]] for _, _, parameter in tensors]
    names = [name for number, group in enumerate(optimizer.param_groups) for name in _names_of(group, number)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two tensors of the optimizer are called {twice!r}; give the model, model=...")
    plain = _plain(names, plan)
    return [plain[name] for name in names]


def _plain(names: Sequence[str], plan: ScalingPlan | ReferencePlan | None) -> dict[str, str]:
    """Names without what wrappers put in; what DDP puts in front can be told only by a plan."""
    if plan is None:
        return {name: without_wrappers(name) for name in names}
    return plain_names(names, plan.rows)


def _names_of(group: dict[str, Any], number: int) -> list[str]:
    count = len(group["params"])
    names = group.get("param_names")
    if names is None:
        return [f"group {number}, tensor {place}" for place in range(count)]
    if len(names) != count:
        raise ValueError(
            f"group {number} has {count} tensors and {len(names)} param_names; give the model instead"
        )
    return list(names)


def check_plan(plan: ScalingPlan | ReferencePlan, optimizer: Optimizer, names: Sequence[str]) -> None:
    """Check that a plan has a row for every tensor, of its shape.

    Raises:
        ValueError: it has not.
    """
    unknown = [name for name in names if name not in plan.rows]
    if unknown:
        raise ValueError(
            f"this plan is for another model: it does not know {', '.join(unknown[:SHOWN])}"
            + (f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else "")
            + "; if the groups have no param_names, give the model, model=..."
        )
    if isinstance(plan, ScalingPlan):
        tensors = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        check_shapes(dict(zip(names, tensors, strict=True)), plan.rows, plan.width)
