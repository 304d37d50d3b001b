"""The canonical text of many recipes that have most of their parts in common, without writing each part again.

`recipe.canonical_json` sorts a recipe's fields, so its text is the fields' texts between commas: equal parts are
written once, and a study of 50,000 trials has its identities in seconds.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from widthwise.scaling import RateConstants, ReferencePlan, resolve
from widthwise.study.recipe import Recipe, canonical_json, pack_numbers, rounded


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


class NumberParts:
    """A recipe's numbers at every base rate: all but the rates is written once, and a rate once for all who share it.

    Args:
        folded: the plan in the folded gauge, of tensors that stand for themselves in every block.
        explicit: the same run's plan with its multipliers, or None if it runs folded.
        epsilon: the base epsilon.
    """

    def __init__(
        self,
        folded: ReferencePlan,
        explicit: ReferencePlan | None,
        *,
        epsilon: float,
        constants: RateConstants,
        weight_decay: float = 0.0,
    ) -> None:
        given = {"epsilon": epsilon, "constants": constants, "weight_decay": weight_decay}
        once = [
            None if plan is None else resolve(plan, learning_rate=1.0, **given) for plan in (folded, explicit)
        ]
        assert once[0] is not None
        packed = pack_numbers(once[0], once[1])
        self._rest = {field: Part.of(value) for field, value in packed.items() if field != "tensors"}
        self._factors = {name: (constants.at(row.role), row.rate) for name, row in folded.rows.items()}
        self._pairs = set(self._factors.values())
        self._tensors = [
            (name, init, epsilon, f'"{name}":[{canonical_json(init)},', f",{canonical_json(epsilon)}]")
            for name, (init, _, epsilon) in sorted(packed["tensors"].items())
        ]

    def at(self, learning_rate: float) -> Parts:
        """The parts at a base rate: `tensors`, `multipliers` and `decays`, as `pack_numbers` gives them."""
        rates = {pair: rounded(learning_rate * pair[0] * pair[1]) for pair in self._pairs}
        if not all(math.isfinite(rate) for rate in rates.values()):
            raise ValueError(
                f"learning rate {learning_rate} overflows at a layer's factor; choose a smaller one"
            )
        texts = {pair: repr(rate) for pair, rate in rates.items()}  # as JSON writes a finite number
        value: dict[str, list[float]] = {}
        pieces: list[str] = []
        for name, init, epsilon, before, after in self._tensors:
            pair = self._factors[name]
            value[name] = [init, rates[pair], epsilon]
            pieces.append(before + texts[pair] + after)
        return {**self._rest, "tensors": Part(value, "{" + ",".join(pieces) + "}")}
