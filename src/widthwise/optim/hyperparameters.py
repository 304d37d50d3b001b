"""What a parameter group may say; every complaint names the number and what to do."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NoReturn

from torch import Tensor

from widthwise.optim.parameter_scaling import ParameterScaling
from widthwise.optim.rounding import NearestRounding, StochasticRounding
from widthwise.optim.second_moment import SECOND_MOMENTS
from widthwise.optim.weight_decay import WeightDecay


def check_rate(lr: float | Tensor) -> None:
    """A finite number that is not negative (0 is one), or a tensor of one; a tensor's value is not read.

    Raises:
        ValueError: it is not.
    """
    if isinstance(lr, Tensor):
        if lr.numel() != 1:
            raise ValueError(f"lr is a tensor of shape {tuple(lr.shape)}: give one with a single element")
    elif not (isfinite(lr) and lr >= 0):
        raise ValueError(f"lr = {lr}: give a finite number that is not negative")


def check_group(group: Mapping[str, Any]) -> None:
    """Everything in a group except its parameters and its direction, which checks itself.

    Raises:
        ValueError: a hyperparameter is out of its range or of another kind.
    """
    check_rate(group["lr"])
    betas = group["betas"]
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas = {tuple(betas)}: give two numbers from 0 to below 1")
    kinds = {
        "weight_decay": (WeightDecay, "WeightDecay.coupled(0.1) or WeightDecay.independent(1e-4)"),
        "rounding": ((NearestRounding, StochasticRounding), "NEAREST or StochasticRounding(seed=0)"),
        "second_moment": (tuple(map(type, SECOND_MOMENTS.values())), "SQUARED or ROOT"),
        "parameter_scaling": ((ParameterScaling, type(None)), "ParameterScaling() or None"),
    }
    for name, (kind, remedy) in kinds.items():
        if not isinstance(group[name], kind):
            raise ValueError(f"{name} = {group[name]!r}: give {remedy}")
    if group["foreach"] and group["fused"]:
        raise ValueError("foreach and fused are both True: ask for one of them")


def check_parameters(parameters: Sequence[Tensor]) -> None:
    """Real floating-point tensors, each once.

    Raises:
        ValueError: a parameter is complex or of integers, or is there twice.
    """
    seen: set[int] = set()
    for i, parameter in enumerate(parameters):
        if not parameter.is_floating_point():
            remedy = "optimize torch.view_as_real of it" if parameter.is_complex() else "leave it out"
            raise ValueError(
                f"parameter {i} is {parameter.dtype}, not a real floating-point tensor: {remedy}"
            )
        if id(parameter) in seen:
            raise ValueError(
                f"parameter {i}, of shape {tuple(parameter.shape)}, is in the group twice: name it once"
            )
        seen.add(id(parameter))


def refuse_gradient(parameter: Tensor, gradient: Tensor) -> NoReturn:
    """For a gradient that is not dense.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        f"the gradient of a parameter of shape {tuple(parameter.shape)} has layout {gradient.layout}: give "
        "a dense one (sparse=False in the embedding)"
    )
