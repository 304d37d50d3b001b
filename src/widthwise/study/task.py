"""What passes between the store's one writer and those who train: populations one way, what becomes of them the other.

All of it is frozen values of plain ones. A worker's `Revise` is a question: it goes on when the writer has answered,
and the writer answers when the revision is on the disk.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from widthwise.records import PopulationRow, TrialRow
from widthwise.study.checkpoints import checkpoint_path
from widthwise.study.measure_spec import MeasureSpec
from widthwise.study.trial_result import TrialResult


@dataclass(frozen=True)
class Job:
    """What all populations of a run have in common.

    Args:
        spec: the specification's text; it names the corpus, which whoever trains reads for itself.
        corpus: the hash of the text that the store was begun with.
        device: `cpu` or `cuda`.
        store: the store's file, absolute; checkpoints lie beside it.
        checkpoint_seconds: how often the state of a population in training is kept.
        measure: what is measured on the way.
    """

    spec: str
    corpus: str
    device: str
    store: Path
    checkpoint_seconds: float
    measure: MeasureSpec | None = None


@dataclass(frozen=True)
class Task:
    """A population to be trained.

    Args:
        population: as recorded when the task was given out.
        trials: who began, in order.
        attempt: how many times it had been given out before in this run.
    """

    population: PopulationRow
    trials: tuple[TrialRow, ...]
    attempt: int = 0

    @property
    def key(self) -> tuple[int, int]:
        """What messages about it are marked with: those about an attempt that was given up are not heard."""
        return self.population.id, self.attempt

    def checkpoint(self, store: Path) -> Path:
        """The file that its state is kept in, beside a store."""
        return checkpoint_path(store, self.population.id)


@dataclass(frozen=True)
class Begun:
    """Training begins after this many steps: 0, or those of a checkpoint."""

    step: int


@dataclass(frozen=True)
class AtStep:
    """So many steps are done."""

    step: int


@dataclass(frozen=True)
class Revise:
    """From `from_step` steps on, these trials are trained, in this order: to be recorded before it takes effect."""

    from_step: int
    trials: tuple[int, ...]


@dataclass(frozen=True)
class Warned:
    """A warning, for whoever watches the run."""

    text: str


@dataclass(frozen=True)
class Trained:
    """How a population's trials ended, and how long that took."""

    results: tuple[TrialResult, ...]
    seconds: float


@dataclass(frozen=True)
class OutOfMemory:
    """That a population did not fit.

    Args:
        says: that, in the device's own words.
        there: the device's bytes.
        one_gpu: whether it is a GPU that trains by itself.
    """

    says: str
    there: int
    one_gpu: bool


@dataclass(frozen=True)
class Raised:
    """An error in training.

    Args:
        says: its type and message.
        bad_input: whether it was a `ValueError`, which is how every room reports bad input.
        traceback: as Python prints it.
    """

    says: str
    bad_input: bool
    traceback: str


Outcome = Trained | OutOfMemory | Raised
Message = Begun | AtStep | Revise | Warned | Outcome


class LostWorkerError(RuntimeError):
    """A worker is gone, or was told to stop; what it had begun is trained again."""


Facts = Mapping[str, str]
"""See `runner.host_facts`."""
