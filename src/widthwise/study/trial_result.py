"""How a trial ended: what those who train it give back, and the store keeps."""

from dataclasses import dataclass

from widthwise.records import AlignmentPoint, SizePoint, Spread, TrialStatus


@dataclass(frozen=True)
class TrialResult:
    """How a trial ended, as the store keeps it."""

    trial: int
    status: TrialStatus
    reason: str | None
    step: int | None
    validation_loss: float | None
    curve: tuple[tuple[int, float], ...]
    alignment: tuple[AlignmentPoint, ...] = ()
    sizes: tuple[SizePoint, ...] = ()
    spreads: tuple[Spread, ...] = ()
