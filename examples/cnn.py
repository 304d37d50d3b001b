"""Your own CNN under SGD: tune at 16 channels, train at 64.

    python examples/cnn.py
    python examples/cnn.py --width 256 --steps 300

The width of a convolutional network is its number of channels; the kernel's size does not grow and counts as a
constant. With SGD the first and the last layer's rates move the other way round than Adam's: look at the column `rate`.
"""

import argparse

import torch
from torch import nn
from torch.nn import functional as F

from widthwise import FULL, SGD, STANDARD, ScalingPlan, make_plan

SIDE, CLASSES, BATCH = 12, 8, 32
RATES = [2.0**exponent for exponent in range(-6, 1)]


class CNN(nn.Module):
    """Three convolutions, the second with a stride, group norms, and a linear layer on the mean over the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.down = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.body = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(4, channels), nn.GroupNorm(4, 2 * channels)])
        self.head = nn.Linear(2 * channels, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norms[0](self.stem(images)))
        x = F.relu(self.norms[1](self.down(x)))
        x = x + F.relu(self.body(x))
        return self.head(x.mean(dim=(2, 3)))


def stripes(*, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of stripes in noise, and which of eight directions they have."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (BATCH,), generator=generator)
    angle = (labels * torch.pi / CLASSES)[:, None, None]
    phase = 2 * torch.pi * torch.rand(BATCH, 1, 1, generator=generator)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    waves = torch.sin(1.5 * (x * torch.cos(angle) + y * torch.sin(angle)) + phase)
    return (waves + torch.randn(BATCH, SIDE, SIDE, generator=generator))[:, None], labels


def train(plan: ScalingPlan, *, learning_rate: float, steps: int) -> float:
    """The mean loss of the last quarter of the steps, each on images that were never seen."""
    torch.manual_seed(0)
    model = CNN(plan.width)
    plan.initialize_(model)
    optimizer = torch.optim.SGD(plan.param_groups(model, learning_rate=learning_rate), momentum=0.9)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=steps)
    losses = []
    for step in range(steps):
        images, labels = stripes(seed=step)
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    late = losses[-max(1, steps // 4) :]
    return sum(late) / len(late)


def plan_for(width: int, base_width: int) -> ScalingPlan:
    """The plan at a width. Group norms need channels in fours, so the widths at which the model is drawn are given."""
    return make_plan(
        CNN,
        width=width,
        base_width=base_width,
        parameterization=STANDARD,
        optimizer=SGD,
        alignment=FULL,
        initializer_widths=(base_width, 2 * base_width, 4 * base_width),
    )


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Tune small, plan large, train; the numbers that are printed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base-width", type=int, default=16)
    parser.add_argument("--width", type=int, default=64)
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
    print(f"width {options.width}, rate {best:.5f}: loss {planned:.3f}")
    return {"tuned": losses[best], "planned": planned}


if __name__ == "__main__":
    main()
