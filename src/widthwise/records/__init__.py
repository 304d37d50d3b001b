"""The rows of a study and the reader of its store. Standard library alone."""

from widthwise.records.best_runs import BestRuns, best_runs
from widthwise.records.reader import (
    check_store,
    read_alignment,
    read_curves,
    read_layers,
    read_spec,
    read_study,
    upgrade,
)
from widthwise.records.rows import (
    AlignmentPoint,
    ArmRow,
    CellRow,
    LayerRow,
    PopulationRow,
    PopulationStatus,
    ProposalRow,
    RevisionRow,
    RoundRow,
    Since,
    StoredStudy,
    SweepRow,
    TrialRow,
    TrialStatus,
)
from widthwise.records.schema import APPLICATION_ID, SCHEMA, SCHEMA_VERSION, UPGRADES

__all__ = [
    "APPLICATION_ID",
    "SCHEMA",
    "SCHEMA_VERSION",
    "UPGRADES",
    "AlignmentPoint",
    "ArmRow",
    "BestRuns",
    "CellRow",
    "LayerRow",
    "PopulationRow",
    "PopulationStatus",
    "ProposalRow",
    "RevisionRow",
    "RoundRow",
    "Since",
    "StoredStudy",
    "SweepRow",
    "TrialRow",
    "TrialStatus",
    "best_runs",
    "check_store",
    "read_alignment",
    "read_curves",
    "read_layers",
    "read_spec",
    "read_study",
    "upgrade",
]
