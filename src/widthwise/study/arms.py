"""From a specification's arms to arms with nothing left open: every combination of the axes, each with its name."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from widthwise.records import ArmRow
from widthwise.scaling import EpsilonPolicy
from widthwise.study.arm_spec import DEFAULT_CONSTANTS, ArmSpec, ConstantsSpec
from widthwise.study.horizon import Horizon
from widthwise.study.optimizer_spec import AdamPsSpec, AdamSpec, OptimizerSpec
from widthwise.study.rate_spec import RateGrid, RateList, RateSweep
from widthwise.study.rates_choice import OpenRates, prescription_of
from widthwise.study.spec import StudySpec
from widthwise.theory import (
    ADAFACTOR,
    ADAM,
    ADAM_PS,
    FULL,
    NONE,
    PARAMETERIZATIONS,
    SGD,
    OptimizerRule,
    Parameterization,
    Prescription,
    predicted_drift,
)

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
    """One prescription of a study, with nothing left open.

    Args:
        grid: the base rates, which may depend on the width, or how they are planned while the study runs.
        widths: those it is trained at, ascending.
        measured: whether its rates are known; else `prescription` stands in for what is yet to be measured.
    """

    name: str
    parameterization: Parameterization
    prescription: Prescription
    optimizer: OptimizerSpec
    grid: RateGrid | RateList | RateSweep
    constants: ConstantsSpec
    horizon: Horizon
    weight_decay: float
    widths: tuple[int, ...]
    measured: bool = True

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """The base rates, ascending; some widths may have fewer."""
        return self.grid.rates()

    @property
    def rule(self) -> OptimizerRule:
        """The optimizer as the theory sees it."""
        return RULES[self.optimizer.kind]

    @property
    def epsilon(self) -> float:
        """The optimizer's base epsilon; 0 where it has none."""
        return self.optimizer.epsilon if isinstance(self.optimizer, AdamSpec | AdamPsSpec) else 0.0

    @property
    def epsilon_policy(self) -> EpsilonPolicy:
        """How epsilon scales."""
        given = self.optimizer
        return given.epsilon_policy if isinstance(given, AdamSpec | AdamPsSpec) else EpsilonPolicy.CONSTANT

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


def expand_arms(spec: StudySpec) -> tuple[Arm, ...]:
    """All arms of a study, named `parameterization-rates` and what else they say.

    The optimizer stands first where several are used; constants other than the default, weight decay, and every epsilon
    and horizon of an arm's own, stand last.

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
    base = part.optimizer or spec.optimizer
    combinations = list(
        itertools.product(
            part.parameterization,
            part.rates,
            part.constants,
            part.epsilon or (None,),
            part.weight_decay,
            part.horizon or (None,),
        )
    )
    for parameterization, rates, constants, epsilon, decay, horizon in combinations:
        own = [
            *([constants.name] if constants.name != DEFAULT_CONSTANTS else []),
            *([epsilon.label] if epsilon is not None else []),
            *([f"decay-{decay:g}"] if decay else []),
            *([horizon.label] if horizon is not None else []),
        ]
        first = [base.kind] if name_optimizer else []
        if part.name is not None:
            first = [part.name]
        label = "-".join([*first, parameterization, str(rates), *own])
        yield Arm(
            name=part.name if part.name is not None and len(combinations) == 1 else label,
            parameterization=PARAMETERIZATIONS[parameterization],
            prescription=prescription_of(rates),
            optimizer=base if epsilon is None else epsilon.applied(base),
            grid=part.learning_rates or spec.learning_rates,
            constants=constants,
            horizon=spec.training.length if horizon is None else horizon,
            weight_decay=decay,
            widths=spec.widths if part.widths is None else tuple(sorted(set(part.widths))),
            measured=not isinstance(rates, OpenRates),
        )
