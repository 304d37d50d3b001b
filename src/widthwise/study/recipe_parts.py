"""The canonical text of many recipes that have most of their fields in common, without writing each field again.

`recipe.canonical_json` sorts a recipe's fields, so its text is the fields' texts between commas: what many recipes
share is written once, and a study of 50,000 trials has its identities in seconds.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from widthwise.scaling import RateConstants, ReferencePlan, resolve
from widthwise.study.recipe import canonical_json, pack_numbers, rounded

Fields = Mapping[str, str]
"""A recipe, each field as canonical text."""


def fields_of(recipe: Mapping[str, Any]) -> dict[str, str]:
    """A recipe's fields, or some of them, as text.

    Example:
        >>> fields_of({"seeds": {"init": 0, "data": 1}, "batch": 2})
        {'seeds': '{"data":1,"init":0}', 'batch': '2'}
    """
    return {field: canonical_json(value) for field, value in recipe.items()}


def text_of(fields: Fields) -> str:
    """The canonical text of the recipe with these fields.

    Example:
        >>> text_of({"seeds": '{"data":1,"init":0}', "batch": "2"})
        '{"batch":2,"seeds":{"data":1,"init":0}}'
    """
    return "{" + ",".join([f'"{field}":{fields[field]}' for field in sorted(fields)]) + "}"


def identity_of(text: str) -> str:
    """The identity of the recipe with this canonical text."""
    return hashlib.sha256(text.encode()).hexdigest()


class NumberFields:
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
        self._rest = fields_of({field: value for field, value in packed.items() if field != "tensors"})
        tensors = sorted(packed["tensors"].items())
        factors = [(constants.at(folded.rows[name].role), folded.rows[name].rate) for name, _ in tensors]
        self._factors = list(dict.fromkeys(factors))
        self._order = [self._factors.index(pair) for pair in factors]
        entries = [
            f'"{name}":[{canonical_json(init)},%s,{canonical_json(epsilon)}]'
            for name, (init, _, epsilon) in tensors
        ]
        self._tensors = "{" + ",".join(entries) + "}"

    def at(self, learning_rate: float) -> Fields:
        """The fields at a base rate: `tensors`, `multipliers` and `decays`, as `pack_numbers` gives them."""
        rates = [rounded(learning_rate * constant * rate) for constant, rate in self._factors]
        if not all(map(math.isfinite, rates)):
            raise ValueError(
                f"learning rate {learning_rate} overflows at a layer's factor; choose a smaller one"
            )
        texts = [repr(rate) for rate in rates]  # as JSON writes a finite number
        return {**self._rest, "tensors": self._tensors % tuple([texts[i] for i in self._order])}
