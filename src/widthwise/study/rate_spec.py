"""The base learning rates of a specification: a grid, which may be narrower at some widths, or a list."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from widthwise.study.fields import Count, Rate, Section

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
