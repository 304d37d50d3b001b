"""A study's specification: a YAML mapping, checked as a whole, so that all mistakes are named at once.

    name: quickstart
    model: {kind: transformer, depth: 2, head_dim: 16, context: 64}
    widths: [32, 64, 128]
    arms:
      - {parameterization: standard, rates: global}
      - {parameterization: [standard, mup], rates: full}
    optimizer: {kind: adam}
    learning_rates: {lowest: 2^-10, highest: 2^-2}
    seeds: [0, 1]
    training: {steps: 100, batch: 8}
    corpus: python-stdlib

Each default stands at its field. An arm whose `parameterization` or `rates` is a list stands for all combinations.
"""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)

from widthwise.scaling import Anchor, EpsilonPolicy, Gauge
from widthwise.theory import PARAMETERIZATIONS, PRESCRIPTIONS

_POWER_OF_TWO = re.compile(r"2\^(-?\d+(?:\.\d+)?)")


def _power_of_two(value: object) -> object:
    """Accept `2^-7.5` where a number is meant."""
    match = _POWER_OF_TWO.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        return value
    exponent = float(match.group(1))
    return 2.0**exponent if exponent < 1024 else math.inf


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _one_of(table: Mapping[str, object]) -> AfterValidator:
    """A name of the table; the message names them all."""
    *others, last = (repr(name) for name in table)

    def check(name: str) -> str:
        if name not in table:
            raise ValueError(f"Input should be {', '.join(others)} or {last} (given: {name!r})")
        return name

    return AfterValidator(check)


Rate = Annotated[float, BeforeValidator(_power_of_two), Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, lt=2**63)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TransformerSpec(_Section):
    """The paper's decoder-only Transformer."""

    kind: Literal["transformer"]
    depth: Count
    head_dim: Count
    context: Count


class MLPSpec(_Section):
    """A chain of ReLU layers over the last `window` tokens."""

    kind: Literal["mlp"]
    depth: Count
    window: Count
    context: Count


class SgdSpec(_Section):
    """SGD with momentum."""

    kind: Literal["sgd"]
    momentum: Decay = 0.9


class AdamSpec(_Section):
    """Adam; betas and epsilon default to NanoDO's, whose epsilon of 1e-9 is the paper's baseline.

    An epsilon of 0 would make 0 / 0 of an entry that has seen no gradient; `adam-atan2` needs none.
    """

    kind: Literal["adam"]
    beta1: Decay = 0.9
    beta2: Decay = 0.98
    epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-9
    epsilon_policy: EpsilonPolicy = EpsilonPolicy.CONSTANT


Floor = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""The smallest size that parameter scaling lets a rate be relative to.

The reference models start no tensor at zero, so a floor below all of their weights changes nothing. Where it does bite
it would have to follow the weights of each layer, as Adafactor's own of 1e-3 does not.
"""


class AdamPsSpec(_Section):
    """Adam with parameter scaling, the paper's substitute for Adafactor: rates relative to each tensor's size."""

    kind: Literal["adam-ps"]
    beta1: Decay = 0.9
    beta2: Decay = 0.98
    epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-9
    epsilon_policy: EpsilonPolicy = EpsilonPolicy.CONSTANT
    floor: Floor = 1e-8


class AdafactorSpec(_Section):
    """Adafactor at an explicit rate; what it leaves open is optax's, but for the floor."""

    kind: Literal["adafactor"]
    decay_rate: Annotated[float, Field(gt=0, lt=1)] = 0.8
    clipping_threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 1.0
    momentum: Decay | None = None
    min_dim_size_to_factor: Count = 128
    floor: Floor = 1e-8


class AdamAtan2Spec(_Section):
    """Adam-atan2, which has no epsilon: step = a * atan2(m_hat, b * sqrt(v_hat))."""

    kind: Literal["adam-atan2"]
    beta1: Decay = 0.9
    beta2: Decay = 0.98
    a: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    b: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0


OptimizerSpec = Annotated[
    SgdSpec | AdamSpec | AdamAtan2Spec | AdamPsSpec | AdafactorSpec, Field(discriminator="kind")
]


