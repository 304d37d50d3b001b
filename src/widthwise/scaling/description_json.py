"""A description as plain values that `json` writes, and back: nothing is lost.

Fractions are strings (`"1/2"`), enumerations their words.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from widthwise.scaling.axis import Axis
from widthwise.scaling.description import Alias, ModelDescription, TensorDescription
from widthwise.scaling.growth import Growth, GrowthKind
from widthwise.scaling.initializers import Draw, InitializerFit
from widthwise.theory import Role

FORMAT = 1
"""Raised whenever a field's meaning changes; other formats are refused."""

Json = Mapping[str, Any]


def description_to_json(description: ModelDescription) -> dict[str, Any]:
    """The description as values of JSON's types.

    Example:
        >>> import json
        >>> from torch import nn
        >>> from widthwise.scaling import describe
        >>> description = describe(lambda n: nn.Linear(3, n), widths=(16, 32, 64))
        >>> description_from_json(json.loads(json.dumps(description_to_json(description)))) == description
        True
    """
    return {
        "format": FORMAT,
        "widths": list(description.widths),
        "initializer_widths": list(description.initializer_widths),
        "built": description.built,
        "tensors": [_tensor_to_json(tensor) for tensor in description.tensors.values()],
        "growing_heads": {name: list(sizes) for name, sizes in description.growing_heads.items()},
    }


def description_from_json(values: Json) -> ModelDescription:
    """The description that `description_to_json` wrote.

    Raises:
        ValueError: another format, a field that is missing, or a value that no field can hold.
    """
    if values.get("format") != FORMAT:
        raise ValueError(
            f"a description of format {values.get('format')!r}; this version reads {FORMAT}: describe the model again"
        )
    try:
        tensors = [_tensor_from_json(tensor) for tensor in values["tensors"]]
        return ModelDescription(
            widths=tuple(values["widths"]),
            initializer_widths=tuple(values["initializer_widths"]),
            built=values["built"],
            tensors={tensor.name: tensor for tensor in tensors},
            growing_heads={name: tuple(sizes) for name, sizes in values["growing_heads"].items()},
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a whole description ({error!r}); describe the model again") from error


def _tensor_to_json(tensor: TensorDescription) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shapes": [list(shape) for shape in tensor.shapes],
        "growth": [_growth_to_json(law) for law in tensor.growth],
        "axes": _words(tensor.axes),
        "role": tensor.role.value,
        "rule": tensor.rule,
        "reason": tensor.reason,
        "initializer": None if tensor.initializer is None else initializer_to_json(tensor.initializer),
        "forward_factor": str(tensor.forward_factor),
        "aliases": [
            {
                "name": alias.name,
                "role": alias.role.value,
                "axes": _words(alias.axes),
                "rule": alias.rule,
                "reason": alias.reason,
                "forward_factor": str(alias.forward_factor),
            }
            for alias in tensor.aliases
        ],
        "trainable": tensor.trainable,
        "note": tensor.note,
    }


def _tensor_from_json(values: Json) -> TensorDescription:
    return TensorDescription(
        name=values["name"],
        shapes=tuple(tuple(shape) for shape in values["shapes"]),
        growth=tuple(_growth_from_json(law) for law in values["growth"]),
        axes=_axes(values["axes"]),
        role=Role(values["role"]),
        rule=values["rule"],
        reason=values["reason"],
        initializer=None if values["initializer"] is None else initializer_from_json(values["initializer"]),
        forward_factor=Fraction(values["forward_factor"]),
        aliases=tuple(
            Alias(
                name=alias["name"],
                role=Role(alias["role"]),
                axes=_axes(alias["axes"]),
                rule=alias["rule"],
                reason=alias["reason"],
                forward_factor=Fraction(alias["forward_factor"]),
            )
            for alias in values["aliases"]
        ),
        trainable=values["trainable"],
        note=values["note"],
    )


def _growth_to_json(law: Growth) -> dict[str, Any]:
    return {
        "kind": law.kind.value,
        "exponent": str(law.exponent),
        "width": law.width,
        "size": law.size,
        "offset": str(law.offset),
        "multiple": law.multiple,
    }


def _growth_from_json(values: Json) -> Growth:
    return Growth(
        kind=GrowthKind(values["kind"]),
        exponent=Fraction(values["exponent"]),
        width=values["width"],
        size=values["size"],
        offset=Fraction(values["offset"]),
        multiple=values["multiple"],
    )


def initializer_to_json(fit: InitializerFit) -> dict[str, Any]:
    """An initializer's fit as values of JSON."""
    return {
        "draw": fit.draw.value,
        "exponent": None if fit.exponent is None else str(fit.exponent),
        "base": fit.base,
        "size": None if fit.size is None else _growth_to_json(fit.size),
        "slope": fit.slope,
        "standard_error": fit.standard_error,
        "widths": list(fit.widths),
        "scales": list(fit.scales),
        "candidates": [str(exponent) for exponent in fit.candidates],
        "errors": list(fit.errors),
    }


def initializer_from_json(values: Json) -> InitializerFit:
    """The fit that `initializer_to_json` wrote."""
    return InitializerFit(
        draw=Draw(values["draw"]),
        exponent=None if values["exponent"] is None else Fraction(values["exponent"]),
        base=values["base"],
        size=None if values["size"] is None else _growth_from_json(values["size"]),
        slope=values["slope"],
        standard_error=values["standard_error"],
        widths=tuple(values["widths"]),
        scales=tuple(values["scales"]),
        candidates=tuple(Fraction(exponent) for exponent in values["candidates"]),
        errors=tuple(values["errors"]),
    )


def _words(axes: Sequence[Axis]) -> list[str]:
    return [axis.value for axis in axes]


def _axes(words: Sequence[str]) -> tuple[Axis, ...]:
    return tuple(map(Axis, words))
