"""The rows of a study and the reader of its store. Standard library alone."""

from widthwise.records.best_runs import BestRuns, best_runs
from widthwise.records.read_sizes import read_sizes, read_spreads, read_tensors
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
from widthwise.records.sizes import Magnitude, SizePoint, Spread, TensorRow
from widthwise.records.unfinished import unfinished

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
    "Magnitude",
    "PopulationRow",
    "PopulationStatus",
    "ProposalRow",
    "RevisionRow",
    "RoundRow",
    "Since",
    "SizePoint",
    "Spread",
    "StoredStudy",
    "SweepRow",
    "TensorRow",
    "TrialRow",
    "TrialStatus",
    "best_runs",
    "check_store",
    "read_alignment",
    "read_curves",
    "read_layers",
    "read_sizes",
    "read_spec",
    "read_spreads",
    "read_study",
    "read_tensors",
    "unfinished",
    "upgrade",
]