class RateGrid(_Section):
    """Base learning rates from `lowest` to at most `highest`, `per_octave` to a factor of 2."""

    lowest: Rate
    highest: Rate
    per_octave: Count = 1

    @model_validator(mode="after")
    def _ordered(self) -> "RateGrid":
        if self.highest < self.lowest:
            raise ValueError(f"highest {self.highest} is below lowest {self.lowest}; exchange them")
        return self

    def rates(self) -> tuple[float, ...]:
        """The grid, ascending."""
        rates: list[float] = []
        while (rate := self.lowest * 2.0 ** (len(rates) / self.per_octave)) <= self.highest * (1 + 1e-9):
            rates.append(rate)
        return tuple(rates)


class RateList(_Section):
    """Base learning rates, one by one."""

    values: Annotated[tuple[Rate, ...], Field(min_length=1)]

    def rates(self) -> tuple[float, ...]:
        """The rates, ascending, each once."""
        return tuple(sorted(set(self.values)))


def _rate_list(value: object) -> object:
    return {"values": value} if isinstance(value, list) else value


def _rate_kind(value: object) -> str:
    return (
        "list" if isinstance(value, RateList) or (isinstance(value, dict) and "values" in value) else "grid"
    )


LearningRates = Annotated[
    Annotated[RateList, Tag("list")] | Annotated[RateGrid, Tag("grid")],
    Discriminator(_rate_kind),
    BeforeValidator(_rate_list),
]


class ArmSpec(_Section):
    """One prescription, or all combinations of the lists given; what it leaves out comes from the study."""

    parameterization: Annotated[
        tuple[Annotated[str, _one_of(PARAMETERIZATIONS)], ...], BeforeValidator(_as_list)
    ]
    rates: Annotated[tuple[Annotated[str, _one_of(PRESCRIPTIONS)], ...], BeforeValidator(_as_list)]
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] | None = None
    optimizer: OptimizerSpec | None = None
    learning_rates: LearningRates | None = None


class DivergenceSpec(_Section):
    """A training loss above ln(vocabulary) + `margin` for `steps` in a row after the warm-up is divergence."""

    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    steps: Count = 50


class TrainingSpec(_Section):
    """The horizon of every trial: warm-up as a share of the steps, then a cosine to `floor` times the rate."""

    steps: Count
    batch: Count
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"
    divergence: DivergenceSpec = DivergenceSpec()

    @model_validator(mode="after")
    def _decays(self) -> "TrainingSpec":
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup {self.warmup} of steps {self.steps} leaves no step after it; lower it")
        return self

    @property
    def warmup_steps(self) -> int:
        """The warm-up in steps."""
        return round(self.warmup * self.steps)


class StudySpec(_Section):
    """A whole study. `base_width` defaults to the smallest width."""

    name: Annotated[str, Field(min_length=1)]
    model: Annotated[TransformerSpec | MLPSpec, Field(discriminator="kind")]
    widths: Annotated[tuple[Count, ...], Field(min_length=1)]
    base_width: Count | None = None
    anchor: Anchor = Anchor.RELATIVE
    gauge: Gauge = Gauge.FOLDED
    arms: Annotated[tuple[ArmSpec, ...], Field(min_length=1)]
    optimizer: OptimizerSpec
    learning_rates: LearningRates
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    training: TrainingSpec
    corpus: Annotated[str, Field(min_length=1)]
    validation_windows: Count = 64

    @field_validator("widths")
    @classmethod
    def _ascending(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(widths)) != len(widths):
            raise ValueError(f"widths {list(widths)} name a width twice; name each once")
        return tuple(sorted(widths))

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds {list(seeds)} name a seed twice; name each once")
        return seeds

    @model_validator(mode="after")
    def _heads_fit(self) -> "StudySpec":
        if isinstance(self.model, TransformerSpec):
            head_dim = self.model.head_dim
            wrong = [width for width in self.all_widths if width % head_dim]
            if wrong:
                raise ValueError(
                    f"widths {wrong} are not multiples of model.head_dim {head_dim}; "
                    f"change them or choose a head_dim that divides all of {list(self.all_widths)}"
                )
        return self

    @property
    def base(self) -> int:
        """The width that rates are relative to."""
        return self.widths[0] if self.base_width is None else self.base_width

    @property
    def all_widths(self) -> tuple[int, ...]:
        """Every width that a model is built at, or that scales are relative to."""
        return tuple(sorted({*self.widths, self.base}))
