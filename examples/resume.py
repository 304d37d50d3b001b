"""Gradient accumulation, a schedule that starts at a rate of 0, and a checkpoint that goes on exactly.

    python examples/resume.py

The plan is saved beside the checkpoint and checked when it is loaded: `plan.verify(optimizer, model)` raises if the
rates that the optimizer's state brought along are no longer in the plan's proportion, or if the optimizer is another.
The run below is interrupted in the middle and continued from its files; its weights end equal to those of a run that
was not, to the bit.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from mlp import MLP, plan_for, teacher
from torch.nn import functional as F

from widthwise import ScalingPlan

MICRO_BATCHES, RATE, WARMUP = 4, 2.0**-6, 5


class Run:
    """A model, its optimizer and schedule, and the step at which they are."""

    def __init__(self, plan: ScalingPlan, *, steps: int) -> None:
        self.plan = plan
        self.model = MLP(plan.width)
        groups = plan.param_groups(self.model, learning_rate=RATE, weight_decay=1e-3)
        self.optimizer = torch.optim.AdamW(groups)
        # At step 0 the factor is 0: every group's rate is 0 there, which is legal.
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: min(1.0, step / WARMUP) * (1 - step / (steps + 1))
        )
        self.step = 0

    def train_until(self, last: int) -> float:
        """Go on to a step; the mean loss of the last one's micro-batches."""
        total = 0.0
        while self.step < last:
            total = 0.0
            for part in range(MICRO_BATCHES):
                x, y = teacher(16, seed=MICRO_BATCHES * self.step + part)
                loss = F.cross_entropy(self.model(x), y) / MICRO_BATCHES
                loss.backward()
                total += loss.item()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.schedule.step()
            self.step += 1
        return total

    def save(self, folder: Path) -> None:
        """The plan as JSON, everything else as tensors and numbers; the checkpoint appears whole or not at all."""
        self.plan.save(folder / "plan.json")
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "step": self.step,
        }
        torch.save(state, folder / "checkpoint.partial")
        os.replace(folder / "checkpoint.partial", folder / "checkpoint.pt")


def begin(plan: ScalingPlan, *, steps: int) -> Run:
    """A new run: the model's own draw, turned into the plan's."""
    torch.manual_seed(0)
    run = Run(plan, steps=steps)
    plan.initialize_(run.model)
    return run


def resume(folder: Path, *, steps: int) -> Run:
    """The run that a folder holds. The weights are loaded, so `initialize_` is not called."""
    run = Run(ScalingPlan.load(folder / "plan.json"), steps=steps)
    state: dict[str, Any] = torch.load(folder / "checkpoint.pt", weights_only=True)
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.schedule.load_state_dict(state["schedule"])
    run.step = state["step"]
    run.plan.verify(run.optimizer, run.model)
    return run


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Train without and with an interruption; the numbers that are printed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base-width", type=int, default=32)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args(arguments)
    plan = plan_for(options.width, options.base_width)

    whole = begin(plan, steps=options.steps)
    loss = whole.train_until(options.steps)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = begin(plan, steps=options.steps)
        first.train_until(options.steps // 2)
        first.save(folder)
        del first
        second = resume(folder, steps=options.steps)
        second.train_until(options.steps)

    differing = sum(
        int((one != other).sum())
        for one, other in zip(whole.model.parameters(), second.model.parameters(), strict=True)
    )
    print(f"loss {loss:.4f}; weights that differ after the interruption: {differing}")
    return {"loss": loss, "differing": differing}


if __name__ == "__main__":
    main()
