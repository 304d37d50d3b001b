"""The moments that an optimizer of Adam's form keeps of every tensor, as they enter its denominator.

What counts is the state, not the class: `exp_avg` with `exp_avg_sq` (v) or `exp_avg_rms` (sqrt(v)), and `step`; with
amsgrad `max_exp_avg_sq` is what divides. Optimizers without them have no such epsilon and are refused.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

SQUARED_KEY = "exp_avg_sq"
ROOT_KEY = "exp_avg_rms"
"""The name of the second moment in a state that keeps its root; `widthwise.optim.ROOT` has it."""

UNCORRECTED = frozenset({"RAdam", "SparseAdam"})
"""Classes of PyTorch's that add epsilon to sqrt(v) before it is corrected for its bias."""

OTHER = {
    "SGD": "it divides by no gradient's size",
    "Adamax": "it divides by the largest gradient, not by a mean",
    "RMSprop": "its state has another form",
    "Adagrad": "it sums squares without forgetting",
    "Adadelta": "its epsilon is inside two roots",
    "Adafactor": "its second moment is factored",
    "ASGD": "it divides by no gradient's size",
    "Rprop": "it divides by no gradient's size",
    "LBFGS": "it divides by no gradient's size",
    "Muon": "its updates are orthogonal",
}
"""Why PyTorch's other optimizers are refused, by their unqualified names; said before the first step already."""


@dataclass(frozen=True)
class Moments:
    """One tensor's moments.

    Args:
        parameter: which tensor.
        first: m, or None if the tensor has never had a gradient.
        second: v or its root, like m.
        squared: whether `second` is v.
        correction: what the root is divided by, sqrt(1 - beta2^step); on the device of `step` if that is not the host.
        epsilon: that is added to the root; None if there is none.
        step: how many updates the moments have seen; a tensor if it is on a device.
    """

    parameter: Tensor
    first: Tensor | None
    second: Tensor | None
    squared: bool
    correction: float | Tensor
    epsilon: float | None
    step: float | Tensor


def unwrapped_optimizer(optimizer: Any) -> Optimizer:
    """The optimizer that a wrapper holds as `optimizer`, as Accelerate's does.

    Raises:
        ValueError: neither an optimizer of PyTorch's form nor a wrapper of one, or one that is not of Adam's form.
    """
    inner = getattr(optimizer, "optimizer", optimizer)
    if not isinstance(inner, Optimizer):
        raise ValueError(f"{type(optimizer).__name__} is not a torch.optim.Optimizer, nor does it hold one")
    names = [cls.__name__ for cls in type(inner).__mro__]
    known = next((name for name in names if name in OTHER), None)
    unfit = next((group for group in inner.param_groups if "betas" not in group), None)
    if known is not None or unfit is not None:
        why = OTHER[known] if known is not None else "its groups have no betas"
        raise ValueError(
            f"the optimizer is {names[0]}, which has no epsilon beside a second moment ({why}): the report is for "
            "Adam, AdamW, NAdam, RAdam, AdamAtan2 and what keeps the same state"
        )
    return inner


def check_epsilon(epsilon: float, name: str = "epsilon") -> float:
    """The epsilon itself.

    Raises:
        ValueError: it is negative, infinite or NaN.
    """
    if not 0 <= epsilon < math.inf:
        raise ValueError(f"{name} = {epsilon} must be finite and not below 0")
    return float(epsilon)


def read_moments(optimizer: Optimizer, *, epsilon: float | None) -> Iterator[Moments]:
    """The moments of every tensor, in the order of the groups.

    Args:
        epsilon: instead of the groups' `eps`.

    Raises:
        ValueError: a state of another form, or a group with an epsilon that is none.
    """
    names = {cls.__name__ for cls in type(optimizer).__mro__}
    corrected = UNCORRECTED.isdisjoint(names)
    for number, group in enumerate(optimizer.param_groups):
        own = group.get("eps") if epsilon is None else epsilon
        if own is not None:
            own = check_epsilon(own, f"eps of group {number}")
        for parameter in group["params"]:
            state = optimizer.state.get(parameter) or None
            if state is None:
                yield Moments(parameter, None, None, True, 1.0, own, 0.0)
                continue
            key = second_moment_key(state, group, type(optimizer).__name__)
            step = state["step"]
            step = float(step) if not isinstance(step, Tensor) or step.device.type == "cpu" else step
            correction = root_correction(step, float(group["betas"][1])) if corrected else 1.0
            yield Moments(parameter, state["exp_avg"], state[key], key != ROOT_KEY, correction, own, step)


def second_moment_key(state: Mapping[str, Any], group: Mapping[str, Any], optimizer: str) -> str:
    """The name of what the denominator is made of.

    Raises:
        ValueError: a state without moments of every coordinate.

    Example:
        >>> state = {name: torch.ones(2) for name in ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")}
        >>> second_moment_key(state, {"amsgrad": True}, "Adam")
        'max_exp_avg_sq'
    """
    largest = "max_exp_avg_sq"
    key = largest if group.get("amsgrad") else ROOT_KEY if ROOT_KEY in state else SQUARED_KEY
    missing = [name for name in ("step", "exp_avg", key) if name not in state]
    if missing:
        raise ValueError(
            f"the state of {optimizer} holds {', '.join(map(str, state))}, and no {' nor '.join(missing)}: the report "
            f"needs step, exp_avg, and {SQUARED_KEY} or {ROOT_KEY}"
        )
    if state["exp_avg"].shape != state[key].shape:
        raise ValueError(
            f"the state of {optimizer} has exp_avg of shape {list(state['exp_avg'].shape)} and {key} of shape "
            f"{list(state[key].shape)}: a factored second moment is no coordinate's own"
        )
    return key


def root_correction(step: float | Tensor, beta2: float) -> float | Tensor:
    """sqrt(1 - beta2^step), the weight of a root mean square that began at zero.

    Example:
        >>> round(root_correction(2.0, 0.75) ** 2, 12)  # 1 - 9/16
        0.4375
    """
    rate = math.log(beta2) if beta2 > 0 else -math.inf
    if isinstance(step, Tensor):
        return torch.sqrt(-torch.expm1(step * rate))
    return math.sqrt(-math.expm1(step * rate)) if step else 0.0
