"""Your own MLP: tune the learning rate at width 32, train at width 256, without touching the model.

    python examples/mlp.py
    python examples/mlp.py --base-width 64 --width 2048 --steps 400

The model below is an ordinary module. The two lines that matter are in `train`: the plan initializes the model and
makes the optimizer's groups; everything else is the loop that you have.
"""

import argparse

import torch
from torch import nn
from torch.nn import functional as F

from widthwise import ADAM, FULL, STANDARD, ScalingPlan, make_plan

INPUTS, CLASSES = 32, 10
RATES = [2.0**exponent for exponent in range(-9, -2)]


class MLP(nn.Module):
    """Whatever you have. Nothing in it knows about widthwise."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(INPUTS, width)
        self.middle = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.first(x))
        for layer in self.middle:
            x = x + F.relu(layer(x))
        return self.last(self.norm(x))


def teacher(examples: int, *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs, and the class that a fixed random network gives them: something that can be learned, and not at once."""
    generator = torch.Generator().manual_seed(0)  # the teacher is the same for every seed of the data
    inner = torch.randn(INPUTS, 64, generator=generator) / INPUTS**0.5
    outer = torch.randn(64, CLASSES, generator=generator)
    x = torch.randn(examples, INPUTS, generator=generator.manual_seed(1 + seed))
    return x, (torch.tanh(2 * x @ inner) @ outer).argmax(dim=1)


def train(plan: ScalingPlan, *, learning_rate: float, steps: int, seed: int = 0) -> float:
    """The mean loss of the last quarter of the steps, each on a batch that was never seen."""
    torch.manual_seed(seed)
    model = MLP(plan.width)
    plan.initialize_(model)
    optimizer = torch.optim.AdamW(plan.param_groups(model, learning_rate=learning_rate, weight_decay=1e-3))
    # A schedule multiplies all groups' rates alike, so it keeps what the plan made of them.
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    losses = []
    for step in range(steps):
        x, y = teacher(64, seed=step)
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    late = losses[-max(1, steps // 4) :]
    return sum(late) / len(late)


def plan_for(width: int, base_width: int) -> ScalingPlan:
    """The plan at a width. At the base width every factor is 1, and your tuned model is trained bit for bit."""
    return make_plan(
        MLP, width=width, base_width=base_width, parameterization=STANDARD, optimizer=ADAM, alignment=FULL
    )


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Tune small, plan large, train; the numbers that are printed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base-width", type=int, default=32)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--steps", type=int, default=80)
    options = parser.parse_args(arguments)

    base = plan_for(options.base_width, options.base_width)
    losses = {rate: train(base, learning_rate=rate, steps=options.steps) for rate in RATES}
    for rate, loss in losses.items():
        print(f"width {options.base_width}, rate {rate:.5f}: loss {loss:.3f}")
    best = min(losses, key=losses.__getitem__)

    plan = plan_for(options.width, options.base_width)
    print(plan)
    planned = train(plan, learning_rate=best, steps=options.steps)
    # A plan from a width to itself changes nothing: the large model as its own code makes it, one rate for all layers.
    unplanned = train(plan_for(options.width, options.width), learning_rate=best, steps=options.steps)
    print(f"width {options.width}, rate {best:.5f}: loss {planned:.3f} by the plan, {unplanned:.3f} without")
    return {"tuned": losses[best], "planned": planned, "unplanned": unplanned}


if __name__ == "__main__":
    main()
