"""The schedule that follows alignment: on top of any schedule of PyTorch's, and resumed to the bit."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from plan_training import mlp, plan_of
from widthwise.analysis import AlignmentRow
from widthwise.measure import AlignmentSchedule, AlignmentWarning, AlignmentWatch
from widthwise.scaling import RatePath, groups_by_role
from widthwise.theory import AlignmentQuantity, Role

STEPS = 8
PATH = RatePath(
    width=64,
    base_width=16,
    progress=(0.0, 0.5, 1.0),
    exponents={"hidden": (1.0, 0.5, 0.75), "readout": (1.0, 0.8, 0.8)},
    full={"hidden": 1.0, "readout": 1.0},
)
Make = Callable[[torch.optim.Optimizer], Any]
SCHEDULES: dict[str, Make] = {
    "lambda": lambda o: LambdaLR(o, lambda step: 1 / (1 + step)),
    "cosine": lambda o: CosineAnnealingLR(o, T_max=STEPS, eta_min=1e-5),
    "step": lambda o: StepLR(o, step_size=3, gamma=0.5),
    "one cycle": lambda o: OneCycleLR(o, max_lr=[g["lr"] for g in o.param_groups], total_steps=STEPS + 1),
    "warm-up, cosine": lambda o: SequentialLR(
        o, [LambdaLR(o, lambda step: (step + 1) / 3), CosineAnnealingLR(o, T_max=STEPS)], milestones=[2]
    ),
    "plateau": lambda o: ReduceLROnPlateau(o, patience=0, factor=0.5, threshold=1.0),
}


class Run:
    """A model of width 64 in training, with the schedule on top of one of PyTorch's."""

    def __init__(self, make: Make | None = None, *, path: RatePath | None = PATH) -> None:
        torch.manual_seed(0)
        plan = plan_of(mlp)
        assert plan.width == 64
        self.model = mlp(plan.width)
        groups = groups_by_role(plan, plan.param_groups(self.model, learning_rate=1e-2, weight_decay=0.1))
        self.optimizer = torch.optim.AdamW(groups)
        self.inner = None if make is None else make(self.optimizer)
        self.schedule = (
            None
            if path is None
            else AlignmentSchedule(self.optimizer, path, steps=STEPS, scheduler=self.inner)
        )

    def step(self, index: int) -> None:
        inputs = torch.arange(20.0).add(index).sin().view(4, 5)
        self.optimizer.zero_grad()
        loss = self.model(inputs).square().mean()
        loss.backward()
        self.optimizer.step()
        arguments = (loss.item(),) if isinstance(self.inner, ReduceLROnPlateau) else ()
        for schedule in [self.inner if self.schedule is None else self.schedule]:
            if schedule is not None:
                schedule.step(*arguments)

    def rates(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state(self) -> dict[str, Any]:
        assert self.schedule is not None
        states = {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule}
        return {name: one.state_dict() for name, one in states.items()}


@pytest.mark.parametrize("make", [None, *SCHEDULES.values()], ids=["none", *SCHEDULES])
def test_every_rate_is_the_schedules_times_the_roles_factor(make: Make | None) -> None:
    """The losses differ, so a schedule that reads them would too: this one (patience 0, threshold 1) halves always."""
    run, plain = Run(make), Run(make, path=None)
    for index in range(STEPS):
        progress = index / STEPS
        factors = [PATH.factor(group["role"], progress) for group in run.optimizer.param_groups]
        assert len(set(factors)) == (3 if index else 1)
        assert run.schedule is not None
        assert list(run.schedule.plain_rates) == plain.rates()  # to the bit
        assert run.rates() == [rate * factor for rate, factor in zip(plain.rates(), factors, strict=True)]
        run.step(index)
        plain.step(index)


@pytest.mark.parametrize("make", [None, *SCHEDULES.values()], ids=["none", *SCHEDULES])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(make: Make | None, tmp_path: Any) -> None:
    whole, first = Run(make), Run(make)
    for index in range(STEPS):
        whole.step(index)
    for index in range(3):
        first.step(index)
    torch.save(first.state(), tmp_path / "checkpoint.pt")
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    resumed = Run(make)
    resumed.model.load_state_dict(state["model"])
    resumed.optimizer.load_state_dict(state["optimizer"])
    assert resumed.schedule is not None
    resumed.schedule.load_state_dict(state["schedule"])
    assert resumed.rates() == first.rates()
    for index in range(3, STEPS):
        resumed.step(index)
    assert resumed.rates() == whole.rates()
    for one, other in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_factor_stays_after_the_last_step() -> None:
    run = Run()
    for index in range(STEPS + 2):
        run.step(index)
    group = next(group for group in run.optimizer.param_groups if group["role"] == "hidden")
    assert group["lr"] == 1e-2 / 4 * 4**0.25


def test_a_rate_that_is_a_tensor_stays_the_same_tensor() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    rate = torch.tensor(0.5)
    optimizer = torch.optim.Adam([{"params": [weight], "role": "hidden", "lr": rate}], capturable=False)
    schedule = AlignmentSchedule(optimizer, PATH, steps=2)
    schedule.step()
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(0.5 * 4**0.5, rel=1e-7)  # float32


def test_what_is_refused() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    with pytest.raises(
        ValueError, match=r"group 0 does not say its role; make the groups with groups_by_role"
    ):
        AlignmentSchedule(optimizer, PATH, steps=2)
    optimizer = torch.optim.SGD([{"params": [weight], "role": "hidden"}], lr=1.0)
    with pytest.raises(ValueError, match="steps = 0 must be at least 1"):
        AlignmentSchedule(optimizer, PATH, steps=0)
    schedule = AlignmentSchedule(optimizer, PATH, steps=2)
    state = schedule.state_dict()
    for changes, message in (
        ({"steps": 3}, "of another steps: 3 against 2"),
        ({"path": {**state["path"], "width": 128}}, "of another path"),
        ({"plain": [1.0, 2.0]}, "of 2 groups, and the optimizer has 1"),
        ({"scheduler": {}}, "with a schedule and this is without"),
    ):
        with pytest.raises(ValueError, match=message):
            schedule.load_state_dict({**state, **changes})


# The watch


ALPHA, U = AlignmentQuantity.ALPHA, AlignmentQuantity.U


def row(width: int, ratio: float, *, progress: float = 0.5, role: Role | None = Role.HIDDEN) -> AlignmentRow:
    return AlignmentRow(width, 0, "up", role, ALPHA, progress, ratio * math.log(width), width)


SMALL = [row(32, 0.70), row(64, 0.74), row(128, 0.76), *(row(n, 0.9, progress=0.1) for n in (32, 64))]


def test_live_ratios_within_the_small_widths_band_pass() -> None:
    watch = AlignmentWatch.of(SMALL, margin=0.05)
    for ratio in (0.66, 0.75, 0.80):
        assert watch.leaves([row(512, ratio)], progress=0.5) == ()
    assert watch.leaves([row(512, 0.9)], progress=0.2) == ()  # nearest: what was measured at 0.1
    assert watch.leaves([row(512, 0.1, role=None), row(512, 0.1, role=Role.READOUT)], progress=0.5) == ()


def test_live_ratios_outside_of_it_warn_and_nothing_else() -> None:
    watch = AlignmentWatch.of(SMALL, margin=0.05)
    (line,) = watch.leaves([row(512, 0.6), row(512, 0.62)], progress=0.5)
    assert line.startswith(
        "hidden alpha: ratio 0.610 at 50% of training, and the small widths had 0.700 to 0.760"
    )
    with pytest.warns(AlignmentWarning, match="hidden alpha: ratio 0.900"):
        watch.check([row(512, 0.9)], progress=0.5)
    assert len(watch.leaves([row(512, math.nan)], progress=0.5)) == 1


def test_nothing_to_watch_is_refused() -> None:
    with pytest.raises(ValueError, match="no defined measurement"):
        AlignmentWatch.of([row(32, math.nan), row(32, 0.7, role=None)])
