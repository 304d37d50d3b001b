"""The arms of a specification: what is compared with one another, each a list of values on every axis."""

from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from widthwise.scaling import RateConstants
from widthwise.study.fields import Count, Decay, Positive, Section, as_list, one_of
from widthwise.study.horizon import HorizonField
from widthwise.study.optimizer_spec import EpsilonChoice, OptimizerSpec
from widthwise.study.rate_spec import LearningRates
from widthwise.study.rates_choice import RatesChoice
from widthwise.theory import PARAMETERIZATIONS

DEFAULT_CONSTANTS = "default"
"""The paper's name for constants that are all 1; it calls those found by search `optimal`."""


SEARCHED = "searched"
"""Constants that are to be found: by a search at the base width, for each parameterization and optimizer."""


class ConstantsSpec(Section):
    """The factors gamma on the rates of each kind of layer, the same at every width.

    `searched`: they are to be found before the arm can be trained; a plan counts the search and the arm.
    """

    searched: bool = False
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] = "optimal"
    embedding: Positive = 1.0
    hidden: Positive = 1.0
    readout: Positive = 1.0

    @property
    def value(self) -> RateConstants:
        """The constants as scaling takes them."""
        return RateConstants(embedding=self.embedding, hidden=self.hidden, readout=self.readout)


def _constants(value: object) -> object:
    named = {DEFAULT_CONSTANTS: {"name": DEFAULT_CONSTANTS}, SEARCHED: {"searched": True}}
    return named.get(value, value) if isinstance(value, str) else value


ConstantsChoice = Annotated[ConstantsSpec, BeforeValidator(_constants)]
"""`default`, `searched`, or a mapping of factors by role."""


class ConstantsSearchSpec(Section):
    """How constants are searched for: three of them, at the base width, at the full horizon.

    Everett et al. 2024, C.4, as its readers quote it: 800 trials, at most 100 at a time, each constant in
    [1e-2, 1e2]; a range with an optimum near its edge is put around that and searched again.
    """

    trials: Count = 800
    batch: Count = 100
    lowest: Positive = 1e-2
    highest: Positive = 1e2

    @model_validator(mode="after")
    def _ordered(self) -> "ConstantsSearchSpec":
        if self.highest <= self.lowest:
            raise ValueError(f"highest {self.highest} is not above lowest {self.lowest}; exchange them")
        return self


class ArmSpec(Section):
    """One prescription, or all combinations of the lists given; what it leaves out comes from the study.

    `weight_decay` is the share of the weights that a step takes away, times the schedule and whatever the rate; none
    from gains. `widths` are those of the study's that it is trained at; None for all.
    """

    parameterization: Annotated[
        tuple[Annotated[str, one_of(PARAMETERIZATIONS)], ...], BeforeValidator(as_list), Field(min_length=1)
    ]
    rates: Annotated[tuple[RatesChoice, ...], BeforeValidator(as_list), Field(min_length=1)]
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] | None = None
    optimizer: OptimizerSpec | None = None
    learning_rates: LearningRates | None = None
    constants: Annotated[tuple[ConstantsChoice, ...], BeforeValidator(as_list), Field(min_length=1)] = (
        ConstantsSpec(name=DEFAULT_CONSTANTS),
    )
    epsilon: Annotated[tuple[EpsilonChoice, ...], BeforeValidator(as_list), Field(min_length=1)] | None = None
    weight_decay: Annotated[tuple[Decay, ...], BeforeValidator(as_list), Field(min_length=1)] = (0.0,)
    horizon: Annotated[tuple[HorizonField, ...], BeforeValidator(as_list), Field(min_length=1)] | None = None
    widths: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None

    @field_validator("constants")
    @classmethod
    def _named(cls, constants: tuple[ConstantsSpec, ...]) -> tuple[ConstantsSpec, ...]:
        names = [choice.name for choice in constants]
        if len(set(names)) != len(names):
            raise ValueError(f"constants {names} have a name twice; give each a `name` of its own")
        return constants
