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


class Since(StrEnum):
    """What a change is counted from: the weights at initialization, or those before the last update."""

    START = "start"
    UPDATE = "update"


@dataclass(frozen=True)
class AlignmentPoint:
    """Log gains of one layer of one trial after one step; None where undefined.

    Args:
        layer: the tensor's name.
        since: what the changes are counted from.
        alpha, omega, u: natural logarithms of ||dW z_0|| / (||dW|| ||z_0||), ||W_0 dz|| / (||W_0|| ||dz||) and
            ||dW dz|| / (||dW|| ||dz||), root mean squares over entries and tokens.
        product: that of ||W z|| / (||W|| ||z||).
    """

    step: int
    layer: str
    since: Since
    alpha: float | None
    omega: float | None
    u: float | None
    product: float | None


@dataclass(frozen=True)
class LayerRow:
    """A layer that is measured.

    Args:
        width: of the model.
        name: of its weights.
        role: `hidden` or `readout`.
        fan_in: how many entries its products sum over.
    """

    width: int
    name: str
    role: str
    fan_in: int


class PopulationStatus(StrEnum):
    """How a population stands. Split: it did not fit on a device, and its trials went on as smaller populations."""

    PENDING = "pending"
    COMPLETED = "completed"
    SPLIT = "split"


@dataclass(frozen=True)
class RevisionRow:
    """Who is trained, in order, once `from_step` steps are done; a later row stands for all from its step on."""

    from_step: int
    trials: tuple[int, ...]


@dataclass(frozen=True)
class PopulationRow:
    """Trials trained side by side.

    Args:
        seconds: what the process that finished it spent on it; None before.
        revisions: who was trained from which step on, as recorded; the first says who began. It begins at a later
            step than 0 for a part of a split population that goes on from that one's checkpoint.
        split_from: the population that this is a part of, if it is one.
        micro_batches: the pieces in which a step's batch runs.
        recompute: whether blocks are computed again in the backward pass.
        host: the process that finished it, from 1 in the order of the study's hosts; None before.
    """

    id: int
    status: PopulationStatus
    seconds: float | None
    revisions: tuple[RevisionRow, ...]
    split_from: int | None = None
    micro_batches: int = 1
    recompute: bool = False
    host: int | None = None

    @property
    def completed(self) -> bool:
        """Whether its results are in the store."""
        return self.status is PopulationStatus.COMPLETED

    @property
    def trials(self) -> tuple[int, ...]:
        """Who began, in order."""
        return self.revisions[0].trials


@dataclass(frozen=True)
class SweepRow:
    """Where the planned sweep of one arm and width stands.

    Args:
        outcome: how its search ended; None while rates are still to be found.
        best: the rate of lowest loss; None before, or if none trained.
        reason: one sentence about the outcome.
        done: whether nothing is wanted any more, further seeds included.
    """

    arm: str
    width: int
    outcome: str | None = None
    best: float | None = None
    reason: str = ""
    done: bool = False


@dataclass(frozen=True)
class ProposalRow:
    """Constants that a search has proposed.

    Args:
        number: counts the proposals for an arm from 1.
        phase: counts the ranges that it was drawn from, from 0.
        learning_rate: the base rate that the constants multiply.
    """

    arm: str
    number: int
    phase: int
    embedding: float
    hidden: float
    readout: float
    learning_rate: float
    trial: int


@dataclass(frozen=True)
class RoundRow:
    """One round of planned sweeps, and what was asked of its populations: the most members, the most minutes."""

    id: int
    members: int | None
    minutes: float | None


@dataclass(frozen=True, repr=False)
class StoredStudy:
    """Everything in a store but its curves and what was measured.

    Args:
        spec: the study's specification as it was given, YAML.
        corpus: the hash of the text it trains on.
        base_width: the width that rates are relative to; it need not be one of those trained.
        hosts: one mapping of facts per process that worked on it.
        trials: by id.
        populations: by id, those that were split included; their trials are in others too, or have ended.
        sweeps: every arm and width whose rates are planned while the study runs.
        rounds: those that were begun, if there are any such.
        proposals: by arm and number, if the store is a search for constants.
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
    sweeps: tuple[SweepRow, ...] = ()
    rounds: tuple[RoundRow, ...] = ()
    proposals: tuple[ProposalRow, ...] = ()

    def __repr__(self) -> str:
        """One line: a store's rows are thousands."""
        statuses = [trial.status for trial in self.trials.values()]
        ends = ", ".join(f"{statuses.count(s)} {s.value}" for s in TrialStatus if s in statuses)
        widths = sorted({cell.width for cell in self.cells})
        span = f", widths {widths[0]} to {widths[-1]}" if widths else ""
        return f"<StoredStudy {self.name!r}: {len(self.arms)} prescriptions{span}; trials: {ends or 'none'}>"

    @property
    def sweeping(self) -> bool:
        """Whether a sweep may want more trials than there are."""
        return not all(row.done for row in self.sweeps)

    def pending_populations(self) -> tuple[PopulationRow, ...]:
        """Those that are yet to be trained, in order: the parts of one that was split stand in its place."""
        rows = {population.id: population for population in self.populations}

        def place(population: PopulationRow) -> tuple[int, ...]:
            before = () if population.split_from is None else place(rows[population.split_from])
            return (*before, population.id)

        pending = [p for p in self.populations if p.status is PopulationStatus.PENDING]
        return tuple(sorted(pending, key=place))
