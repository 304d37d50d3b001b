"""A row's model, its population as a step that can be timed, and what ran on the device."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import torch
from _plain_loop import plain_loop
from _timing import Step, Times, interleaved, synchronize

from widthwise.models import Transformer
from widthwise.optim import AdamUpdate
from widthwise.scaling import TRANSFORMER_ROLES, ReferencePlan, assign_roles, make_reference_plan, resolve
from widthwise.theory import ADAM, FULL_RATES, STANDARD
from widthwise.train import (
    Corpus,
    Engine,
    Member,
    Population,
    Precision,
    Recipe,
    TrainingStep,
    WarmupCosine,
)
from widthwise.train.batches import Batches
from widthwise.train.step_graph import stepper

EPSILON = 1e-12
BASE_WIDTH = 128
"""Rates are relative to this width unless said, so that members of every width train and none becomes NaN."""

WARM_STEPS = 5
"""Before anything is timed; cuDNN plans and allocators settle in the first two or three."""


@dataclass(frozen=True)
class Scale:
    """Where, and how long each turn of a contest is.

    Args:
        rounds: turns of each contestant.
        seconds, most: about how long a turn is, and its largest number of steps.
    """

    device: torch.device
    rounds: int
    seconds: float
    most: int

    @property
    def cuda(self) -> bool:
        """Whether there is a graph to record and a program to compile."""
        return self.device.type == "cuda"

    @property
    def horizon(self) -> int:
        """Steps that a schedule must have for a contest (`interleaved`), a proof and a profile."""
        return (self.rounds + 1) * self.most + WARM_STEPS + 16

    @property
    def fast(self) -> Engine:
        """How the candidate runs: recorded and compiled on CUDA, one operation at a time on a CPU."""
        return Engine(captured=self.cuda, compiled=self.cuda)


LARGE = Scale(torch.device("cuda"), rounds=5, seconds=0.25, most=256)
CPU = Scale(torch.device("cpu"), rounds=5, seconds=0.0, most=1)
SMOKE = Scale(torch.device("cpu"), rounds=2, seconds=0.0, most=1)


@dataclass(frozen=True)
class Case:
    """One row of a table.

    Args:
        model: what is trained.
        batch: sequences a member and step.
        members: P.
        required: how many times the plain loop's tokens a second are asked for; None for no target.
        required_alone: the same against this engine at P = 1.
    """

    model: Transformer
    batch: int
    members: int
    required: float | None = None
    required_alone: float | None = None

    @property
    def tokens(self) -> int:
        """Of one member in one step."""
        return self.batch * self.model.context

    @property
    def flops(self) -> float:
        """Model FLOPs of one member's step: 6 (12 depth D^2 + V D) + 6 depth T D a token, causal attention once."""
        m = self.model
        matrices = 12 * m.depth * m.width**2 + m.vocabulary * m.width
        return float(self.tokens) * 6 * (matrices + m.depth * m.context * m.width)

    @property
    def label(self) -> str:
        """`D=128, 16x256 tokens, V=256`: what the row's name says of the model."""
        m = self.model
        heads = "" if m.head_dim == 128 else f", heads of {m.head_dim}"
        depth = "" if m.depth == 8 else f", {m.depth} blocks"
        return f"D={m.width}{heads}{depth}, {self.batch}x{m.context} tokens, V={m.vocabulary}"


def plan_for(model: Transformer, base_width: int) -> ReferencePlan:
    """Standard parameterization with full-alignment rates under Adam."""
    return make_reference_plan(
        assign_roles(model.tensors(), TRANSFORMER_ROLES),
        width=model.width,
        base_width=base_width,
        parameterization=STANDARD,
        optimizer=ADAM,
        prescription=FULL_RATES,
    )


def crowd_of(
    model: Transformer, members: int, *, base_width: int = BASE_WIDTH, highest: float = 2.0**-8
) -> list[Member]:
    """Members whose rates fall from `highest` by quarters of an octave, over four octaves and again.

    Args:
        base_width: the width that rates are relative to.
    """
    plan = plan_for(model, base_width)
    rates = [highest * 2.0 ** (-(i % 16) / 4) for i in range(members)]
    return [
        Member(resolve(plan, learning_rate=rate, epsilon=EPSILON), init_seed=i, data_seed=0)
        for i, rate in enumerate(rates)
    ]


