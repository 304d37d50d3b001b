"""What all optimizers' state dictionaries share: the objects of a group as plain values, and the groups matched."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from widthwise.optim.parameter_scaling import ParameterScaling
from widthwise.optim.rounding import NEAREST, StochasticRounding
from widthwise.optim.weight_decay import WeightDecay

Group = dict[str, Any]


def plain_objects(group: Mapping[str, Any]) -> Group:
    """A group with its decay, rounding and scaling as plain values."""
    decay, rounding, scaling = group["weight_decay"], group["rounding"], group["parameter_scaling"]
    return {
        **group,
        "weight_decay": {"per_rate": decay.per_rate, "per_step": decay.per_step},
        "rounding": {"seed": rounding.seed} if isinstance(rounding, StochasticRounding) else None,
        "parameter_scaling": None if scaling is None else {"floor": scaling.floor},
    }


def objects_from_plain(saved: Mapping[str, Any]) -> Group:
    """The inverse of `plain_objects`."""
    rounding, scaling = saved["rounding"], saved["parameter_scaling"]
    return {
        **saved,
        "weight_decay": WeightDecay(**saved["weight_decay"]),
        "rounding": NEAREST if rounding is None else StochasticRounding(**rounding),
        "parameter_scaling": None if scaling is None else ParameterScaling(**scaling),
    }


def matched_groups(saved: Mapping[str, Any], present: Sequence[Group]) -> Iterator[tuple[Group, Group]]:
    """Each group of a saved state with the present one of its place.

    Raises:
        ValueError: they are not as many, or not of as many parameters.
    """
    sizes = [[len(group["params"]) for group in side] for side in (saved["param_groups"], present)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"saved groups of {sizes[0]} parameters, present ones of {sizes[1]}: they must agree"
        )
    return zip(saved["param_groups"], present, strict=True)
