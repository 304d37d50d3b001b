"""That a member of a population is the model it would be alone, and that nothing passes between members."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from _population_case import Scale, crowd_of, recipe_for
from _record import Row, failed, row
from _timing import forget
from numpy.typing import NDArray
from scipy.stats import f as f_distribution

from widthwise.models import Transformer
from widthwise.scaling import TensorNumbers
from widthwise.train import Corpus, Engine, Member, Precision, Recipe, train_population

Curves = NDArray[np.float64]
NUDGE = 1 + 2.0**-20
"""On one tensor's init: 2^11 times smaller than a rounding of bfloat16, and many of float32's."""


def curves(
    recipe: Recipe, crowd: Sequence[Member], corpus: Corpus, device: torch.device, engine: Engine
) -> Curves:
    """Every member's training losses, [P, L]; a member that diverged has NaN from there on."""
    outcomes = train_population(recipe, crowd, corpus, device=device, engine=engine)
    found = np.full((len(crowd), recipe.schedule.steps), np.nan)
    for p, outcome in enumerate(outcomes):
        for step, loss in outcome.curve:
            found[p, step - 1] = loss
    return found


def largest(found: Curves, expected: Curves) -> float:
    """The largest relative difference; infinite where only one of the two is finite."""
    if not np.array_equal(np.isfinite(found), np.isfinite(expected)):
        return float("inf")
    with np.errstate(invalid="ignore"):
        return float(np.nanmax(np.abs(found / expected - 1)))


def broken(member: Member) -> Member:
    """The same member with an infinite readout."""
    nothing = TensorNumbers(init=float("inf"), multiplier=1.0, rate=1.0, epsilon=0.0)
    return replace(member, numbers={**member.numbers, "readout": nothing})


def nudged(member: Member) -> Member:
    """The same member, its readout larger by less than any product sees."""
    readout = member.numbers["readout"]
    return replace(member, numbers={**member.numbers, "readout": replace(readout, init=readout.init * NUDGE)})


@contextmanager
def deterministic() -> Iterator[None]:
    """PyTorch's deterministic algorithms: two runs of a program agree to the bit, so that equality means something.

    Needs CUBLAS_WORKSPACE_CONFIG=:4096:8 before CUDA starts, which `population.py` sets.
    """
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def fp32_rows(
    label: str, model: Transformer, batch: int, corpus: Corpus, scale: Scale, best: float
) -> Iterator[Row]:
    """Members against themselves alone over 20 steps, at up to twice the best rate."""
    steps = 20 if scale.cuda else 4
    recipe = recipe_for(model, batch, steps, Precision.FLOAT32)
    crowd = crowd_of(model, 8 if scale.cuda else 3, highest=2 * best)
    together = curves(recipe, crowd, corpus, scale.device, Engine())
    alone = np.concatenate([curves(recipe, [m], corpus, scale.device, Engine()) for m in crowd])
    yield row(
        f"{label}: member, fp32, {steps} steps",
        largest(together, alone),
        "relative",
        "the same alone",
        target="< 1e-5",
    )


def isolation_rows(
    label: str, model: Transformer, batch: int, corpus: Corpus, scale: Scale, best: float
) -> Iterator[Row]:
    """In deterministic mode: neighbours of an infinite member keep their bits; a recorded step is the step."""
    recipe = recipe_for(model, batch, *((24, Precision.BFLOAT16) if scale.cuda else (4, Precision.FLOAT32)))
    crowd = crowd_of(model, 4, highest=best)
    kept = [0, 1, 3]
    try:
        with deterministic():
            healthy = curves(recipe, crowd, corpus, scale.device, Engine())
            again = curves(recipe, crowd, corpus, scale.device, Engine())
            wounded = [*crowd[:2], broken(crowd[2]), crowd[3]]
            beside = curves(recipe, wounded, corpus, scale.device, Engine())
            recorded = curves(recipe, crowd, corpus, scale.device, Engine(captured=scale.cuda))
    except RuntimeError as error:  # an operation without a deterministic form
        yield failed(f"{label}: deterministic mode", error)
        return
    yield row(
        f"{label}: the same population again, deterministic", _unlike(again, healthy), "losses unlike",
        "first run", target="0",
    )  # fmt: skip
    yield row(
        f"{label}: neighbours of an infinite member, deterministic", _unlike(beside[kept], healthy[kept]),
        "losses unlike", "beside a healthy one", target="0",
    )  # fmt: skip
    yield row(
        f"{label}: recorded steps, deterministic", _unlike(recorded, healthy), "losses unlike",
        "unrecorded", target="0",
    )  # fmt: skip


def _unlike(found: Curves, expected: Curves) -> int:
    return int((~((found == expected) | (np.isnan(found) & np.isnan(expected)))).sum())


def bf16_rows(
    label: str, model: Transformer, batch: int, corpus: Corpus, scale: Scale, best: float, steps: int
) -> Iterator[Row]:
    """Whole runs in bfloat16: population against alone, beside what alone differs from alone by.

    Alone against alone is a member's run and its run with an init that is larger by 2^-20: what rounding comes to over
    a run. (The same run again has the same bits.) The last tenth of the losses is averaged, per member. Both
    differences are random; of equal sizes, the ratio of their root mean squares over the members stays below
    sqrt(F), F the 95th percentile of Fisher's distribution, as often as not but for one time in twenty.
    """
    members = 16 if scale.cuda else 2
    recipe = recipe_for(model, batch, steps)
    crowd = crowd_of(model, members, highest=best)

    def ends(members: Sequence[Member], *, alone: bool) -> NDArray[np.float64]:
        groups = [[m] for m in members] if alone else [members]
        engine = Engine(captured=scale.cuda)
        found = np.concatenate([curves(recipe, group, corpus, scale.device, engine) for group in groups])
        return found[:, -max(1, steps // 10) :].mean(1)

    first = ends(crowd, alone=True)
    spread = rms(ends([nudged(m) for m in crowd], alone=True) - first)
    difference = rms(ends(crowd, alone=False) - first)
    name = f"{label}: bf16, {steps} steps, {members} members, last tenth of the losses, root mean square"
    yield row(f"{name}: alone against alone", spread, "nats")
    ratio = None if spread == 0 else difference / spread
    highest = f"<= {f_distribution.ppf(0.95, members, members) ** 0.5:.3g}"
    yield row(f"{name}: population against alone", difference, "nats", "alone against alone", ratio, highest)
    forget(scale.device)


def rms(values: NDArray[np.float64]) -> float:
    """The root mean square."""
    return float(np.sqrt(np.mean(values**2)))


def fidelity_rows(part: str, corpus: Corpus, scale: Scale) -> Iterator[Row]:
    """All of it at one or two widths; the best base rate is about 2^-7."""
    shapes = (
        ((128, 4, 64, 256, 16, 2.0**-7), (512, 4, 64, 256, 16, 2.0**-7))
        if scale.cuda
        else ((32, 2, 16, 16, 2, 2.0**-6),)
    )
    for width, depth, head_dim, context, batch, best in shapes:
        model = Transformer(width, depth, head_dim, 256, context)
        label = f"{part}: D={width}"
        yield from fp32_rows(label, model, batch, corpus, scale, best)
        yield from isolation_rows(label, model, batch, corpus, scale, best)
        yield from bf16_rows(label, model, batch, corpus, scale, best, 400 if scale.cuda else 4)
