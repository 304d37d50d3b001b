"""Every number of a specification, found by looking at its sections: no bool is one, nor is what is not finite."""

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from widthwise.study.arm_spec import ArmSpec
from widthwise.study.fields import Section
from widthwise.study.horizon import TokensPerParameter
from widthwise.study.spec import StudySpec

NUMBERS_AT_LEAST = 60
"""Fewer fields than this would mean that the search below finds nothing."""


def sections(of: type[Section] = Section) -> Iterator[type[Section]]:
    for section in of.__subclasses__():
        yield section
        yield from sections(section)


FIELDS = [(section, name) for section in sections() for name in section.model_fields]


def adapter(section: type[Section], name: str) -> TypeAdapter[Any]:
    field = section.model_fields[name]
    whole: Any = field.annotation
    for one in field.metadata:
        whole = Annotated[whole, one]
    return TypeAdapter(whole)


def accepted(section: type[Section], name: str, value: object) -> list[Any]:
    """What the field makes of a value, and of a list of it."""
    made: list[Any] = []
    for given in (value, [value]):
        try:
            made.append(adapter(section, name).validate_python(given))
        except ValidationError:
            continue
    return made


def test_the_search_finds_the_sections() -> None:
    assert {StudySpec, ArmSpec, TokensPerParameter} <= set(sections())
    assert len(FIELDS) >= NUMBERS_AT_LEAST


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_field_takes_what_is_not_finite(value: float) -> None:
    assert [(s.__name__, name) for s, name in FIELDS if accepted(s, name, value)] == []


def test_a_bool_is_no_number() -> None:
    takes = {(s.__name__, name): accepted(s, name, True) for s, name in FIELDS}
    assert {field: made for field, made in takes.items() if made} == {
        ("ConstantsSpec", "searched"): [True],
        ("MeasureSpec", "sizes"): [True],
    }


def test_a_number_may_be_written_as_text() -> None:
    assert accepted(StudySpec, "widths", "32") == [(32,)]
    assert accepted(TokensPerParameter, "tokens_per_parameter", "1e-9") == [1e-9]
