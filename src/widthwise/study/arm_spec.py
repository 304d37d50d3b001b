"""The arms of a specification: what is compared with one another, each a list of values on every axis."""

from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints, field_validator

from widthwise.scaling import RateConstants
from widthwise.study.fields import Count, Positive, Section, as_list, one_of
from widthwise.study.horizon import HorizonField
from widthwise.study.optimizer_spec import EpsilonChoice, OptimizerSpec
from widthwise.study.rate_spec import LearningRates
from widthwise.theory import PARAMETERIZATIONS, PRESCRIPTIONS

DEFAULT_CONSTANTS = "default"
"""The paper's name for constants that are all 1; it calls those found by search `optimal`."""


class ConstantsSpec(Section):
    """The factors gamma on the rates of each kind of layer, the same at every width."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] = "optimal"
    embedding: Positive = 1.0
    hidden: Positive = 1.0
    readout: Positive = 1.0

    @property
    def value(self) -> RateConstants:
        """The constants as scaling takes them."""
        return RateConstants(embedding=self.embedding, hidden=self.hidden, readout=self.readout)


def _constants(value: object) -> object:
    return {"name": DEFAULT_CONSTANTS} if value == DEFAULT_CONSTANTS else value


ConstantsChoice = Annotated[ConstantsSpec, BeforeValidator(_constants)]
"""`default`, or a mapping of factors by role."""


class ArmSpec(Section):
    """One prescription, or all combinations of the lists given; what it leaves out comes from the study.

    `widths` are those of the study's that it is trained at; None for all.
    """

    parameterization: Annotated[
        tuple[Annotated[str, one_of(PARAMETERIZATIONS)], ...], BeforeValidator(as_list)
    ]
    rates: Annotated[tuple[Annotated[str, one_of(PRESCRIPTIONS)], ...], BeforeValidator(as_list)]
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] | None = None
    optimizer: OptimizerSpec | None = None
    learning_rates: LearningRates | None = None
    constants: Annotated[tuple[ConstantsChoice, ...], BeforeValidator(as_list), Field(min_length=1)] = (
        ConstantsSpec(name=DEFAULT_CONSTANTS),
    )
    epsilon: Annotated[tuple[EpsilonChoice, ...], BeforeValidator(as_list), Field(min_length=1)] | None = None
    horizon: Annotated[tuple[HorizonField, ...], BeforeValidator(as_list), Field(min_length=1)] | None = None
    widths: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None

    @field_validator("constants")
    @classmethod
    def _named(cls, constants: tuple[ConstantsSpec, ...]) -> tuple[ConstantsSpec, ...]:
        names = [choice.name for choice in constants]
        if len(set(names)) != len(names):
            raise ValueError(f"constants {names} have a name twice; give each a `name` of its own")
        return constants
