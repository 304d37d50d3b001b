"""`AlignmentSchedule` (experimental): a plan's rates, times what measured alignment allows at each time of training."""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor
from torch.optim import Optimizer

from widthwise.scaling import RatePath
from widthwise.scaling.role_groups import ROLE


class Scheduler(Protocol):
    """Any of PyTorch's schedulers, or one of their form."""

    def step(self, *arguments: Any) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


class AlignmentSchedule:
    """Multiplies every group's rate by its role's factor, on top of any schedule.

        rate = (the rate that the schedule gives) * factor(role, step / steps)

    Before the schedule's own step every rate is what the schedule left, to the bit, and afterwards it is multiplied:
    schedules that compute a rate from the step (`LambdaLR`, `OneCycleLR`) and those that compute it from the last one
    (`CosineAnnealingLR`) are the same as without it. Make the schedule first, on the optimizer as it is, then this.

    Args:
        optimizer: with groups that name their role (`groups_by_role`), at the rates of full alignment.
        path: from `make_rate_path`, for the model's width.
        steps: of the whole training.
        scheduler: the schedule it multiplies; None for constant rates.

    Raises:
        ValueError: a group without a role, or fewer than one step.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> sgd = torch.optim.SGD([{"params": [weight], "role": "hidden", "lr": 1.0}])
        >>> cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, T_max=2)
        >>> path = RatePath(512, 128, (0.0, 1.0), {"hidden": (1.0, 0.5)}, {"hidden": 1.0})
        >>> schedule = AlignmentSchedule(sgd, path, steps=2, scheduler=cosine)
        >>> sgd.step(); schedule.step()
        >>> round(sgd.param_groups[0]["lr"], 6)  # half of the rate by the cosine, times 4^(1/4)
        0.707107
    """

    def __init__(
        self, optimizer: Optimizer, path: RatePath, *, steps: int, scheduler: Scheduler | None = None
    ) -> None:
        if steps < 1:
            raise ValueError(f"steps = {steps} must be at least 1: progress is the part of them that is done")
        for position, group in enumerate(optimizer.param_groups):
            if ROLE not in group:
                raise ValueError(
                    f"group {position} does not say its role; make the groups with groups_by_role(plan, groups)"
                )
        self.optimizer, self.path, self.steps, self.scheduler = optimizer, path, steps, scheduler
        self.done = 0
        self._plain = self._rates()
        self._multiply()

    @property
    def plain_rates(self) -> tuple[float, ...]:
        """Each group's rate without its factor, as the schedule has it."""
        return self._plain

    def step(self, *arguments: Any) -> None:
        """One step of training is done: call it after the optimizer's step, in place of the schedule's.

        Args:
            arguments: for the schedule's own step, such as a loss for `ReduceLROnPlateau`.
        """
        self._set(self._plain)
        if self.scheduler is not None:
            self.scheduler.step(*arguments)
        self._plain = self._rates()
        self.done += 1
        self._multiply()

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs besides the optimizer's own state."""
        return {
            "done": self.done,
            "steps": self.steps,
            "plain": list(self._plain),
            "path": self.path.to_json(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where a run stopped; load the optimizer's state before it.

        Raises:
            ValueError: of another path, horizon or number of groups, or with a schedule where there is none.
        """
        own = self.state_dict()
        for what in ("path", "steps"):
            if state_dict[what] != own[what]:
                raise ValueError(
                    f"the state is of another {what}: {state_dict[what]} against {own[what]}; make the schedule as it "
                    "was made for the checkpoint"
                )
        if len(state_dict["plain"]) != len(self._plain):
            raise ValueError(
                f"the state is of {len(state_dict['plain'])} groups, and the optimizer has {len(self._plain)}"
            )
        if (state_dict["scheduler"] is None) != (self.scheduler is None):
            raise ValueError("the state is with a schedule and this is without, or the other way round")
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state_dict["scheduler"])
        self.done = state_dict["done"]
        self._plain = tuple(state_dict["plain"])
        self._multiply()

    def _rates(self) -> tuple[float, ...]:
        return tuple(float(group["lr"]) for group in self.optimizer.param_groups)

    def _multiply(self) -> None:
        progress = min(self.done / self.steps, 1.0)
        factors = (self.path.factor(group[ROLE], progress) for group in self.optimizer.param_groups)
        self._set(tuple(rate * factor for rate, factor in zip(self._plain, factors, strict=True)))

    def _set(self, rates: tuple[float, ...]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)  # the same tensor: compiled and captured steps read it
            else:
                group["lr"] = rate
