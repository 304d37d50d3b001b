"""Which members have diverged, since when and why: kept on the device, so that watching costs no synchronization.

Every step is looked at, whatever the device and the number of members: when a member diverges depends on its losses.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from widthwise.train.member import Recipe
from widthwise.train.trainable import MemberOptimizer

REASONS = ("non-finite loss", "non-finite gradient", "non-finite optimizer state")


class Health:
    """The first step at which each member's loss, gradient or optimizer state was not finite, or its loss too high.

    The losses are watched here; gradients and state by the step itself. An infinite moment must be looked for: an
    arctangent turns it into an ordinary step.

    Args:
        recipe: its `loss_limit`, with the model's vocabulary, says what is too high, its schedule's warm-up from when
            on. A row of high losses is counted from the first step after the warm-up.
    """

    def __init__(self, recipe: Recipe, members: int, device: torch.device) -> None:
        self._recipe = recipe
        limit = recipe.loss_limit
        self._highest = torch.inf if limit is None else limit.loss(vocabulary=recipe.model.vocabulary)
        self._tensors = {
            name: torch.zeros(members, device=device) for name in ("loss_step", "high_losses", "limit_step")
        }

    def observe(self, step: int | Tensor, losses_P: Tensor) -> None:
        """Look at the losses of a step, counted from 1; the first finding of a member stands."""
        _note(self._tensors["loss_step"], ~losses_P.isfinite(), step)
        limit = self._recipe.loss_limit
        if limit is None:
            return
        high_P = (losses_P > self._highest) & (step > self._recipe.schedule.warmup)
        count_P = self._tensors["high_losses"]
        count_P.copy_((count_P + 1) * high_P)
        _note(self._tensors["limit_step"], count_P >= limit.steps, step)

    def tensors(self) -> list[Tensor]:
        """What `observe` changes."""
        return list(self._tensors.values())

    def snapshot(self) -> dict[str, Tensor]:
        """What `observe` changes, by name, each [P]."""
        return dict(self._tensors)

    def restore_(self, values: Mapping[str, Tensor]) -> None:
        """Take on what `snapshot` gave."""
        for name, tensor in self._tensors.items():
            tensor.copy_(values[name])

    def alive(self, optimizer: MemberOptimizer) -> list[bool]:
        """Which members have not diverged (waits for the device)."""
        return (self._found_steps(optimizer) == 0).all(0).tolist()

    def findings(self, optimizer: MemberOptimizer) -> list[tuple[int, str] | None]:
        """Per member: None, or the step and the reason; what comes first in `REASONS` where several came at once."""
        limit = self._recipe.loss_limit
        reasons = (*REASONS, "" if limit is None else limit.reason)
        found = [
            [(int(step), reason) for step, reason in zip(steps, reasons, strict=True) if step]
            for steps in self._found_steps(optimizer).T.tolist()
        ]
        return [min(each, key=lambda finding: finding[0]) if each else None for each in found]

    def _found_steps(self, optimizer: MemberOptimizer) -> Tensor:
        return torch.stack(
            [self._tensors["loss_step"], *optimizer.non_finite_steps(), self._tensors["limit_step"]]
        )


def _note(first_P: Tensor, now_P: Tensor, step: int | Tensor) -> None:
    """Write a step where something holds for the first time."""
    first_P.copy_(torch.where((first_P == 0) & now_P, step, first_P))
