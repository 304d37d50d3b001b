"""The canonical text of many recipes that have most of their fields in common, without writing each field again.

`recipe.canonical_json` sorts a recipe's fields, so its text is the fields' texts between commas: what many recipes
share is written once, and a study of 50,000 trials has its identities in seconds.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
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


def template_of(shared: Fields, own: Iterable[str]) -> str:
    """The canonical text of recipes that share these fields, with a place for each field that they have of their own.

    Example:
        >>> template_of({"batch": "2", "width": "8"}, ["seeds"]) % {"seeds": "0"}
        '{"batch":2,"seeds":0,"width":8}'
    """
    escaped = {field: text.replace("%", "%%") for field, text in shared.items()}
    return text_of({**escaped, **{field: f"%({field})s" for field in own}})


def identity_of(text: str) -> str:
    """The identity of the recipe with this canonical text."""
    return hashlib.sha256(text.encode()).hexdigest()


class NumberFields:
    """A recipe's numbers at every base rate and constants: all else is written once, a rate once for all who share it.

    `rest` are the fields that no rate changes: `multipliers` and `decays`, where `pack_numbers` gives them.

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
        weight_decay: float = 0.0,
    ) -> None:
        once = [
            plan and resolve(plan, learning_rate=1.0, epsilon=epsilon, weight_decay=weight_decay)
            for plan in (folded, explicit)
        ]
        assert once[0] is not None
        packed = pack_numbers(once[0], once[1])
        self.rest = fields_of({field: value for field, value in packed.items() if field != "tensors"})
        tensors = sorted(packed["tensors"].items())
        factors = [(folded.rows[name].role, folded.rows[name].rate) for name, _ in tensors]
        self._factors = list(dict.fromkeys(factors))
        self._order = [self._factors.index(pair) for pair in factors]
        entries = [
            f'"{name}":[{_number_text(init)},%s,{_number_text(epsilon)}]'
            for name, (init, _, epsilon) in tensors
        ]
        self._tensors = "{" + ",".join(entries) + "}"

    def tensors(self, learning_rate: float, constants: RateConstants) -> str:
        """The field `tensors` at a base rate and each role's constant, as `pack_numbers` gives it.

        Raises:
            ValueError: a layer's rate is not finite.
        """
        rates = [rounded(learning_rate * constants.at(role) * rate) for role, rate in self._factors]
        if not all(map(math.isfinite, rates)):
            raise ValueError(
                f"learning rate {learning_rate} overflows at a layer's factor; choose a smaller one"
            )
        texts = [repr(rate) for rate in rates]  # as JSON writes a finite number
        return self._tensors % tuple([texts[i] for i in self._order])


def _number_text(value: Any) -> str:
    """As JSON has a number; finite ones are most of a study's text, and need no encoder."""
    return repr(value) if math.isfinite(value) else canonical_json(value)
