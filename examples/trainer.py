"""Hugging Face's `Trainer` with a plan's groups: `optimizers=(optimizer, None)`, and the plan in every checkpoint.

    python examples/trainer.py

The Trainer makes groups of its own unless it is given an optimizer, so it is given one. Its schedules multiply the
rates of all groups alike. It needs the package `accelerate`.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from gpt2 import build, plan_for
from language_model import CONTEXT, windows
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from widthwise import ScalingPlan

PLAN_FILE = "plan.json"


class Windows(Dataset[dict[str, torch.Tensor]]):
    """Windows of the text, each seen once."""

    def __init__(self, count: int) -> None:
        self.tokens = windows(count, CONTEXT, seed=0)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.tokens[index], "labels": self.tokens[index]}


class KeepPlan(TrainerCallback):
    """Saves the plan in every checkpoint's folder."""

    def __init__(self, plan: ScalingPlan) -> None:
        self.plan = plan

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **others: Any) -> None:
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        self.plan.save(folder / PLAN_FILE)


def make_trainer(plan: ScalingPlan, *, learning_rate: float, steps: int, folder: Path) -> Trainer:
    """A Trainer whose model and optimizer follow the plan."""
    torch.manual_seed(0)
    model = build(plan.width)
    plan.initialize_(model)
    optimizer = torch.optim.AdamW(plan.param_groups(model, learning_rate=learning_rate, weight_decay=0.01))
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        # The schedule is the Trainer's; the rates are the optimizer's. `learning_rate` and `weight_decay` of these
        # arguments are for an optimizer that the Trainer would make, and are not used.
        lr_scheduler_type="cosine",
        warmup_steps=max(1, steps // 10),
        save_steps=max(1, steps // 2),
        logging_steps=max(1, steps // 4),
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        seed=0,
    )
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=Windows(8 * steps),
        optimizers=(optimizer, None),
        callbacks=[KeepPlan(plan)],
    )


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Train by the plan, then once more from the checkpoint in the middle; the numbers that are printed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base-width", type=int, default=32)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--learning-rate", type=float, default=2.0**-7, help="tuned at the base width")
    options = parser.parse_args(arguments)
    numbers = {"learning_rate": options.learning_rate, "steps": options.steps}
    plan = plan_for(options.width, options.base_width)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = make_trainer(plan, **numbers, folder=folder)
        whole.train()
        middle = folder / f"checkpoint-{max(1, options.steps // 2)}"
        kept = ScalingPlan.load(middle / PLAN_FILE)
        again = make_trainer(kept, **numbers, folder=folder / "again")
        again.train(resume_from_checkpoint=str(middle))
        kept.verify(again.optimizer, again.model)

    history = [entry["loss"] for entry in whole.state.log_history if "loss" in entry]
    differing = sum(
        int((one != other).sum())
        for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True)
    )
    print(
        f"loss {history[0]:.3f} at first, {history[-1]:.3f} at the end; after resuming, {differing} weights differ"
    )
    return {"first": history[0], "last": history[-1], "differing": differing}


if __name__ == "__main__":
    main()
