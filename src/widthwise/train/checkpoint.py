"""Checkpoints of a population: where its training stood, for a run that was stopped to go on from, bit for bit.

A checkpoint belongs to one recipe, one list of members and one corpus: their hash is in it. Anything else, and
anything damaged, is left aside with a warning, and training begins at step 0.
"""

import hashlib
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from widthwise.records import AlignmentPoint, Since
from widthwise.train.checkpoint_file import read_tensors, write_tensors
from widthwise.train.checkpoint_timer import CheckpointTimer
from widthwise.train.corpus import Corpus
from widthwise.train.member import Divergence, Member, Outcome, Recipe


@dataclass(frozen=True)
class Checkpoint:
    """Where a population stood.

    Args:
        identity: see `run_identity`.
        step: how many steps were done.
        members: who was still trained, as positions in the list of members, in the order of the tensors.
        ended: the outcomes of those who were dropped before.
        tensors: by name, [P, ...], P being the number of `members`; see `TrainingStep.snapshot`.
    """

    identity: str
    step: int
    members: tuple[int, ...]
    ended: Mapping[int, Outcome]
    tensors: Mapping[str, Tensor]

    @property
    def size(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


def run_identity(recipe: Recipe, members: Sequence[Member], corpus: Corpus) -> str:
    """SHA-256 over all that a population's training depends on but the machine, hexadecimal."""
    own = [(sorted(m.numbers.items()), m.init_seed, m.data_seed) for m in members]
    return hashlib.sha256(repr((recipe, own, corpus.digest)).encode()).hexdigest()


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in place of the one before; see `write_tensors`."""
    write_tensors(path, {"step": checkpoint.step, **header_of(checkpoint)}, checkpoint.tensors)


def header_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a checkpoint says beside its step and its tensors, as JSON has it."""
    return {
        "identity": checkpoint.identity,
        "members": list(checkpoint.members),
        "ended": {str(position): outcome_json(outcome) for position, outcome in checkpoint.ended.items()},
    }


def checkpoint_of(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Checkpoint:
    """The inverse of `header_of`, of a header with its step."""
    ended = {int(position): outcome_from_json(fields) for position, fields in header["ended"].items()}
    return Checkpoint(header["identity"], header["step"], tuple(header["members"]), ended, tensors)


def load_checkpoint(path: Path, *, identity: str) -> Checkpoint | None:
    """The checkpoint of a run, or None if there is none, with a warning if what is there is not it."""
    try:
        header, tensors = read_tensors(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        _warn_unusable(path, str(error))
        return None
    if header["identity"] != identity:
        _warn_unusable(path, "it belongs to another recipe, other members or another corpus")
        return None
    return checkpoint_of(header, tensors)


def part_of_checkpoint(checkpoint: Checkpoint, members: Sequence[int], *, identity: str) -> Checkpoint:
    """The checkpoint of a population of some of the members, alone.

    Args:
        members: positions, all among `checkpoint.members`; they become 0, 1, ... of the new population.
        identity: the new population's.
    """
    rows = [checkpoint.members.index(position) for position in members]
    return Checkpoint(
        identity=identity,
        step=checkpoint.step,
        members=tuple(range(len(rows))),
        ended={},
        tensors={name: tensor[rows] for name, tensor in checkpoint.tensors.items()},
    )


def _warn_unusable(path: Path, reason: str) -> None:
    warnings.warn(f"checkpoint {str(path)!r} is not used: {reason}; training begins at step 0", stacklevel=4)


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """A dropped member's outcome, as JSON values."""
    assert outcome.divergence is not None  # only the dead are dropped
    divergence = outcome.divergence
    measured = [astuple(point) for point in outcome.alignment]
    return {
        "step": divergence.step,
        "reason": divergence.reason,
        "curve": outcome.curve,
        "alignment": measured,
    }


def outcome_from_json(fields: Mapping[str, Any]) -> Outcome:
    """What `outcome_json` gave."""
    curve = tuple((step, loss) for step, loss in fields["curve"])
    measured = tuple(
        AlignmentPoint(step, layer, Since(since), *gains)
        for step, layer, since, *gains in fields["alignment"]
    )
    return Outcome(None, Divergence(fields["step"], fields["reason"]), curve, measured)


@dataclass(frozen=True)
class Checkpoints:
    """Where and how often a population's state is kept.

    Args:
        path: the file, replaced each time; its folder is made if it is not there.
        every_seconds: at least; more, or none at all, where `CheckpointTimer` asks for it. Infinite for none but when
            training is told to stop.

    Raises:
        ValueError: a negative interval.
    """

    path: Path
    every_seconds: float

    def __post_init__(self) -> None:
        if not self.every_seconds >= 0:
            raise ValueError(
                f"checkpoints every {self.every_seconds} seconds: the interval must be at least 0"
            )


class CheckpointKeeper:
    """Writes a population's checkpoints when they are due; see `CheckpointTimer`.

    A checkpoint that cannot be written (a full disk) costs a warning, once, not the run.
    """

    def __init__(self, checkpoints: Checkpoints, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = checkpoints.path, clock
        self._timer = CheckpointTimer(checkpoints.every_seconds, clock=clock)
        self._failed = False

    def load(self, identity: str) -> Checkpoint | None:
        """What a run can go on from; see `load_checkpoint`."""
        found = load_checkpoint(self._path, identity=identity)
        self._timer.begin(0 if found is None else found.step)
        return found

    def due(self, *, done: int, steps: int, size: int) -> bool:
        """Whether it is time; see `CheckpointTimer.due`."""
        return self._timer.due(done=done, steps=steps, size=size)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint."""
        began, path = self._clock(), self._path
        try:
            path.parent.mkdir(exist_ok=True)
            save_checkpoint(path, checkpoint)
        except OSError as error:
            if not self._failed:
                warnings.warn(
                    f"checkpoint {str(path)!r} cannot be written: {error}; training goes on without",
                    stacklevel=3,
                )
            self._failed = True
        self._timer.written(done=checkpoint.step, size=checkpoint.size, began=began)
