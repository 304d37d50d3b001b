"""From a specification to its trials: every cell resolved, equal recipes merged, trials put into populations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from widthwise.records import CellRow, LayerRow, SweepRow, TensorRow
from widthwise.scaling import (
    TRANSFORMER_ROLES,
    Anchor,
    EpsilonPolicy,
    Gauge,
    ReferenceLaws,
    ReferencePlan,
    TensorRole,
    assign_roles,
    mlp_roles,
    reference_laws,
)
from widthwise.study.arms import RULES, Arm, expand_arms
from widthwise.study.compose import PlannedTrial, PopulationSize, Sizes, compose, require_size
from widthwise.study.horizon import non_embedding, resolved_steps
from widthwise.study.own_spec import OwnSpec, own_fields, own_roles
from widthwise.study.rate_spec import RateSweep
from widthwise.study.recipe import any_block, canonical_json, rounded
from widthwise.study.recipe_parts import Fields, NumberFields, fields_of, identity_of, template_of, text_of
from widthwise.study.reference_model import (
    build_model,
    measured_layers,
    measured_tensors,
    model_roles,
    model_vocabulary,
)
from widthwise.study.spec import MLPSpec, StudySpec

if TYPE_CHECKING:
    pass

__all__ = ["RULES", "Arm", "StudyPlan", "build_model", "expand", "expand_arms", "model_roles"]


Runs = Callable[[Arm, int], Mapping[float, tuple[int, ...]]]
"""(arm, width) -> the base rates to train there, each with its seeds."""


@dataclass(frozen=True)
class StudyPlan:
    """What a study will do, or what is added to one.

    Args:
        trials: those that are new.
        populations: trial ids, in the order in which they train side by side.
        sizes: of each population; `members` is the most that its shape has in any.
        layers: those that are measured, at every width.
        tensors: those whose sizes are.
        sweeps: every arm and width whose rates are planned while the study runs.
    """

    base_width: int
    arms: tuple[Arm, ...]
    trials: tuple[PlannedTrial, ...]
    cells: tuple[CellRow, ...]
    populations: tuple[tuple[int, ...], ...]
    sizes: tuple[PopulationSize, ...]
    layers: tuple[LayerRow, ...] = ()
    tensors: tuple[TensorRow, ...] = ()
    sweeps: tuple[SweepRow, ...] = ()


def expand(
    spec: StudySpec,
    *,
    corpus: str,
    population_size: int | Sizes,
    runs: Runs | None = None,
    known: Mapping[str, int] | None = None,
) -> StudyPlan:
    """Resolve every cell, merge equal trials, and compose populations.

    Args:
        corpus: the hash of the text, which is part of every recipe.
        population_size: how many members a population has at most; one number, or a rule that says it for each shape.
        runs: which cells; None for those that a study begins with.
        known: the ids of trials that there are already, by identity; they serve cells, and are in no population.

    Raises:
        ValueError: two arms of the same name, constants or rates that are yet to be found, a horizon that ends within
            its warm-up, a population size below 1, or what the rule raises.
    """
    if isinstance(population_size, int):
        fixed = PopulationSize(require_size(population_size))
        return expand(
            spec, corpus=corpus, population_size=lambda recipe, trials: fixed, runs=runs, known=known
        )
    arms = expand_arms(spec)
    _require_known(arms)
    ids = dict(known or {})
    trials: list[PlannedTrial] = []
    cells: list[CellRow] = []
    layers: list[LayerRow] = []
    shared, plans, model_fields = _shared_fields(spec, corpus), _Plans(spec), _model_fields(spec)
    optimizers = {arm.name: _optimizer_text(arm) for arm in arms}
    places = ["tensors", "seeds", *(["own"] if isinstance(spec.model, OwnSpec) else [])]
    for width in spec.widths:
        wanted = [
            (arm, first_runs(spec, arm, width) if runs is None else runs(arm, width))
            for arm in arms
            if width in arm.widths
        ]
        if not any(rates for _, rates in wanted):
            continue
        roles, parameters, measured = _tensors(spec, width)
        layers += measured
        model = canonical_json({**model_fields, "width": width})
        for arm, seeds in wanted:
            schedule = _schedule_text(spec, arm, parameters)
            common = {**shared, "model": model, "optimizer": optimizers[arm.name], "schedule": schedule}
            shape, numbers, constants = text_of(common), plans.numbers(arm, roles, width), arm.constants.value
            template = template_of({**common, **numbers.rest}, places)
            for rate in seeds:
                own = {"tensors": numbers.tensors(rate, constants), **_own_fields(spec, arm, rate)}
                for seed in seeds[rate]:
                    text = template % {**own, "seeds": _seeds(seed)}
                    key = identity_of(text)
                    if key not in ids:
                        ids[key] = len(ids) + 1
                        trials.append(PlannedTrial(ids[key], key, text, shape))
                    cells.append(CellRow(arm.name, width, rate, seed, ids[key]))
    composed = compose(trials, cells, population_size)
    return StudyPlan(
        base_width=spec.base,
        arms=arms,
        trials=tuple(trials),
        cells=tuple(cells),
        populations=tuple(ids for ids, _ in composed),
        sizes=tuple(size for _, size in composed),
        layers=tuple(layers),
        tensors=tuple(row for width in spec.widths for row in measured_tensors(spec, width)),
        sweeps=tuple(
            SweepRow(arm.name, width)
            for arm in arms
            if isinstance(arm.grid, RateSweep)
            for width in arm.widths
        ),
    )


def _require_known(arms: Sequence[Arm]) -> None:
    """Check that every arm's constants and rates are numbers.

    Raises:
        ValueError: some are yet to be searched for or measured.
    """
    searched = [arm.name for arm in arms if arm.constants.searched]
    if searched:
        raise ValueError(
            f"the constants of arms {searched} are yet to be searched for; `widthwise study constants SPEC --store "
            "FILE` does; then run with --constants FILE, or write {embedding: ..., hidden: ..., readout: ...} in their "
            "place"
        )
    open_ = [arm.name for arm in arms if not arm.measured]
    if open_:
        raise ValueError(
            f"the rates of arms {open_} are yet to be measured; run with --measured FILE, the store of a study that "
            "has measured alignment, or write that in the place of `given`"
        )


def first_runs(spec: StudySpec, arm: Arm, width: int) -> Mapping[float, tuple[int, ...]]:
    """All runs of a grid; of a planned sweep, those that it begins with."""
    if not isinstance(arm.grid, RateSweep):
        return dict.fromkeys(arm.grid.rates_at(width), spec.seeds)
    return dict.fromkeys(arm.grid.rates(), spec.seeds[:1]) if width == arm.widths[0] else {}


@lru_cache(maxsize=1024)
def _seeds(seed: int) -> str:
    return canonical_json({"init": seed, "data": seed})


def _shared_fields(spec: StudySpec, corpus: str) -> Fields:
    """What all of a study's recipes have in common."""
    training = spec.training
    if isinstance(spec.model, OwnSpec):
        return fields_of({"batch": training.batch, "precision": training.precision})
    divergence = {"margin": rounded(training.divergence.margin), "steps": training.divergence.steps}
    return fields_of(
        {
            "batch": training.batch,
            "divergence": divergence,
            "precision": training.precision,
            "corpus": corpus,
            "validation_windows": spec.validation_windows,
            **({} if training.form is None else {"form": training.form.model_dump(mode="json")}),
        }
    )


