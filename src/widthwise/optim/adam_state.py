"""State dictionaries: plain values only, and to and from torch.optim.Adam and AdamW.

Objects of a parameter group become numbers and names, so that a checkpoint loads with `weights_only=True`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from widthwise.optim.saved_groups import Group, matched_groups, objects_from_plain, plain_objects
from widthwise.optim.second_moment import SECOND_MOMENTS, SQUARED, SecondMoment, converted
from widthwise.optim.weight_decay import WeightDecay

StateDict = dict[str, Any]

DIRECTION = ("a", "b", "eps")
"""What only Adam-atan2, or only AdamW, has in its groups."""

OURS = "second_moment"
"""A group that has this key was saved by us; torch's have `amsgrad`."""


def plain_group(group: Mapping[str, Any]) -> Group:
    """A parameter group with its objects as plain values."""
    own = {"second_moment": group["second_moment"].key, "betas": tuple(group["betas"])}
    return plain_objects(group) | own


def group_from_plain(saved: Mapping[str, Any], present: Mapping[str, Any]) -> Group:
    """The inverse of `plain_group`; what only one of the two optimizers has stays as present, or is left out."""
    foreign = {name for name in DIRECTION if name not in present}
    own = {name: present[name] for name in DIRECTION if name in present}
    return {
        **own,
        **{name: value for name, value in objects_from_plain(saved).items() if name not in foreign},
        "second_moment": SECOND_MOMENTS[saved["second_moment"]],
        "betas": tuple(saved["betas"]),
    }


def group_from_torch(saved: Mapping[str, Any], present: Mapping[str, Any]) -> Group:
    """A group of torch.optim.Adam or AdamW: its rate, betas, decay and sign; epsilon where the present one has it.

    Raises:
        ValueError: the group uses AMSGrad, or an L2 penalty instead of decoupled decay.
    """
    if saved["amsgrad"]:
        raise ValueError(
            "the saved optimizer uses amsgrad, which is not implemented here: retrain without it"
        )
    if saved["weight_decay"] and not saved.get("decoupled_weight_decay", False):
        raise ValueError(
            f"the saved Adam has an L2 penalty of {saved['weight_decay']}, which passes through its moments; "
            "here weights decay directly: set the saved weight_decay to 0 and give a WeightDecay instead"
        )
    names = ("lr", "betas", "maximize", "params", *(["eps"] if "eps" in present else []))
    taken = {name: saved[name] for name in names}
    decay = WeightDecay.coupled(float(saved["weight_decay"]))
    return {**present, **taken, "betas": tuple(saved["betas"]), "weight_decay": decay}


def group_to_torch(group: Mapping[str, Any], *, eps: float) -> Group:
    """A group as torch.optim.AdamW's; `group` is one of a state dict, with the numbers of its parameters.

    Raises:
        ValueError: an independent weight decay, which AdamW does not have.
    """
    decay = group["weight_decay"]
    if decay.per_step:
        raise ValueError(
            f"weight decay of {decay.per_step} a step, whatever the rate: AdamW has only a coupled one; "
            "set the group's weight_decay to WeightDecay.coupled(...) first"
        )
    return {
        "lr": group["lr"],
        "betas": tuple(group["betas"]),
        "eps": eps,
        "weight_decay": decay.per_rate,
        "amsgrad": False,
        "maximize": group["maximize"],
        "foreach": None,
        "capturable": group["capturable"],
        "differentiable": False,
        "fused": None,
        "decoupled_weight_decay": True,
        **{name: group[name] for name in ("params", "param_names") if name in group},
    }


def form_of(state: Mapping[str, Any]) -> SecondMoment:
    """The form of the second moment that a parameter's saved state has.

    Raises:
        ValueError: it has none, or both.
    """
    found = [form for key, form in SECOND_MOMENTS.items() if key in state]
    if len(found) != 1 or "exp_avg" not in state or "step" not in state:
        raise ValueError(
            f"a saved state of {sorted(state)}: it needs 'step', 'exp_avg' and one of "
            f"{sorted(SECOND_MOMENTS)}, as saved by itself or by torch.optim.AdamW"
        )
    return found[0]


