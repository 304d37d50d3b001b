"""What the prescriptions of a store are made of: the study room reads it, the analysis is told."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from widthwise.analysis import ArmLabel


def arm_labels(store: Path) -> "dict[str, ArmLabel]":
    """Prescription -> its label.

    Raises:
        ValueError: not a store.
    """
    from widthwise.analysis import ArmLabel
    from widthwise.records import read_spec
    from widthwise.study import arm_axes

    return {name: ArmLabel(**axes) for name, axes in arm_axes(read_spec(store)).items()}
