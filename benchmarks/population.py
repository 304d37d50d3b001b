"""Population training against the same models trained one at a time: same results, and how much faster.

usage: python benchmarks/population.py [--device cpu|cuda] [--out FILE.json]

Both sides run this package's own training loop in the same process; the baseline is a population of one. Correctness
comes first: the largest relative difference of any training loss over 20 steps between a member and the same member
alone, and how much a member that starts at infinity changes its neighbours' losses (on a CPU: not a bit; CUDA's atomics
differ from run to run, so the same population is run twice to say by how much).
"""

import argparse
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from widthwise.models import Transformer
from widthwise.optim import AdamUpdate
from widthwise.scaling import TRANSFORMER_ROLES, TensorNumbers, assign_roles, make_reference_plan, resolve
from widthwise.theory import ADAM, FULL_RATES, STANDARD
from widthwise.train import (
    Corpus,
    Member,
    Outcome,
    Precision,
    Recipe,
    WarmupCosine,
    load_corpus,
    train_population,
)

REPEATS = 3
FIDELITY_STEPS = 20
BEST_RATES = {True: 2.0**-5, False: 2.0**-7}
"""About the best base rate of the small and of the large models; fidelity is checked up to twice it."""


def recipe(width: int, *, steps: int, precision: Precision, small: bool) -> Recipe:
    depth, head_dim, context, batch = (2, 16, 64, 8) if small else (4, 64, 256, 16)
    model = Transformer(width=width, depth=depth, head_dim=head_dim, vocabulary=256, context=context)
    return Recipe(
        model=model,
        update=AdamUpdate(0.9, 0.98),
        schedule=WarmupCosine(steps, steps // 10),
        batch=batch,
        precision=precision,
        validation_windows=batch,
        curve_points=steps,
    )


def members(shared: Recipe, base_width: int, count: int, *, small: bool) -> list[Member]:
    plan = make_reference_plan(
        assign_roles(shared.model.tensors(), TRANSFORMER_ROLES),
        width=shared.model.width,
        base_width=base_width,
        parameterization=STANDARD,
        optimizer=ADAM,
        prescription=FULL_RATES,
    )
    rates = 2 * BEST_RATES[small] * 2.0 ** (-np.arange(count) / 4)
    return [
        Member(resolve(plan, learning_rate=float(rate), epsilon=1e-12), init_seed=i % 3, data_seed=i % 2)
        for i, rate in enumerate(rates)
    ]


def broken(member: Member) -> Member:
    """The same member with an infinite readout."""
    numbers = dict(member.numbers)
    numbers["readout"] = TensorNumbers(init=float("inf"), multiplier=1.0, rate=1.0, epsilon=0.0)
    return Member(numbers, member.init_seed, member.data_seed)


def curves(outcomes: Sequence[Outcome]) -> np.ndarray:
    return np.array([[loss for _, loss in outcome.curve] for outcome in outcomes])


def fidelity(
    corpus: Corpus, width: int, base_width: int, device: torch.device, small: bool
) -> dict[str, float]:
    shared = recipe(width, steps=FIDELITY_STEPS, precision=Precision.FLOAT32, small=small)
    crowd = members(shared, base_width, 8, small=small)
    together = train_population(shared, crowd, corpus, device=device)
    alone = [train_population(shared, [member], corpus, device=device)[0] for member in crowd]
    difference = np.abs(curves(together) / curves(alone) - 1).max()
    wounded = train_population(shared, [*crowd[:3], broken(crowd[3]), *crowd[4:]], corpus, device=device)
    kept = [i for i in range(len(crowd)) if i != 3]
    neighbours = curves([together[i] for i in kept]) / curves([wounded[i] for i in kept])
    again = curves(train_population(shared, crowd, corpus, device=device))
    return {
        "difference": float(difference),
        "neighbours": float(np.abs(neighbours - 1).max()),
        "repeat": float(np.abs(curves(together) / again - 1).max()),
    }


def seconds(shared: Recipe, crowd: Sequence[Member], corpus: Corpus, device: torch.device) -> float:
    """The median over repeats of one whole population, after one that warms up."""
    times: list[float] = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        train_population(shared, crowd, corpus, device=device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def measure(
    corpus: Corpus, width: int, base_width: int, count: int, steps: int, device: torch.device, small: bool
) -> list[dict[str, object]]:
    precision = Precision.FLOAT32 if small else Precision.BFLOAT16
    shared = recipe(width, steps=steps, precision=precision, small=small)
    crowd = members(shared, base_width, count, small=small)
    together = seconds(shared, crowd, corpus, device) / count
    alone = seconds(shared, crowd[:1], corpus, device)
    found = fidelity(corpus, width, base_width, device, small)
    label = f"D={width}, P={count}, {precision.value}"
    return [
        row(
            f"{label}: training time per model",
            together,
            "s",
            "P=1 in the same process",
            alone / together,
            None,
        ),
        row(
            f"D={width}: member against solo, fp32, 20 steps",
            found["difference"],
            "relative",
            "P=1",
            None,
            1e-5,
        ),
        row(
            f"D={width}: others beside an infinite member",
            found["neighbours"],
            "relative",
            "healthy",
            None,
            0,
        ),
        row(f"D={width}: the same population again", found["repeat"], "relative", "first run", None, None),
    ]


def row(
    name: str, value: float, unit: str, baseline: str, ratio: float | None, target: float | None
) -> dict[str, object]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "baseline": baseline,
        "ratio": ratio,
        "target": target,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--corpus", default="python-stdlib")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device = torch.device(options.device)
    small = options.device == "cpu"
    corpus = load_corpus(options.corpus)
    sizes = (
        [(32, 18, 10), (64, 18, 10), (128, 18, 10)]
        if small
        else [(128, 64, 40), (256, 32, 40), (512, 32, 20)]
    )
    rows: list[dict[str, object]] = []
    for width, count, steps in sizes:
        rows += measure(corpus, width, sizes[0][0], count, steps, device, small)
        for item in rows[-4:]:
            print(json.dumps(item), flush=True)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    result = {
        "benchmark": f"population-{options.device}",
        "machine": torch.cuda.get_device_name() if not small else f"{platform.machine()} CPU",
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "threads": torch.get_num_threads(),
        "commit": commit or "unknown",
        "rows": rows,
    }
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
