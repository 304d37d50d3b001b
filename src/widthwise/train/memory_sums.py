"""Sums of named bytes that print themselves: what one member of a population holds, and what a program does."""

from dataclasses import dataclass


def readable(count: int) -> str:
    """Bytes in a unit that leaves three digits.

    Example:
        >>> readable(1536), readable(3 * 2**30)
        ('1.5 KiB', '3 GiB')
    """
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    return f"{value:.3g} {unit}"


@dataclass(frozen=True)
class Term:
    """A named number of bytes, with its arithmetic in words."""

    name: str
    bytes: int
    why: str

    def __str__(self) -> str:
        return f"{self.name:<34}{readable(self.bytes):>12}   {self.why}"


@dataclass(frozen=True)
class Moment:
    """What is held beyond what stands, at one point of a step."""

    name: str
    terms: tuple[Term, ...]

    @property
    def bytes(self) -> int:
        """The sum of the terms."""
        return sum(term.bytes for term in self.terms)


@dataclass(frozen=True)
class MemberMemory:
    """One member's bytes. `str` shows the sum.

    Args:
        standing: held all the time.
        moments: of a training step, one of which is the peak.
        between: held beside what stands between steps, when alignment is measured, and when training is over, on
            held-out windows; a recorded step keeps its peak meanwhile.
        snapshot: of what a step changes, where it is recorded: a copy for the proof, on the device if it has room.
    """

    standing: tuple[Term, ...]
    moments: tuple[Moment, ...]
    between: tuple[Moment, ...]
    snapshot: Term | None

    @property
    def peak(self) -> Moment:
        """The moment that holds most."""
        return max(self.moments, key=lambda moment: moment.bytes)

    @property
    def copied(self) -> int:
        """The copy of all that a recorded step changes, against which it is proven."""
        return 0 if self.snapshot is None else self.snapshot.bytes

    @property
    def training(self) -> int:
        """The most that is held while training, the copy included."""
        return sum(term.bytes for term in self.standing) + self.peak.bytes + self.copied

    @property
    def bytes(self) -> int:
        """The most that is held at any time, the copy being on the device."""
        return max(self.training, self.without_copy)

    @property
    def without_copy(self) -> int:
        """The most that is held at any time, the copy being on the host."""
        standing = sum(term.bytes for term in self.standing)
        recorded = 0 if self.snapshot is None else self.peak.bytes
        return max(
            standing + self.peak.bytes, *(standing + recorded + moment.bytes for moment in self.between)
        )

    def __str__(self) -> str:
        terms = [*self.standing, *([] if self.snapshot is None else [self.snapshot])]
        others = [m for m in (*self.moments, *self.between) if m != self.peak]
        lines = [
            *(str(term) for term in terms),
            f"at its peak ({self.peak.name}):",
            *(f"  {term}" for term in self.peak.terms),
            *(f"{m.name + ' instead':<34}{readable(m.bytes):>12}" for m in others),
            f"{'a member':<34}{readable(self.bytes):>12}",
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class ProgramMemory:
    """What a population needs whatever P is. `str` shows the sum."""

    terms: tuple[Term, ...]

    @property
    def bytes(self) -> int:
        """The sum of the terms."""
        return sum(term.bytes for term in self.terms)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.terms), f"{'a program':<34}{readable(self.bytes):>12}"])
