"""Your own training function in a study: any model, any framework, the same store, analysis, verdict and page.

    python examples/own_training.py

or, in the folder `examples`,

    widthwise study run own_training.yaml --store own.sqlite
    widthwise study report own.sqlite --out own

`train` is called once for each trial. It gets a frozen `Trial` with everything that the specification and the theory
say, reports its training loss now and then, and returns the final validation loss.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from widthwise.study import Report, Trial, load_spec, run_study

INPUTS, CLASSES = 32, 10


def build(width: int, depth: int) -> nn.Sequential:
    """Whatever you have."""
    layers: list[nn.Module] = [nn.Linear(INPUTS, width, bias=False), nn.ReLU()]
    for _ in range(depth):
        layers += [nn.Linear(width, width, bias=False), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, CLASSES, bias=False))


def examples(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs, and the class that a fixed random network gives them."""
    fixed = torch.Generator().manual_seed(0)
    inner = torch.randn(INPUTS, 64, generator=fixed) / INPUTS**0.5
    outer = torch.randn(64, CLASSES, generator=fixed)
    x = torch.randn(count, INPUTS, generator=generator)
    return x, (torch.tanh(2 * x @ inner) @ outer).argmax(dim=1)


def train(trial: Trial, report: Report) -> float:
    """One trial: a width, a rate, a seed, and by what rule the rest scales."""
    torch.manual_seed(trial.seed)
    model = build(trial.width, trial.options["depth"])
    first, *hidden, last = (layer.weight for layer in model if isinstance(layer, nn.Linear))
    groups = []
    for role, weights in (("embedding", [first]), ("hidden", hidden), ("readout", [last])):
        numbers = trial.roles[role]
        for weight in weights:
            # What you draw at the base width, times the factor that the parameterization gives to this width.
            fan_in = trial.base_width if role != "embedding" else INPUTS
            nn.init.normal_(weight, std=(2 / fan_in) ** 0.5 * numbers.init)
        groups.append({"params": weights, "lr": numbers.learning_rate, "eps": numbers.epsilon})
    betas = (trial.optimizer_constants["beta1"], trial.optimizer_constants["beta2"])
    optimizer = torch.optim.Adam(groups, betas=betas)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / trial.steps)
    data = torch.Generator().manual_seed(1 + trial.data_seed)
    for step in range(1, trial.steps + 1):
        x, y = examples(trial.batch, data)
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        report(step, loss.item())  # a loss that is not finite ends the trial here: it has diverged
    with torch.no_grad():
        x, y = examples(2048, torch.Generator().manual_seed(-1))
        return F.cross_entropy(model(x), y).item()


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """The study without the command line; the best rate's loss of each arm at the largest width."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--store", type=Path, help="the file to keep results in; a temporary one unless given"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        source = load_spec(str(Path(__file__).with_suffix(".yaml")))
        study = run_study(source, options.store or Path(folder) / "own.sqlite", device="cpu")
    best: dict[str, float] = {}
    for cell in study.cells:
        loss = study.trials[cell.trial].validation_loss
        if cell.width == 128 and loss is not None:
            best[cell.arm] = min(loss, best.get(cell.arm, loss))
    for arm, loss in best.items():
        print(f"{arm}: loss {loss:.3f} at width 128 with the best rate")
    return best


if __name__ == "__main__":
    main()
