"""Which members have diverged, since when and why: kept on the device, so that watching costs no synchronization."""

from collections.abc import Iterable

import torch
from torch import Tensor

REASONS = ("non-finite loss", "non-finite gradient", "non-finite optimizer state")


def _finite(tensors: Iterable[Tensor]) -> Tensor:
    """[P]: whether every tensor of a member is finite; both extremes carry NaN, and one of them infinity."""
    flat = [t.flatten(1) for t in tensors]
    return torch.stack([extreme for t in flat for extreme in (t.amax(1), t.amin(1))]).isfinite().all(0)


class Health:
    """The first step at which each member's loss, gradient or optimizer state was not finite.

    An infinite moment must be looked for: an arctangent turns it into an ordinary step.
    """

    def __init__(self, members: int, device: torch.device) -> None:
        self._step = torch.zeros(members, dtype=torch.long, device=device)
        self._reason = torch.zeros(members, dtype=torch.long, device=device)

    def observe(
        self, step: int, losses_P: Tensor, gradients: Iterable[Tensor], state: Iterable[Tensor]
    ) -> None:
        """Record what is not finite at a step (counted from 1); the first finding of a member stands."""
        fine = torch.stack([losses_P.isfinite(), _finite(gradients), _finite(state)])
        new = (self._step == 0) & ~fine.all(0)
        self._step = torch.where(new, step, self._step)
        self._reason = torch.where(new, fine.long().argmin(0), self._reason)

    def all_dead(self) -> bool:
        """Whether no member is left (waits for the device)."""
        return bool((self._step > 0).all())

    def findings(self) -> list[tuple[int, str] | None]:
        """Per member: None, or the step and the reason."""
        pairs = zip(self._step.tolist(), self._reason.tolist(), strict=True)
        return [(step, REASONS[reason]) if step else None for step, reason in pairs]
