"""The rows of a study and the reader of its store. Standard library alone."""

from widthwise.records.reader import check_store, read_curves, read_study
from widthwise.records.rows import (
    ArmRow,
    CellRow,
    PopulationRow,
    PopulationStatus,
    RevisionRow,
    StoredStudy,
    TrialRow,
    TrialStatus,
)
from widthwise.records.schema import APPLICATION_ID, SCHEMA, SCHEMA_VERSION

__all__ = [
    "APPLICATION_ID",
    "SCHEMA",
    "SCHEMA_VERSION",
    "ArmRow",
    "CellRow",
    "PopulationRow",
    "PopulationStatus",
    "RevisionRow",
    "StoredStudy",
    "TrialRow",
    "TrialStatus",
    "check_store",
    "read_curves",
    "read_study",
]
