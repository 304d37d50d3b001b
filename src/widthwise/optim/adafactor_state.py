"""Adafactor's parameter groups as plain values, and its state read back: what a checkpoint holds.

Objects of a group become numbers, so that a checkpoint loads with `weights_only=True`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from widthwise.optim.adafactor_single import AdafactorConstants, initial_state
from widthwise.optim.saved_groups import Group, matched_groups, objects_from_plain

StateDict = dict[str, Any]

CONSTANTS = tuple(field.name for field in fields(AdafactorConstants))


def constants_of(group: Mapping[str, Any]) -> AdafactorConstants:
    """The constants in a parameter group.

    Raises:
        ValueError: one of them is out of its range.
    """
    return AdafactorConstants(**{name: group[name] for name in CONSTANTS})


def group_from_plain(saved: Mapping[str, Any]) -> Group:
    """The inverse of `plain_objects`.

    Raises:
        ValueError: the group is another optimizer's.
    """
    missing = [name for name in (*CONSTANTS, "rounding") if name not in saved]
    if missing:
        raise ValueError(
            f"the saved groups have no {missing[0]!r}: they are another optimizer's, whose state Adafactor cannot go "
            "on from; load one that widthwise.optim.Adafactor saved, or begin without a state"
        )
    return objects_from_plain(saved)


def state_of(
    parameter: Tensor, *, constants: AdafactorConstants, step_device: torch.device
) -> dict[str, Tensor]:
    """A parameter's whole state before its first step."""
    return {
        "step": torch.zeros((), dtype=torch.float32, device=step_device),
        **initial_state(parameter, constants=constants),
        "non_finite_step": torch.zeros((), dtype=torch.float32, device=parameter.device),
    }


def read_state_dict(
    saved: Mapping[str, Any],
    present: Sequence[Group],
    step_device: Callable[[Group, Tensor], torch.device],
) -> tuple[list[Group], dict[Tensor, dict[str, Tensor]]]:
    """The groups, and each parameter's state in memory of its own, from a saved state.

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
        group = group_from_plain(theirs)
        groups.append(group)
        constants = constants_of(group)
        for number, parameter in zip(group["params"], ours["params"], strict=True):
            if number not in saved["state"]:
                continue
            fresh = state_of(parameter, constants=constants, step_device=step_device(group, parameter))
            state[parameter] = _filled(fresh, saved["state"][number], number=number, parameter=parameter)
    return groups, state


def _filled(
    fresh: dict[str, Tensor], saved: Mapping[str, Any], *, number: int, parameter: Tensor
) -> dict[str, Tensor]:
    """The saved numbers in the memory of a fresh state."""
    if set(saved) != set(fresh):
        raise ValueError(
            f"the saved state of parameter {number}, of shape {tuple(parameter.shape)}, has {sorted(saved)}; under "
            f"its group's options it has {sorted(fresh)}: load the state of the same model"
        )
    for name, target in fresh.items():
        value = torch.as_tensor(saved[name])
        if value.shape != target.shape:
            raise ValueError(
                f"saved {name!r} of parameter {number} has shape {tuple(value.shape)}, it needs "
                f"{tuple(target.shape)} for a parameter of {tuple(parameter.shape)}: load the state of the same model"
            )
        target.copy_(value)
    return fresh
