"""Compaction: a population of which at most half is alive goes on as a smaller one, of the living.

A member's arithmetic does not change, up to rounding that depends on an array's size, and what is left is trained as it
would have been. Who trains from which step on is a list of revisions: recorded before they take effect, and replayed,
not decided anew, by a run that begins again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Revision:
    """From `from_step` steps done on, these members are trained, side by side in this order.

    Args:
        members: positions in the list of members that training was given.
    """

    from_step: int
    members: tuple[int, ...]


class Record(Protocol):
    """What a training population is told of its past, and writes down of its present."""

    def revisions(self) -> Sequence[Revision]:
        """All revisions so far, in the order in which they were recorded; the first says who begins."""
        ...

    def begin(self, step: int) -> None:
        """Training begins after this many steps: 0, or those of a checkpoint."""
        ...

    def revise(self, revision: Revision) -> None:
        """Record a revision for good; it takes effect when this returns."""
        ...


class RecordInMemory:
    """A record that ends with its run.

    Example:
        >>> record = RecordInMemory(Revision(0, (0, 1, 2)))
        >>> record.revise(Revision(20, (0, 2)))
        >>> record.revisions()
        [Revision(from_step=0, members=(0, 1, 2)), Revision(from_step=20, members=(0, 2))]
    """

    def __init__(self, first: Revision) -> None:
        self._revisions = [first]

    def revisions(self) -> Sequence[Revision]:
        """See `Record`."""
        return list(self._revisions)

    def begin(self, step: int) -> None:
        """Nothing to write down."""

    def revise(self, revision: Revision) -> None:
        """See `Record`."""
        self._revisions.append(revision)


def in_force(revisions: Sequence[Revision]) -> list[Revision]:
    """The revisions that hold, by step: one that was recorded later stands for all from its step on.

    Example:
        >>> first, later, anew = Revision(0, (0, 1)), Revision(40, (0,)), Revision(20, (1,))
        >>> in_force([first, later, anew])
        [Revision(from_step=0, members=(0, 1)), Revision(from_step=20, members=(1,))]
    """
    holding: list[Revision] = []
    for revision in revisions:
        holding = [earlier for earlier in holding if earlier.from_step < revision.from_step]
        holding.append(revision)
    return holding


def members_at(revisions: Sequence[Revision], step: int) -> tuple[int, ...] | None:
    """Who trains after so many steps; None before the first revision.

    Example:
        >>> members_at([Revision(0, (0, 1)), Revision(40, (0,))], 39)
        (0, 1)
    """
    current = [r.members for r in in_force(revisions) if r.from_step <= step]
    return current[-1] if current else None


def pays(*, steps_left: int, seconds_a_step: float, share_saved: float, preparation_seconds: float) -> bool:
    """Whether a smaller population saves more than building it costs.

        steps left * seconds a step * share saved > preparation seconds

    Args:
        share_saved: of the time of a step, between 0 and 1. The share of members that are dropped is the most it can
            be: small members do not fill a device, and then the others cost as much without them.

    Example:
        >>> pays(steps_left=1000, seconds_a_step=0.1, share_saved=0.5, preparation_seconds=30.0)
        True
    """
    return steps_left * seconds_a_step * share_saved > preparation_seconds
