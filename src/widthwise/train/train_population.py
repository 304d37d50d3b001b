"""Train a population to its horizon.

Shape legend: P members, L steps.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from widthwise.train.batches import Batches, validation_windows
from widthwise.train.corpus import Corpus
from widthwise.train.member import Divergence, Member, Outcome, Recipe
from widthwise.train.micro_batch import WHOLE, ActivationPlan
from widthwise.train.population import Population
from widthwise.train.step import TrainingStep
from widthwise.train.step_graph import Engine, engine_for, stepper

_POLL = 20
"""Steps between looks at which members are alive; each look waits for the device."""

Progress = Callable[[int], None]
"""Called with the number of steps done."""


def train_population(
    recipe: Recipe,
    members: Sequence[Member],
    corpus: Corpus,
    *,
    device: torch.device,
    progress: Progress | None = None,
    engine: Engine | None = None,
    activations: ActivationPlan = WHOLE,
) -> tuple[Outcome, ...]:
    """Train all members to the horizon and return how each ended, in the order given.

    Args:
        recipe: what the members share.
        members: at least one, each with numbers for every tensor of the model.
        corpus: must hold a batch (`Corpus.require`).
        progress: called now and then with the number of steps done.
        engine: how steps are run; by default what suits the device and the horizon (`engine_for`).
        activations: in how many pieces a step's batch runs, and whether blocks are recomputed.

    Raises:
        ValueError: no members, numbers that are not those of the model's tensors, too short a corpus, or a batch that
            does not divide into the pieces.
    """
    _require(recipe, members)
    corpus.require(batch=recipe.batch, context=recipe.model.context)
    steps, context = recipe.schedule.steps, recipe.model.context
    data_seeds = sorted({m.data_seed for m in members})
    stream_P = torch.tensor([data_seeds.index(m.data_seed) for m in members], device=device)
    batches = Batches(corpus, data_seeds, steps=steps, batch=recipe.batch, context=context, device=device)
    population = Population(recipe, members, device, activations=activations)
    chosen = engine_for(recipe, population) if engine is None else engine
    step = TrainingStep(recipe, population, batches, stream_P, losses=chosen.losses(population))
    run = stepper(step, chosen)
    done = 0
    while done < steps:
        done += run()
        if done % _POLL == 0 or done >= steps:
            if progress is not None:
                progress(done)
            if step.health.all_dead(population.optimizer):
                break
    windows = validation_windows(corpus, windows=recipe.validation_windows, context=context, device=device)
    validation = population.validation_losses(windows).tolist()
    curves = _curves(step.losses_LxP, recipe.curve_points)
    return tuple(
        _outcome(*ending, steps=steps)
        for ending in zip(step.health.findings(population.optimizer), validation, curves, strict=True)
    )


def _require(recipe: Recipe, members: Sequence[Member]) -> None:
    if not members:
        raise ValueError("a population needs at least one member; none were given")
    names = set(recipe.model.tensors())
    for position, member in enumerate(members):
        if set(member.numbers) != names:
            wrong = sorted(names ^ set(member.numbers))
            raise ValueError(f"member {position} and the model disagree about the tensors {wrong}")


def _outcome(
    finding: tuple[int, str] | None, validation: float, curve: list[tuple[int, float]], *, steps: int
) -> Outcome:
    finite = tuple(point for point in curve if abs(point[1]) < float("inf"))
    if finding is not None:
        return Outcome(None, Divergence(*finding), finite)
    if not abs(validation) < float("inf"):
        return Outcome(None, Divergence(steps, "non-finite validation loss"), finite)
    return Outcome(validation, None, finite)


def _curves(losses_LxP: Tensor, points: int) -> list[list[tuple[int, float]]]:
    """Per member: (last step, mean loss) of each of `points` equal stretches of the training curve."""
    steps, members = losses_LxP.shape
    ends = sorted({round(steps * (i + 1) / points) for i in range(points)} - {0})
    curves: list[list[tuple[int, float]]] = [[] for _ in range(members)]
    start = 0
    for end in ends:
        for curve, mean in zip(curves, losses_LxP[start:end].double().mean(0).tolist(), strict=True):
            curve.append((end, mean))
        start = end
    return curves