def initial_state(parameter: Tensor, *, key: str, step_device: torch.device) -> dict[str, Tensor]:
    """The state before the first step, in the parameter's layout; `key` names the second moment."""
    dtype = torch.float64 if parameter.dtype == torch.float64 else torch.float32
    return {
        "step": torch.zeros((), dtype=torch.float32, device=step_device),
        "exp_avg": torch.zeros_like(parameter, dtype=dtype, memory_format=torch.preserve_format),
        key: torch.zeros_like(parameter, dtype=dtype, memory_format=torch.preserve_format),
        "non_finite_step": torch.zeros((), dtype=torch.float32, device=parameter.device),
    }


def parameter_state(
    saved: Mapping[str, Any], parameter: Tensor, *, form: SecondMoment, number: int, step_device: torch.device
) -> dict[str, Tensor]:
    """A parameter's state from a saved one of either form, in memory of its own and in the parameter's layout.

    Raises:
        ValueError: a moment has another shape than the parameter, or there is no state to read.
    """
    source = form_of(saved)
    state = initial_state(parameter, key=form.key, step_device=step_device)
    state["step"].copy_(torch.as_tensor(saved["step"]))
    for key, target_key in (("exp_avg", "exp_avg"), (source.key, form.key)):
        value = saved[key]
        if value.shape != parameter.shape:
            raise ValueError(
                f"saved {key!r} of parameter {number} has shape {tuple(value.shape)}, the parameter "
                f"{tuple(parameter.shape)}: load the state of the same model"
            )
        if key == source.key:
            value = converted(value, source=source, target=form)
        state[target_key].copy_(value)
    if "non_finite_step" in saved:
        state["non_finite_step"].copy_(saved["non_finite_step"])
    return state


def to_adamw(state_dict: Mapping[str, Any], *, eps: float) -> StateDict:
    """A state dict with objects in its groups, as torch.optim.AdamW saves one."""
    groups = [group_to_torch(group, eps=eps) for group in state_dict["param_groups"]]
    state: dict[int, dict[str, Tensor]] = {}
    for group in state_dict["param_groups"]:
        for number in group["params"]:
            if number not in state_dict["state"]:
                continue
            ours = state_dict["state"][number]
            step = ours["step"].clone() if group["capturable"] else ours["step"].cpu().clone()
            form = form_of(ours)
            square = converted(ours[form.key], source=form, target=SQUARED)
            state[number] = {"step": step, "exp_avg": ours["exp_avg"].clone(), "exp_avg_sq": square.clone()}
    return {"state": state, "param_groups": groups}


def read_state_dict(
    saved: Mapping[str, Any],
    present: Sequence[Group],
    step_device: Callable[[Group, Tensor], torch.device],
) -> tuple[list[Group], dict[Tensor, dict[str, Tensor]]]:
    """The groups, and each parameter's state, from a saved state of ours or of torch's Adam and AdamW.

    Args:
        saved: the state dict.
        present: the optimizer's groups as they are, with their parameters.
        step_device: where a parameter of a group keeps its count of steps.

    Raises:
        ValueError: the groups do not match, or a parameter's state does not fit it.
    """
    groups: list[Group] = []
    state: dict[Tensor, dict[str, Tensor]] = {}
    for theirs, ours in matched_groups(saved, present):
        group = group_from_plain(theirs, ours) if OURS in theirs else group_from_torch(theirs, ours)
        groups.append(group)
        for number, parameter in zip(group["params"], ours["params"], strict=True):
            if number in saved["state"]:
                state[parameter] = parameter_state(
                    saved["state"][number],
                    parameter,
                    form=group["second_moment"],
                    number=number,
                    step_device=step_device(group, parameter),
                )
    return groups, state