def _model_fields(spec: StudySpec) -> Mapping[str, Any]:
    """All that a recipe says of the model but its width."""
    vocabulary = model_vocabulary(spec)
    own = {} if vocabulary is None else {"vocabulary": vocabulary}
    return {**spec.model.model_dump(mode="json", exclude={"vocabulary"}), **own}


def _optimizer_text(arm: Arm) -> str:
    return canonical_json(arm.optimizer.model_dump(mode="json", exclude={"epsilon", "epsilon_policy"}))


def _schedule_text(spec: StudySpec, arm: Arm, parameters: int) -> str:
    """The schedule of an arm's trials.

    Args:
        parameters: without the token embedding.
    """
    training = spec.training
    context = 1 if isinstance(spec.model, OwnSpec) else spec.model.context
    steps = resolved_steps(arm.horizon, parameters=parameters, tokens_a_step=training.batch * context)
    return canonical_json(
        {"steps": steps, "warmup": training.warmup_steps(steps), "floor": rounded(training.floor)}
    )


def _own_fields(spec: StudySpec, arm: Arm, rate: float) -> Fields:
    """What a user's own function is told beyond its numbers."""
    if not isinstance(spec.model, OwnSpec):
        return {}
    return fields_of({"own": own_fields(arm, base_width=spec.base, anchor=spec.anchor.value, rate=rate)})


