"""What a study would take, before it runs: trials, populations, arithmetic, memory, hours and money on a named GPU.

Nothing is trained and no text is read. Counted as arithmetic: the matrix products of training, 6 floating-point
operations per token and weight of blocks and readout and 6 L D per token and block of attention, which is causal and
counted once; not recomputing, embeddings, norms, the optimizer and validation.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from widthwise.study.arm_spec import ConstantsSpec
from widthwise.study.arms import expand_arms
from widthwise.study.compose import PopulationSize, even_parts, shape_key
from widthwise.study.expand import StudyPlan, expand
from widthwise.study.fit import Fit, fit
from widthwise.study.fit_wide import fit_wide
from widthwise.study.gpu import Gpu
from widthwise.study.horizon import non_embedding
from widthwise.study.layer_by_layer import LayerByLayer, layer_by_layer, what_would
from widthwise.study.own_spec import OwnSpec
from widthwise.study.rate_spec import RateList
from widthwise.study.rates_choice import OpenRates
from widthwise.study.recipe import Recipe
from widthwise.study.sharded_memory import MOST_GPUS
from widthwise.study.spec import StudySpec
from widthwise.study.sweep_rounds import expected_runs
from widthwise.study.train_wide import is_wide
from widthwise.study.unused import require_used

if TYPE_CHECKING:
    from widthwise.train import Recipe as TrainRecipe

NO_TEXT = "0" * 64
"""Stands for the hash of a corpus that is not read."""


@dataclass(frozen=True)
class ShapeEstimate:
    """Trials of one shape: one width, one optimizer with its constants, one horizon.

    Args:
        search: whether they are proposed by the search for constants.
        tokens: of one trial.
        flops: of all of them.
        populations: how many of up to `fit.members`.
        fit: how they run; None if no number of GPUs holds one of them.
        layer_by_layer: what one GPU would need instead, of a model that is sharded.
    """

    width: int
    optimizer: str
    search: bool
    parameters: int
    non_embedding: int
    steps: int
    tokens: int
    trials: int
    flops: float
    populations: int
    gpu_seconds: float
    fit: Fit | None
    layer_by_layer: LayerByLayer | None = None


@dataclass(frozen=True)
class StudyEstimate:
    """The whole study on one kind of GPU.

    Args:
        cells: named points; `trials` of them are different runs, the others are served by those.
        shapes: by width, then in the order of the specification; the search for constants last.
        price: US dollars a GPU-hour.
        swept: whether rates are planned while the study runs, so that their number is an expectation.
    """

    name: str
    gpu: Gpu
    price: float
    arms: int
    cells: int
    trials: int
    shapes: tuple[ShapeEstimate, ...]
    swept: bool = False

    @property
    def merged(self) -> int:
        """Cells that need no run of their own."""
        return self.cells - self.trials

    @property
    def populations(self) -> int:
        """Of all shapes."""
        return sum(shape.populations for shape in self.shapes)

    @property
    def searched(self) -> int:
        """Trials that the search for constants adds."""
        return sum(shape.trials for shape in self.shapes if shape.search)

    @property
    def flops(self) -> float:
        """Of all trials."""
        return sum(shape.flops for shape in self.shapes)

    @property
    def tokens(self) -> int:
        """Over all trials."""
        return sum(shape.tokens * shape.trials for shape in self.shapes)

    @property
    def hours(self) -> float:
        """GPU-hours."""
        return sum(shape.gpu_seconds for shape in self.shapes) / 3600

    @property
    def dollars(self) -> float:
        """What they cost."""
        return self.hours * self.price


def _calls(spec: StudySpec) -> str:
    """How often a training function is called: "12 at each of the widths 16, 32"."""
    plan = expand(spec, corpus=NO_TEXT, population_size=1, runs=expected_runs(spec))
    counts = Counter(trial.recipe["model"]["width"] for trial in plan.trials)
    listed = ", ".join(f"{count} of width {width}" for width, count in sorted(counts.items()))
    return f"{len(plan.trials)} in all, {listed}"


def estimate_study(spec: StudySpec, gpu: Gpu, *, price: float | None = None) -> StudyEstimate:
    """Estimate a study (imports torch for the models' shapes).

    Args:
        price: US dollars a GPU-hour; None for the GPU's own, which is assumed.

    Raises:
        ValueError: a user's own function, what `expand` and `require_used` raise, a price that is negative or not
            finite, or widths of which no number of GPUs holds a model.
    """
    if price is not None and not 0 <= price < inf:
        raise ValueError(f"price {price} must be finite and at least 0 dollars a GPU-hour")
    if isinstance(spec.model, OwnSpec):
        raise ValueError(
            f"nobody but {spec.model.runner!r} itself knows what its trials take, {_calls(spec)}; "
            "a reference model can be planned"
        )
    require_used(spec)
    known = _stand_ins(spec)
    sizes = _Sizes(known, gpu)
    plan = expand(known, corpus=NO_TEXT, population_size=sizes, runs=expected_runs(known))
    shapes, asked = _shapes(plan, sizes, gpu), list(sizes.found.values())
    searches = _searches(spec)
    if searches is not None:
        times = spec.constants_search.trials
        sizes = _Sizes(searches, gpu, times=times)
        found = expand(searches, corpus=NO_TEXT, population_size=sizes)
        shapes += _shapes(found, sizes, gpu, times=times, search=True)
        asked += sizes.found.values()
    _require_fit(asked, gpu)
    return StudyEstimate(
        name=spec.name,
        gpu=gpu,
        price=gpu.price if price is None else price,
        arms=len(plan.arms),
        cells=len(plan.cells),
        trials=len(plan.trials),
        shapes=tuple(shapes),
        swept=bool(plan.sweeps),
    )


class _Sizes:
    """The rule for `expand` that asks for a named GPU, and remembers what it has answered for each shape."""

    def __init__(self, spec: StudySpec, gpu: Gpu, *, times: int = 1) -> None:
        self._spec, self._gpu, self._times = spec, gpu, times
        self._arms = len(expand_arms(spec))
        self.found: dict[str, tuple[TrainRecipe, Fit | None]] = {}
        self.kinds: dict[str, str] = {}

    def __call__(self, recipe: Recipe, trials: int) -> PopulationSize:
        from widthwise.study.runner import train_recipe

        shared = train_recipe(recipe, self._spec.measure)
        tokens = shared.schedule.steps * shared.batch * shared.model.context
        seeds = len(self._spec.seeds)
        if is_wide(recipe):
            chosen = fit_wide(recipe, shared, self._gpu)
        else:
            chosen = fit(
                shared,
                self._gpu,
                trials=trials * self._times,
                corpus_bytes=tokens if self._spec.tokenizer is None else 2 * tokens,
                seeds=seeds,
                starts=seeds * self._arms,
            )
        shape = shape_key(recipe)
        self.found[shape], self.kinds[shape] = (shared, chosen), recipe["optimizer"]["kind"]
        if chosen is None:
            return PopulationSize(1)
        return PopulationSize(chosen.members, chosen.micro_batches, chosen.recompute)


def _stand_ins(spec: StudySpec) -> StudySpec:
    """The study with constants and rates in the place of those that are to be found: such as no other arm has."""

    def settled(choice: ConstantsSpec) -> ConstantsSpec:
        update = {"searched": False, "hidden": 1 + 2**-20}
        return choice.model_copy(update=update) if choice.searched else choice

    arms = [
        part.model_copy(
            update={
                "constants": tuple(settled(choice) for choice in part.constants),
                "rates": tuple(r.stand_in if isinstance(r, OpenRates) else r for r in part.rates),
            }
        )
        for part in spec.arms
    ]
    return spec.model_copy(update={"arms": tuple(arms)})


def _searches(spec: StudySpec) -> StudySpec | None:
    """A study of one trial for each search, at the base width: prescriptions that agree there have one search."""
    arms = []
    for part in spec.arms:
        searched = tuple(choice for choice in part.constants if choice.searched)
        if searched:
            rate = (part.learning_rates or spec.learning_rates).rates()[:1]
            update = {"constants": searched, "widths": None, "learning_rates": RateList(values=rate)}
            arms.append(part.model_copy(update=update))
    if not arms:
        return None
    update = {"arms": tuple(arms), "widths": (spec.base,), "base_width": spec.base, "seeds": spec.seeds[:1]}
    return _stand_ins(spec.model_copy(update=update))


def _shapes(
    plan: StudyPlan, sizes: _Sizes, gpu: Gpu, *, times: int = 1, search: bool = False
) -> list[ShapeEstimate]:
    """The plan's shapes in order, each trial taken `times` times."""
    from widthwise.train.throughput import step_flops

    counts: dict[str, int] = {}
    for trial in plan.trials:
        counts[trial.shape] = counts.get(trial.shape, 0) + times
    found: list[ShapeEstimate] = []
    for shape, trials in counts.items():
        recipe, chosen = sizes.found[shape]
        model, steps = recipe.model, recipe.schedule.steps
        populations = even_parts(trials, 1 if chosen is None else chosen.members)
        seconds = {p: 0.0 if chosen is None else chosen.gpu_seconds(p, steps) for p in set(populations)}
        found.append(
            ShapeEstimate(
                width=model.width,
                optimizer=sizes.kinds[shape],
                search=search,
                parameters=model.parameter_count,
                non_embedding=non_embedding({name: t.shape for name, t in model.tensors().items()}),
                steps=steps,
                tokens=steps * recipe.batch * model.context,
                trials=trials,
                flops=trials * steps * step_flops(recipe),
                populations=len(populations),
                gpu_seconds=sum(seconds[p] for p in populations),
                fit=chosen,
                layer_by_layer=None if chosen is None or chosen.gpus == 1 else layer_by_layer(recipe, gpu),
            )
        )
    return found


def _require_fit(shapes: Iterable[tuple["TrainRecipe", Fit | None]], gpu: Gpu) -> None:
    lacking: dict[int, TrainRecipe] = {}
    for recipe, chosen in shapes:
        if chosen is None:
            lacking.setdefault(recipe.model.width, recipe)
    if not lacking:
        return
    most = "one" if gpu.capability is None else f"up to {MOST_GPUS}"
    models = ", ".join(
        f"width {width} ({recipe.model.parameter_count:,} parameters)" for width, recipe in lacking.items()
    )
    ways = (what_would(recipe, gpu) for recipe in lacking.values())
    raise ValueError(
        f"no number of GPUs that is planned for ({most} {gpu.name}, {gpu.bytes / 2**30:.0f} GiB each) holds a model of "
        f"{models}; choose another --gpu, leave these widths out, or choose a smaller batch or context"
        + "".join(f"; {way}" for way in ways if way)
    )
