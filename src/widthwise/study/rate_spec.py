"""The base learning rates of a specification: a grid, which may be narrower at some widths, a list, or a sweep."""

import math
from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from widthwise.study.fields import NUMBER, Count, Factor, Rate, Section
from widthwise.study.sweep import SweepRule

_SLACK = 1e-9
"""A rate this much outside of a bound, relatively, is on it."""


class RateGrid(Section):
    """Base learning rates from `lowest` to at most `highest`, `per_octave` to a factor of 2.

    `windows` are bounds, `[lowest, highest]`, for the widths they name: there, only the grid's rates between them.
    """

    lowest: Rate
    highest: Rate
    per_octave: Count = 1
    windows: Mapping[Count, tuple[Rate, Rate]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ordered(self) -> "RateGrid":
        if self.highest < self.lowest:
            raise ValueError(f"highest {self.highest} is below lowest {self.lowest}; exchange them")
        for width, (low, high) in self.windows.items():
            if high < low:
                raise ValueError(f"the window of width {width} ends at {high}, below {low}; exchange them")
            if not self.rates_at(width):
                raise ValueError(
                    f"the window of width {width}, {low} to {high}, holds no rate of the grid from {self.lowest} to "
                    f"{self.highest}, {self.per_octave} to a factor of 2; move it or extend the grid"
                )
        return self

    def rates(self) -> tuple[float, ...]:
        """The grid, ascending."""
        rates: list[float] = []
        while (rate := self.lowest * 2.0 ** (len(rates) / self.per_octave)) <= self.highest * (1 + _SLACK):
            rates.append(rate)
        return tuple(rates)

    def rates_at(self, width: int) -> tuple[float, ...]:
        """The rates at a width, ascending."""
        low, high = self.windows.get(width, (self.lowest, self.highest))
        return tuple(rate for rate in self.rates() if low * (1 - _SLACK) <= rate <= high * (1 + _SLACK))


class RateList(Section):
    """Base learning rates, one by one."""

    values: Annotated[tuple[Rate, ...], Field(min_length=1)]

    def rates(self) -> tuple[float, ...]:
        """The rates, ascending, each once."""
        return tuple(sorted(set(self.values)))

    def rates_at(self, width: int) -> tuple[float, ...]:
        """The rates at a width: all of them."""
        return self.rates()


class SweepSpec(Section):
    """How rates are planned while a study runs; see `study.sweep`. All but the rates are factors between two rates.

    The first width of an arm begins with the coarse rates from `lowest` to `highest`, every other within `window` of
    the best rate of the width below. `reach` is how far beyond `lowest` and `highest` any of them may go.
    The defaults find a full fine grid's own optimum for 29 % of its tokens (`benchmarks/sweep_replay.py`).
    """

    lowest: Rate
    highest: Rate
    coarse: Factor = 2.0
    fine: Factor = 2.0**0.25
    window: Factor = 4.0
    fill: Factor = 2.0
    reach: Factor = 2.0**8
    around: Annotated[Rate, Field(ge=1)] = 1.0
    stop_ratio: Annotated[float, Field(gt=1, allow_inf_nan=False), NUMBER] = 1.2

    @model_validator(mode="after")
    def _fits(self) -> "SweepSpec":
        if self.highest < self.lowest:
            raise ValueError(f"highest {self.highest} is below lowest {self.lowest}; exchange them")
        for name, of in (
            ("coarse", "fine"),
            ("window", "coarse"),
            ("fill", "fine"),
            ("reach", "fine"),
            ("around", "coarse"),
        ):
            times = math.log2(getattr(self, name)) / math.log2(getattr(self, of))
            if abs(times - round(times)) > _SLACK:
                raise ValueError(
                    f"{name} {getattr(self, name):.6g} is {times:.4g} steps of {of} {getattr(self, of):.6g}; "
                    "choose a whole number of them, such as 2^1 of 2^0.25"
                )
        return self

    @property
    def rule(self) -> SweepRule:
        """The rule in steps of its lattice."""
        step = round(math.log2(self.fine), 12)
        coarse, window, fill, reach, around = (
            round(math.log2(factor) / step)
            for factor in (self.coarse, self.window, self.fill, self.reach, self.around)
        )
        octaves = math.log2(self.highest / self.lowest)
        return SweepRule(
            origin=self.lowest,
            step=step,
            last=coarse * math.floor(octaves / (coarse * step) + _SLACK),
            coarse=coarse,
            window=window,
            fill=fill,
            reach=reach,
            stop_ratio=self.stop_ratio,
            around=around,
        )


class RateSweep(Section):
    """Base learning rates that a sweep plans: `{sweep: {lowest: 2^-10, highest: 2^-2}}`."""

    sweep: SweepSpec

    def rates(self) -> tuple[float, ...]:
        """The rates it begins with, ascending."""
        rule = self.sweep.rule
        return tuple(rule.rate(k) for k in rule.first_window(None))

    def rates_at(self, width: int) -> tuple[float, ...]:
        """The rates it begins with; every width but an arm's first will begin elsewhere."""
        return self.rates()


def _rate_list(value: object) -> object:
    return {"values": value} if isinstance(value, list) else value


def _rate_kind(value: object) -> str:
    kinds = {"list": (RateList, "values"), "planned": (RateSweep, "sweep")}
    for kind, (section, field) in kinds.items():
        if isinstance(value, section) or (isinstance(value, dict) and field in value):
            return kind
    return "grid"


LearningRates = Annotated[
    Annotated[RateList, Tag("list")]
    | Annotated[RateSweep, Tag("planned")]
    | Annotated[RateGrid, Tag("grid")],
    Discriminator(_rate_kind),
    BeforeValidator(_rate_list),
]
