"""The canonical text of many recipes that have most of their parts in common, without writing each part again.

`recipe.canonical_json` sorts a recipe's fields, so its text is the fields' texts between commas: equal parts are
written once, and a study of 50,000 trials has its identities in seconds.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from widthwise.study.recipe import Recipe, canonical_json


@dataclass(frozen=True)
class Part:
    """One field of a recipe: its value, and that as canonical text."""

    value: Any
    text: str

    @classmethod
    def of(cls, value: Any) -> "Part":
        """The part with a value."""
        return cls(value, canonical_json(value))


Parts = Mapping[str, Part]


def recipe_of(parts: Parts) -> Recipe:
    """The recipe that these parts make.

    Example:
        >>> recipe_of({"batch": Part.of(2)})
        {'batch': 2}
    """
    return {field: part.value for field, part in parts.items()}


def text_of(parts: Parts) -> str:
    """The canonical text of `recipe_of(parts)`.

    Example:
        >>> text_of({"seeds": Part.of({"init": 0, "data": 1}), "batch": Part.of(2)})
        '{"batch":2,"seeds":{"data":1,"init":0}}'
    """
    return "{" + ",".join(f'"{field}":{parts[field].text}' for field in sorted(parts)) + "}"


def identity_of(parts: Parts) -> str:
    """The identity of `recipe_of(parts)`."""
    return hashlib.sha256(text_of(parts).encode()).hexdigest()
