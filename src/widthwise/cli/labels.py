"""What the prescriptions of a store are made of: the study room reads it, the analysis is told."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from widthwise.analysis import ArmLabel
    from widthwise.report.joined_studies import LabelledStudy


def arm_labels(store: Path) -> "dict[str, ArmLabel]":
    """Prescription -> its label.

    Raises:
        ValueError: not a store.
    """
    from widthwise.analysis import ArmLabel
    from widthwise.records import read_spec
    from widthwise.study import arm_axes

    return {name: ArmLabel(**axes) for name, axes in arm_axes(read_spec(store)).items()}


def labelled_study(store: Path) -> "LabelledStudy":
    """A store with its labels, and what it measured of alignment.

    Raises:
        ValueError: not a store.
    """
    from widthwise.records import read_alignment, read_layers, read_study
    from widthwise.report.alignment_series import measured_rows
    from widthwise.report.joined_studies import LabelledStudy
    from widthwise.study import own_epsilon

    study = read_study(store)
    alignment = measured_rows(study, read_layers(store), read_alignment(store))
    return LabelledStudy(study, arm_labels(store), own_epsilon(study.spec), alignment)
