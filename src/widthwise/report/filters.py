"""What a page can be filtered by: the parts that prescriptions are made of, and widths."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from widthwise.analysis.arm_label import ArmLabel

FEW = 8
"""Up to so many prescriptions are chosen one by one, whatever they are made of."""
TITLES = {
    "optimizer": "optimizer",
    "parameterization": "parameterization",
    "prescription": "rates",
    "constants": "constants",
    "epsilon": "epsilon",
    "weight_decay": "weight decay",
    "horizon": "horizon",
}


@dataclass(frozen=True)
class Filter:
    """One group of choices.

    Args:
        axis: the name of the axis; `name` for the prescriptions themselves, `width` for widths.
        title: in words.
        choices: values in order.
    """

    axis: str
    title: str
    choices: tuple[str, ...]


def page_filters(
    names: Iterable[str], widths: Iterable[int], labels: Mapping[str, ArmLabel]
) -> tuple[Filter, ...]:
    """The groups of choices, those with a single choice left out.

    A few prescriptions are chosen by name; many whose parts are known by their parts.
    """
    names = list(names)
    if len(names) <= FEW or any(name not in labels for name in names):
        found = [Filter("name", "prescription", tuple(names))]
    else:
        found = [
            Filter(axis, title, tuple(dict.fromkeys(getattr(labels[name], axis) for name in names)))
            for axis, title in TITLES.items()
        ]
    found.append(Filter("width", "width", tuple(map(str, sorted(set(widths))))))
    return tuple(group for group in found if len(group.choices) > 1)


def arm_parts(names: Iterable[str], labels: Mapping[str, ArmLabel]) -> dict[str, dict[str, str]]:
    """Prescription -> axis -> value, its own name among them."""
    return {
        name: {"name": name}
        | (
            {axis.name: getattr(labels[name], axis.name) for axis in fields(ArmLabel)}
            if name in labels
            else {}
        )
        for name in names
    }