def recipe_for(
    model: Transformer, batch: int, steps: int, precision: Precision = Precision.BFLOAT16
) -> Recipe:
    """Adam, a tenth of warm-up, then a cosine."""
    return Recipe(
        model=model,
        update=AdamUpdate(0.9, 0.98),
        schedule=WarmupCosine(steps, steps // 10),
        batch=batch,
        precision=precision,
        validation_windows=batch,
        curve_points=steps,
    )


def random_text(vocabulary: int) -> Corpus:
    """A million tokens of any vocabulary: what is timed must not depend on the text."""
    tokens = np.random.default_rng(0).integers(0, vocabulary, 1 << 20, dtype=np.int32)
    return Corpus(name="random", train=tokens, validation=tokens[: 1 << 16], digest="")


@dataclass(frozen=True)
class Prepared:
    """A warm contestant.

    Args:
        run: the next step, or the first few of a recorded one.
        seconds: until its first steps were done: draws, compilation, proof and recording.
        population: what it trains; None for the plain loop.
    """

    run: Step
    seconds: float
    population: Population | None = None

    @property
    def dead(self) -> int:
        """Members with a weight that is not finite: NaN is multiplied at another speed than numbers."""
        if self.population is None:
            return 0
        tensors = [t.flatten(1).isfinite().all(1) for t in self.population.parameters.values()]
        return int((~torch.stack(tensors).all(0)).sum())


def prepared(make: Callable[[], Step], scale: Scale) -> Prepared:
    """Build a contestant and take its first steps."""
    started = perf_counter()
    run = make()
    run()
    synchronize(scale.device)
    seconds = perf_counter() - started
    for _ in range(WARM_STEPS if scale.cuda else 0):
        run()
    return Prepared(run, seconds)


def population_step(case: Case, members: int, scale: Scale, engine: Engine) -> tuple[TrainingStep, Step]:
    """A population's next steps, and what runs them."""
    recipe = recipe_for(case.model, case.batch, scale.horizon)
    population = Population(recipe, crowd_of(case.model, members), scale.device)
    batches = Batches(
        random_text(case.model.vocabulary),
        [0],
        steps=scale.horizon,
        batch=case.batch,
        context=case.model.context,
        device=scale.device,
    )
    stream_P = torch.zeros(members, dtype=torch.long, device=scale.device)
    step = TrainingStep(recipe, population, batches, stream_P, losses=engine.losses(population))
    return step, stepper(step, engine)


def engine_contestant(case: Case, members: int, scale: Scale) -> Prepared:
    """The engine as training uses it, with some number of members."""
    built: list[Population] = []

    def make() -> Step:
        step, run = population_step(case, members, scale, scale.fast)
        built.append(step.population)
        return run

    return replace(prepared(make, scale), population=built[0])


def plain_contestant(case: Case, scale: Scale) -> Prepared:
    """The ordinary loop."""
    return prepared(lambda: plain_loop(case.model, case.batch, scale.device), scale)


def contest(contestants: dict[str, Prepared], scale: Scale) -> dict[str, Times]:
    """Times of all, in turn."""
    return interleaved(
        {name: each.run for name, each in contestants.items()},
        device=scale.device,
        rounds=scale.rounds,
        seconds=scale.seconds,
        most=scale.most,
    )


ATTENTION_MARKS = ("flash", "attention", "sdpa", "fmha")
MATMUL_MARKS = ("gemm", "nvjet", "matmul", "triton_tem", "mm", "cutlass")


def backends(run: Step, device: torch.device) -> dict[str, str]:
    """The kernels in which one step spent most of its attention and matrix-product time, and its five largest.

    What ran is asked of the profiler, not of settings: on CUDA the device's own kernels, on a CPU the operators.
    """
    cuda = device.type == "cuda"
    kinds = torch.profiler.ProfilerActivity
    try:
        with torch.profiler.profile(activities=[kinds.CUDA] if cuda else [kinds.CPU]) as found:
            run()
            synchronize(device)
        spent: Counter[str] = Counter()
        for event in found.key_averages():
            spent[event.key] += event.self_device_time_total if cuda else event.self_cpu_time_total
    except RuntimeError as error:  # a machine without the profiler's library
        return {"attention": f"unknown: {error}"[:200], "matmul": "unknown", "largest": "unknown"}
    total = sum(spent.values()) or 1.0
    ranked = [name for name, _ in spent.most_common()]

    def first(marks: tuple[str, ...], without: tuple[str, ...] = ()) -> str:
        names = (n for n in ranked if any(m in n.lower() for m in marks))
        return next((n[:120] for n in names if not any(m in n.lower() for m in without)), "unknown")

    largest = "; ".join(f"{name[:80]} {spent[name] / total:.0%}" for name in ranked[:5])
    return {
        "attention": first(ATTENTION_MARKS),
        "matmul": first(MATMUL_MARKS, without=ATTENTION_MARKS),
        "largest": largest,
    }
