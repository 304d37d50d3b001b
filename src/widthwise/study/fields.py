"""The pieces that the sections of a specification are made of: checked numbers, names of a table, lists.

A number may be written as text, "32" or 1e-9: YAML 1.1 reads a number without a point in it, such as the latter, as
text. `true` is no number, though Python counts it as 1.
"""

import math
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

_POWER_OF_TWO = re.compile(r"2\^(-?\d+(?:\.\d+)?)")


class Section(BaseModel):
    """A mapping of a specification: no unknown fields, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MistakesError(ValueError):
    """Several mistakes that only a look at the whole finds: each a field and what is wrong there."""

    def __init__(self, found: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {what}" for field, what in found))
        self.found = found


def _power_of_two(value: object) -> object:
    """Accept `2^-7.5` where a number is meant."""
    match = _POWER_OF_TWO.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        return value
    exponent = float(match.group(1))
    return 2.0**exponent if exponent < 1024 else math.inf


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(
            f"{str(value).lower()} is no number; write one (yes, no, on and off are true and false in YAML)"
        )
    return value


NUMBER = BeforeValidator(_no_bool)
"""Every number of a specification carries it, after its bounds, which pydantic then checks on the number itself."""


def as_list(value: object) -> object:
    """One value is a list of one."""
    return value if isinstance(value, list) else [value]


def one_of(table: Mapping[str, object]) -> AfterValidator:
    """A name of the table; the message names them all."""
    *others, last = (repr(name) for name in table)

    def check(name: str) -> str:
        if name not in table:
            raise ValueError(f"Input should be {', '.join(others)} or {last} (given: {name!r})")
        return name

    return AfterValidator(check)


Rate = Annotated[float, BeforeValidator(_power_of_two), Field(gt=0, allow_inf_nan=False), NUMBER]
Factor = Annotated[float, BeforeValidator(_power_of_two), Field(gt=1, allow_inf_nan=False), NUMBER]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), NUMBER]
Count = Annotated[int, Field(ge=1, lt=2**63), NUMBER]
Seed = Annotated[int, Field(ge=0, lt=2**63), NUMBER]
Decay = Annotated[float, Field(ge=0, lt=1), NUMBER]