def _tensors(spec: StudySpec, width: int) -> tuple[Mapping[str, TensorRole], int, list[LayerRow]]:
    """The roles of a model's tensors, its parameters without the token embedding, and the layers that are measured.

    Of a user's own model nobody knows the parameters, which are 0, and nothing is measured.

    Tensors of all blocks, which have the same numbers, stand there once: `blocks.*.mlp.up`.
    """
    if isinstance(spec.model, OwnSpec):
        return own_roles(spec.base, relative=spec.anchor is Anchor.RELATIVE), 0, []
    model = build_model(spec, width)
    shapes = {name: tensor.shape for name, tensor in model.tensors().items()}
    rules = mlp_roles(spec.model.window) if isinstance(spec.model, MLPSpec) else TRANSFORMER_ROLES
    roles = {any_block(name): role for name, role in assign_roles(shapes, rules).items()}
    return roles, non_embedding(shapes), list(measured_layers(spec, model))


class _Plans:
    """Scaling plans of a study. Exponents are found once for all widths, whose models have tensors of the same names
    and roles; arms that differ in constants or horizon have the same.
    """

    def __init__(self, spec: StudySpec) -> None:
        self._spec = spec
        self._laws: dict[tuple[int, int, int, EpsilonPolicy, Gauge], ReferenceLaws] = {}
        self._made: dict[tuple[int, int], ReferencePlan] = {}
        self._written: dict[tuple[int, int, float, float], NumberFields] = {}

    def numbers(self, arm: Arm, roles: Mapping[str, TensorRole], width: int) -> NumberFields:
        """An arm's numbers at a width, at every base rate and constants."""
        gauge = self._spec.gauge
        explicit = None if gauge is Gauge.FOLDED else self._plan(arm, roles, width, gauge)
        folded = self._plan(arm, roles, width, Gauge.FOLDED)
        key = (id(folded), id(explicit), arm.epsilon, arm.weight_decay)
        if key not in self._written:
            given = {"epsilon": arm.epsilon, "weight_decay": arm.weight_decay}
            self._written[key] = NumberFields(folded, explicit, **given)
        return self._written[key]

    def _plan(self, arm: Arm, roles: Mapping[str, TensorRole], width: int, gauge: Gauge) -> ReferencePlan:
        # Identities, not values: a study's arms live as long as this, and hashing exact exponents takes its time.
        values = (id(arm.parameterization), id(arm.rule), id(arm.prescription))
        key = (*values, arm.epsilon_policy, gauge)
        if key not in self._laws:
            self._laws[key] = reference_laws(
                roles,
                parameterization=arm.parameterization,
                optimizer=arm.rule,
                prescription=arm.prescription,
                anchor=self._spec.anchor,
                gauge=gauge,
                epsilon=arm.epsilon_policy,
            )
        laws = self._laws[key]
        if (id(laws), width) not in self._made:
            self._made[id(laws), width] = laws.at(width, base_width=self._spec.base)
        return self._made[id(laws), width]
