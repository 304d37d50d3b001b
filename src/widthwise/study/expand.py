"""From a specification to its trials: every cell resolved, equal recipes merged, trials put into populations."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from widthwise.records import ArmRow, CellRow
from widthwise.scaling import (
    TRANSFORMER_ROLES,
    EpsilonPolicy,
    Gauge,
    ReferencePlan,
    TensorRole,
    assign_roles,
    make_reference_plan,
    mlp_roles,
    resolve,
)
from widthwise.study.compose import PlannedTrial, PopulationSize, Sizes, compose, require_size
from widthwise.study.recipe import Recipe, identity, pack_numbers, rounded
from widthwise.study.spec import AdamPsSpec, AdamSpec, ArmSpec, MLPSpec, OptimizerSpec, StudySpec
from widthwise.theory import (
    ADAFACTOR,
    ADAM,
    ADAM_PS,
    FULL,
    NONE,
    PARAMETERIZATIONS,
    PRESCRIPTIONS,
    SGD,
    OptimizerRule,
    Parameterization,
    Prescription,
    predicted_drift,
)

if TYPE_CHECKING:
    from widthwise.models import ReferenceModel

RULES: Mapping[str, OptimizerRule] = {
    "sgd": SGD,
    "adam": ADAM,
    "adam-atan2": ADAM,
    "adam-ps": ADAM_PS,
    "adafactor": ADAFACTOR,
}
"""Which rule of the theory each trained optimizer follows."""


@dataclass(frozen=True)
class Arm:
    """One prescription of a study, with nothing left open."""

    name: str
    parameterization: Parameterization
    prescription: Prescription
    optimizer: OptimizerSpec
    learning_rates: tuple[float, ...]

    @property
    def rule(self) -> OptimizerRule:
        """The optimizer as the theory sees it."""
        return RULES[self.optimizer.kind]

    def row(self) -> ArmRow:
        """What the store keeps of it; best rate ~ width^(-drift), so the exponent's sign is turned."""
        drifts = (
            predicted_drift(self.parameterization, self.rule, self.prescription, truth)
            for truth in (FULL, NONE)
        )
        full, none = (str(-drift) for drift in drifts)
        return ArmRow(
            name=self.name,
            parameterization=self.parameterization.name,
            prescription=self.prescription.name,
            optimizer=self.optimizer.kind,
            predicted_full=full,
            predicted_none=none,
        )


@dataclass(frozen=True)
class StudyPlan:
    """What a study will do.

    Args:
        populations: trial ids, in the order in which they train side by side.
        sizes: of each population; `members` is the most that its shape has in any.
    """

    base_width: int
    arms: tuple[Arm, ...]
    trials: tuple[PlannedTrial, ...]
    cells: tuple[CellRow, ...]
    populations: tuple[tuple[int, ...], ...]
    sizes: tuple[PopulationSize, ...]


def expand_arms(spec: StudySpec) -> tuple[Arm, ...]:
    """All arms of a study, named `parameterization-rates`, with the optimizer first where several are used.

    Raises:
        ValueError: two arms of the same name.
    """
    several = len({(arm.optimizer or spec.optimizer).kind for arm in spec.arms}) > 1
    arms = tuple(arm for part in spec.arms for arm in _expand_arm(spec, part, name_optimizer=several))
    names = [arm.name for arm in arms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"arms {twice} stand more than once in the specification; give each a `name` of its own"
        )
    return arms


def _expand_arm(spec: StudySpec, part: ArmSpec, *, name_optimizer: bool) -> Iterator[Arm]:
    optimizer = part.optimizer or spec.optimizer
    combinations = [(p, r) for p in part.parameterization for r in part.rates]
    for parameterization, rates in combinations:
        label = f"{parameterization}-{rates}"
        if name_optimizer:
            label = f"{optimizer.kind}-{label}"
        if part.name is not None:
            label = part.name if len(combinations) == 1 else f"{part.name}-{parameterization}-{rates}"
        yield Arm(
            name=label,
            parameterization=PARAMETERIZATIONS[parameterization],
            prescription=PRESCRIPTIONS[rates],
            optimizer=optimizer,
            learning_rates=(part.learning_rates or spec.learning_rates).rates(),
        )


