"""The `measure` section of a specification: what is measured while trials train. It is no part of a trial's identity.

measure: {alignment: {every: 50, layers: all}}
measure: {alignment: every 50 steps, layers: all}        # the same
measure: {alignment: every 10 steps, sizes: true}        # layer-major training alone: see `MeasureSpec`
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from widthwise.records import Since
from widthwise.study.fields import Count, Section, as_list
from widthwise.study.recipe import any_block

if TYPE_CHECKING:
    from widthwise.models import ReferenceModel
    from widthwise.train import AlignmentPlan

ALL, PER_ROLE, ONE_BLOCK = "all", "one per role", "one block"
_CHOICES = (ALL, PER_ROLE, ONE_BLOCK)
_EVERY = re.compile(r"every (\d+) steps?")


class AlignmentSpec(Section):
    """Alignment after every so many steps.

    `layers` is `all`, `one per role` (the middle one of the hidden layers, and the readout), `one block` (those of the
    middle block, and the readout), or names; `blocks.*.mlp.up` stands for that layer of all blocks. `tokens` are of the
    probe, held-out text, at least so many in whole windows; `since` says what changes are counted from.
    """

    every: Count
    layers: Annotated[tuple[str, ...], BeforeValidator(as_list), Field(min_length=1)] = (ALL,)
    tokens: Count | None = None
    since: Annotated[tuple[Since, ...], BeforeValidator(as_list), Field(min_length=1)] = (Since.START,)

    @field_validator("layers", "since")
    @classmethod
    def _once(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(values)) != len(values):
            raise ValueError(f"{[str(value) for value in values]} name one twice; name each once")
        words = [value for value in values if value in _CHOICES]
        if words and len(values) > 1:
            raise ValueError(f"{words[0]!r} stands alone; leave out the names, or it")
        return values

    def plan(self, model: "ReferenceModel", roles: Mapping[str, str]) -> "AlignmentPlan":
        """What the training room is told, for a model.

        Args:
            roles: the role of each of the model's tensors.

        Raises:
            ValueError: a name that is no layer's.
        """
        from widthwise.train import AlignmentPlan

        given = {} if self.tokens is None else {"tokens": self.tokens}
        return AlignmentPlan(self.every, self._chosen(model, roles), since=self.since, **given)

    def _chosen(self, model: "ReferenceModel", roles: Mapping[str, str]) -> tuple[str, ...]:
        from widthwise.train import matrix_layers

        known = matrix_layers(model)
        if self.layers == (ALL,):
            return known
        if self.layers == (PER_ROLE,):
            alike = [
                [name for name in known if roles[name] == role] for role in dict.fromkeys(roles.values())
            ]
            return tuple(names[len(names) // 2] for names in alike if names)
        if self.layers == (ONE_BLOCK,):
            middle = str(model.depth // 2)
            return tuple(name for name in known if any_block(name) == name or middle in name.split("."))
        chosen = tuple(name for name in known if name in self.layers or any_block(name) in self.layers)
        wrong = [name for name in self.layers if name not in {*chosen, *map(any_block, chosen)}]
        if wrong:
            raise ValueError(
                f"measure.alignment.layers: {wrong} are no layers that multiply by a matrix; the model has "
                f"{list(dict.fromkeys(map(any_block, known)))}, or write one of {list(_CHOICES)}"
            )
        return chosen


def _every(value: Any) -> Any:
    """`every 50 steps` is `{every: 50}`."""
    if not isinstance(value, str):
        return value
    match = _EVERY.fullmatch(value.strip())
    if match is None:
        raise ValueError(
            f"{value!r} is not understood; write `every 50 steps`, or {{every: 50, layers: all}}"
        )
    return {"every": int(match.group(1))}


class MeasureSpec(Section):
    """What is measured: alignment, and at the same steps the sizes of every tensor, its gradient and second moment.

    `sizes` are root mean squares of weights, inputs and outputs with their changes, and of gradients, of the first step
    as well; and how the entries of gradients and of Adam's second moments are spread, which says how many of them an
    epsilon exceeds.
    """

    alignment: Annotated[AlignmentSpec, BeforeValidator(_every)]
    sizes: bool = False

    @model_validator(mode="before")
    @classmethod
    def _layers_beside(cls, data: Any) -> Any:
        """`layers` may stand beside `alignment`."""
        if not isinstance(data, dict) or "layers" not in data:
            return data
        rest = {name: value for name, value in data.items() if name != "layers"}
        alignment = _every(rest.get("alignment"))
        if not isinstance(alignment, dict) or "layers" in alignment:
            return data
        return {**rest, "alignment": {**alignment, "layers": data["layers"]}}
