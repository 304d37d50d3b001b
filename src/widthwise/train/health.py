"""Which members have diverged, since when and why: kept on the device, so that watching costs no synchronization."""

import torch
from torch import Tensor

from widthwise.optim import PopulationStep

REASONS = ("non-finite loss", "non-finite gradient", "non-finite optimizer state")


class Health:
    """The first step at which each member's loss, gradient or optimizer state was not finite.

    The losses are watched here; gradients and state by the step itself. An infinite moment must be looked for: an
    arctangent turns it into an ordinary step.
    """

    def __init__(self, members: int, device: torch.device) -> None:
        self._loss_step_P = torch.zeros(members, device=device)

    def observe(self, step: int | Tensor, losses_P: Tensor) -> None:
        """Record which losses are not finite at a step, counted from 1; the first finding of a member stands."""
        new_P = (self._loss_step_P == 0) & ~losses_P.isfinite()
        self._loss_step_P.copy_(torch.where(new_P, step, self._loss_step_P))

    def tensors(self) -> list[Tensor]:
        """What `observe` changes."""
        return [self._loss_step_P]

    def all_dead(self, optimizer: PopulationStep) -> bool:
        """Whether no member is left (waits for the device)."""
        return bool((torch.stack([self._loss_step_P, *optimizer.non_finite_steps()]) > 0).any(0).all())

    def findings(self, optimizer: PopulationStep) -> list[tuple[int, str] | None]:
        """Per member: None, or the step and the reason; what comes first in `REASONS` where several came at once."""
        steps_Px3 = torch.stack([self._loss_step_P, *optimizer.non_finite_steps()], dim=1).tolist()
        found = [
            [(int(step), reason) for step, reason in zip(steps, REASONS, strict=True) if step]
            for steps in steps_Px3
        ]
        return [min(each, key=lambda finding: finding[0]) if each else None for each in found]
