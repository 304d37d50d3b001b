"""What the language-model examples share and what is not about widths: a text, a loop, a small grid.

The text is the source of Python's own standard library, as bytes: it is on every machine.
"""

import argparse
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import torch
from torch import nn

VOCABULARY = 256
CONTEXT, BATCH = 48, 8
RATES = (2.0**-9, 2.0**-8, 2.0**-7, 2.0**-6, 2.0**-5)


@cache
def corpus() -> torch.Tensor:
    """The bytes of a few modules, one after the other."""
    folder = Path(argparse.__file__).parent
    text = b"".join((folder / f"{name}.py").read_bytes() for name in ("argparse", "inspect", "tarfile"))
    return torch.frombuffer(bytearray(text), dtype=torch.uint8).long()


def windows(count: int, context: int, *, seed: int) -> torch.Tensor:
    """[count, context] of the corpus at random places, the same ones for a seed."""
    tokens = corpus()
    starts = torch.randint(len(tokens) - context, (count, 1), generator=torch.Generator().manual_seed(seed))
    return tokens[starts + torch.arange(context)]


def train(model: nn.Module, optimizers: Iterable[torch.optim.Optimizer], *, steps: int) -> list[float]:
    """The loss of every step, each on windows that were not seen before: an ordinary loop.

    The rates rise for a tenth of the steps and then fall to zero. A schedule multiplies the rates of all groups alike,
    so it keeps what the plan made of them.
    """
    optimizers = list(optimizers)
    warmup = max(1, steps // 10)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / warmup) * (1 - step / steps)
        )
        for optimizer in optimizers
    ]
    losses = []
    for step in range(steps):
        tokens = windows(BATCH, CONTEXT, seed=step)
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        losses.append(loss.item())
    return losses


def late(losses: list[float]) -> float:
    """The mean of the last quarter."""
    tail = losses[-max(1, len(losses) // 4) :]
    return sum(tail) / len(tail)


def tune_and_scale(
    run: Callable[[int, int, float, int], list[float]],
    arguments: list[str] | None,
    *,
    description: str | None,
) -> dict[str, float]:
    """Try a few rates at the base width, then the best of them at the large one.

    Args:
        run: (width, base width, rate, steps) -> losses.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base-width", type=int, default=32)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="the grid at the base width")
    options = parser.parse_args(arguments)
    tuned: dict[float, float] = {}
    for rate in options.rates:
        tuned[rate] = late(run(options.base_width, options.base_width, rate, options.steps))
        print(f"width {options.base_width}, rate {rate:.5f}: loss {tuned[rate]:.3f}")
    best = min(tuned, key=tuned.__getitem__)
    losses = run(options.width, options.base_width, best, options.steps)
    print(
        f"width {options.width}, rate {best:.5f}: loss {losses[0]:.3f} at first, {late(losses):.3f} at the end"
    )
    return {"rate": best, "tuned": tuned[best], "first": losses[0], "planned": late(losses)}
