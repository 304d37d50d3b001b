"""Populations on a CPU: the whole of training, eager, in float32, against the same models one at a time."""

from collections.abc import Iterator

import torch
from _population_case import Scale, crowd_of, recipe_for
from _population_fidelity import curves, largest
from _record import Row, row
from _timing import Times, timed

from widthwise.models import Transformer
from widthwise.train import Corpus, Engine, Precision, train_population

CASES = ((32, 2.2), (64, 1.6), (128, 1.1))
"""Widths, and how many times as fast a population has to be; nowhere may it be slower."""

MEMBERS, STEPS, BATCH = 18, 10, 8
BEST = 2.0**-5


def cpu_rows(part: str, corpus: Corpus, scale: Scale, *, smoke: bool) -> Iterator[Row]:
    """A training run per model and turn, P members together and one alone in turn."""
    cpu = torch.device("cpu")
    members, steps, batch = (3, 2, 2) if smoke else (MEMBERS, STEPS, BATCH)
    for width, required in CASES[:1] if smoke else CASES:
        model = Transformer(width, 2, 16, 256, 16 if smoke else 64)
        recipe = recipe_for(model, batch, steps, Precision.FLOAT32)
        crowd = crowd_of(model, members, base_width=CASES[0][0], highest=2 * BEST)

        def together() -> None:
            train_population(recipe, crowd, corpus, device=cpu)  # noqa: B023

        def alone() -> None:
            train_population(recipe, crowd[:1], corpus, device=cpu)  # noqa: B023

        for warm in (together, alone):
            warm()
        samples = [(timed(together, cpu, 1), timed(alone, cpu, 1)) for _ in range(scale.rounds)]
        found = [Times(tuple(1e3 * s for s in column)) for column in zip(*samples, strict=True)]
        label = f"{part}: D={width}, P={members}, float32"
        ratio = found[1].median * members / found[0].median
        yield row(f"{label}: training time a model", found[0].median / members, "ms", "P=1", ratio, required)
        yield row(f"{label}: slowest round of P=1 over fastest", found[1].most / found[1].least, "ratio")
        fidelity = recipe_for(model, batch, 2 if smoke else 20, Precision.FLOAT32)
        apart = [curves(fidelity, [m], corpus, cpu, Engine())[0] for m in crowd[:8]]
        side_by_side = curves(fidelity, crowd[:8], corpus, cpu, Engine())
        difference = max(largest(a, b) for a, b in zip(side_by_side, apart, strict=True))
        yield row(f"{label}: member, 20 steps", difference, "relative", "the same alone", target="< 1e-5")
