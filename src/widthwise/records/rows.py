"""The rows of a study's store, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class TrialStatus(StrEnum):
    """How a trial stands. Diverged is a result; failed means that it could not be run."""

    PENDING = "pending"
    COMPLETED = "completed"
    DIVERGED = "diverged"
    FAILED = "failed"


@dataclass(frozen=True)
class ArmRow:
    """One prescription of a study: labels, and theory's exponents of the best rate as exact fractions' texts."""

    name: str
    parameterization: str
    prescription: str
    optimizer: str
    predicted_full: str
    predicted_none: str


@dataclass(frozen=True)
class TrialRow:
    """One training run.

    Args:
        identity: SHA-256 of the recipe, hexadecimal.
        recipe: canonical JSON of everything the run depends on.
        step: where it diverged.
        validation_loss: nats per token, for a completed trial.
    """

    id: int
    identity: str
    recipe: str
    status: TrialStatus
    reason: str | None
    step: int | None
    validation_loss: float | None


@dataclass(frozen=True)
class CellRow:
    """A named point of a study and the trial that serves it."""

    arm: str
    width: int
    learning_rate: float
    seed: int
    trial: int


@dataclass(frozen=True)
class PopulationRow:
    """Trials trained side by side, in order; `seconds` once it has run.

    Args:
        micro_batches: the pieces in which a step's batch runs.
        recompute: whether blocks are computed again in the backward pass.
    """

    id: int
    completed: bool
    seconds: float | None
    trials: tuple[int, ...]
    micro_batches: int = 1
    recompute: bool = False


@dataclass(frozen=True)
class StoredStudy:
    """Everything in a store but its curves and measurements.

    Args:
        spec: the study's specification as it was given, YAML.
        corpus: the hash of the text it trains on.
        base_width: the width that rates are relative to; it need not be one of those trained.
        hosts: one mapping of facts per process that worked on it.
        trials: by id.
    """

    name: str
    spec: str
    corpus: str
    base_width: int
    hosts: tuple[Mapping[str, str], ...]
    arms: tuple[ArmRow, ...]
    trials: Mapping[int, TrialRow]
    cells: tuple[CellRow, ...]
    populations: tuple[PopulationRow, ...]