def build_model(spec: StudySpec, width: int) -> "ReferenceModel":
    """The study's model at a width (imports torch)."""
    from widthwise.models import MLP, Transformer
    from widthwise.train import VOCABULARY

    if isinstance(spec.model, MLPSpec):
        return MLP(
            width=width,
            depth=spec.model.depth,
            window=spec.model.window,
            vocabulary=VOCABULARY,
            context=spec.model.context,
        )
    return Transformer(
        width=width,
        depth=spec.model.depth,
        head_dim=spec.model.head_dim,
        vocabulary=VOCABULARY,
        context=spec.model.context,
    )


def expand(spec: StudySpec, *, corpus: str, population_size: int | Sizes) -> StudyPlan:
    """Resolve every cell, merge equal trials, and compose populations.

    Args:
        corpus: the hash of the text, which is part of every recipe.
        population_size: how many members a population has at most; one number, or a rule that says it for each shape.

    Raises:
        ValueError: two arms of the same name, a population size below 1, or what the rule raises.
    """
    if isinstance(population_size, int):
        fixed = PopulationSize(require_size(population_size))
        return expand(spec, corpus=corpus, population_size=lambda recipe, trials: fixed)
    arms = expand_arms(spec)
    trials: dict[str, PlannedTrial] = {}
    cells: list[CellRow] = []
    for width in spec.widths:
        model = build_model(spec, width)
        rules = mlp_roles(spec.model.window) if isinstance(spec.model, MLPSpec) else TRANSFORMER_ROLES
        roles = assign_roles(model.tensors(), rules)
        for arm in arms:
            plans = _plans(spec, arm, roles, width)
            for rate in arm.learning_rates:
                for seed in spec.seeds:
                    recipe = _recipe(spec, arm, plans, width=width, rate=rate, seed=seed, corpus=corpus)
                    key = identity(recipe)
                    trial = trials.setdefault(key, PlannedTrial(len(trials) + 1, key, recipe))
                    cells.append(CellRow(arm.name, width, rate, seed, trial.id))
    composed = compose(tuple(trials.values()), cells, population_size)
    return StudyPlan(
        base_width=spec.base,
        arms=arms,
        trials=tuple(trials.values()),
        cells=tuple(cells),
        populations=tuple(ids for ids, _ in composed),
        sizes=tuple(size for _, size in composed),
    )


def _plans(
    spec: StudySpec, arm: Arm, roles: Mapping[str, TensorRole], width: int
) -> Mapping[Gauge, ReferencePlan]:
    given = arm.optimizer
    policy = given.epsilon_policy if isinstance(given, AdamSpec | AdamPsSpec) else EpsilonPolicy.CONSTANT
    return {
        gauge: make_reference_plan(
            roles,
            width=width,
            base_width=spec.base,
            parameterization=arm.parameterization,
            optimizer=arm.rule,
            prescription=arm.prescription,
            anchor=spec.anchor,
            gauge=gauge,
            epsilon=policy,
        )
        for gauge in {Gauge.FOLDED, spec.gauge}
    }


def _recipe(
    spec: StudySpec,
    arm: Arm,
    plans: Mapping[Gauge, ReferencePlan],
    *,
    width: int,
    rate: float,
    seed: int,
    corpus: str,
) -> Recipe:
    training, optimizer = spec.training, arm.optimizer
    epsilon = optimizer.epsilon if isinstance(optimizer, AdamSpec | AdamPsSpec) else 0.0
    folded = resolve(plans[Gauge.FOLDED], learning_rate=rate, epsilon=epsilon)
    explicit = resolve(plans[spec.gauge], learning_rate=rate, epsilon=epsilon)
    return {
        "model": {**spec.model.model_dump(mode="json"), "width": width},
        "optimizer": optimizer.model_dump(mode="json", exclude={"epsilon", "epsilon_policy"}),
        "schedule": {
            "steps": training.steps,
            "warmup": training.warmup_steps,
            "floor": rounded(training.floor),
        },
        "batch": training.batch,
        "divergence": {
            "margin": rounded(training.divergence.margin),
            "steps": training.divergence.steps,
        },
        "precision": training.precision,
        "corpus": corpus,
        "validation_windows": spec.validation_windows,
        "seeds": {"init": seed, "data": seed},
        **pack_numbers(folded, None if spec.gauge is Gauge.FOLDED else explicit),
    }
