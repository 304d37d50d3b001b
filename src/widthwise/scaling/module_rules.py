"""What a module says about one of its parameters: the row of its class, or of the nearest class above it, in the table.

Only the class's qualified name and, for convolutions, its number of groups are read; torch is not imported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol, TypeGuard

from widthwise.scaling.axis import Axis
from widthwise.scaling.module_table import LIBRARY_FAMILIES, MODULES, Rows

CONVOLUTION = "torch.nn.modules.conv._ConvNd"


class Grouped(Protocol):
    """A convolution: its channels fall into groups that do not mix."""

    groups: int


@dataclass(frozen=True)
class ModuleAxes:
    """What a module type says: its qualified name, and the axes of the parameter's dimensions."""

    module: str
    axes: tuple[Axis, ...]


def module_axes(owners: Sequence[object], parameter: str, dimensions: int) -> ModuleAxes | None:
    """What the owner's type says about a parameter, or None if no class of its ancestry is in the table.

    A convolution whose number of groups grows with the width acts on each group apart: the dimension that its groups
    share is elementwise. With a fixed number of groups it is produced (or contracted, transposed) as without any.

    Args:
        owners: the module that holds the parameter, at each described width.
        parameter: its name in that module.
        dimensions: of the parameter.

    Example:
        >>> from torch import nn
        >>> layers = [nn.Conv1d(n, n, 4, groups=n) for n in (2, 4, 8)]
        >>> [axis.value for axis in module_axes(layers, "weight", 3).axes]
        ['elementwise', 'contracted', 'contracted']
        >>> module_axes([nn.Identity()] * 3, "weight", 2) is None
        True
    """
    for name in ancestry(owners[0]):
        for pattern, row in _rows(name).items():
            if fnmatchcase(parameter, pattern):
                axes = row + (row[-1],) * (dimensions - len(row))
                if _is_convolution(owners) and dimensions > 1 and len({owner.groups for owner in owners}) > 1:
                    axes = (Axis.ELEMENTWISE, *axes[1:])
                return ModuleAxes(name, axes[:dimensions])
    if dimensions == 1 and "Norm" in type(owners[0]).__name__:
        return ModuleAxes(ancestry(owners[0])[0], (Axis.ELEMENTWISE,))
    return None


def _rows(name: str) -> Rows:
    """The table's row of a class, or of the family that its name belongs to; empty if there is none."""
    for (start, end), rows in LIBRARY_FAMILIES.items():
        if name.startswith(start) and name.endswith(end):
            return rows
    return MODULES.get(name, {})


def ancestry(owner: object) -> list[str]:
    """The qualified names of an object's class and of those above it, nearest first."""
    return [f"{cls.__module__}.{cls.__qualname__}" for cls in type(owner).__mro__]


def _is_convolution(owners: Sequence[object]) -> TypeGuard[Sequence[Grouped]]:
    return all(CONVOLUTION in ancestry(owner) for owner in owners)
