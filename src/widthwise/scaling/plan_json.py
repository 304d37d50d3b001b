"""Plans as JSON files, to lie beside a checkpoint: exact exponents as fractions, nothing lost.

Floats are written in Python's shortest form that reads back to the same number.
"""

import json
from fractions import Fraction
from math import inf
from pathlib import Path
from typing import Any

from widthwise.files import document, load_document, replace_text
from widthwise.scaling.description_json import initializer_from_json, initializer_to_json
from widthwise.scaling.scaling_plan import PlanRow, ScalingPlan
from widthwise.theory import (
    Alignment,
    AnyAlignment,
    InitExponents,
    OptimizerRule,
    Parameterization,
    PerLayerAlignment,
    Role,
    RoleExponents,
)

KIND, VERSION = "widthwise scaling plan", 1


def plan_to_json(plan: ScalingPlan) -> dict[str, Any]:
    """The plan as values of JSON."""
    return {
        "kind": KIND,
        "version": VERSION,
        "width": plan.width,
        "base_width": plan.base_width,
        "parameterization": _parameterization_to_json(plan.parameterization),
        "optimizer": _rule_to_json(plan.optimizer),
        "alignment": _alignment_to_json(plan.alignment),
        "notes": list(plan.notes),
        "rows": {name: _row_to_json(row) for name, row in plan.rows.items()},
    }


def plan_from_json(values: object) -> ScalingPlan:
    """The plan that `plan_to_json` wrote.

    Raises:
        ValueError: anything else.
    """
    value = document(values, kind=KIND, version=VERSION, name="a plan")
    try:
        return _plan(value)
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise ValueError(f"a damaged plan: {type(error).__name__}: {error}") from error


def _plan(value: dict[str, Any]) -> ScalingPlan:
    alignment = _alignment_from_json(value["alignment"])
    return ScalingPlan(
        width=int(value["width"]),
        base_width=int(value["base_width"]),
        parameterization=_parameterization_from_json(value["parameterization"]),
        optimizer=_rule_from_json(value["optimizer"]),
        alignment=alignment,
        rows={name: _row_from_json(row) for name, row in value["rows"].items()},
        notes=tuple(value["notes"]),
    )


def save_plan(plan: ScalingPlan, path: Path) -> None:
    """Write a plan beside its checkpoint: the file is replaced at once or left as it was."""
    replace_text(path, json.dumps(plan_to_json(plan), indent=1) + "\n")


def load_plan(path: Path) -> ScalingPlan:
    """Read a plan.

    Raises:
        ValueError: a file that is not one.
        OSError: a file that cannot be read.
    """
    return load_document(path, plan_from_json)


def _parameterization_to_json(parameterization: Parameterization) -> dict[str, Any]:
    layers = ("embedding", "hidden", "readout")
    return {
        "name": parameterization.name,
        **{
            layer: [str(getattr(parameterization, layer).a), str(getattr(parameterization, layer).b)]
            for layer in layers
        },
    }


def _parameterization_from_json(value: dict[str, Any]) -> Parameterization:
    embedding, hidden, readout = (
        InitExponents(*(Fraction(x) for x in value[layer])) for layer in ("embedding", "hidden", "readout")
    )
    return Parameterization(value["name"], embedding, hidden, readout)


def _alignment_to_json(alignment: AnyAlignment) -> dict[str, Any]:
    if isinstance(alignment, PerLayerAlignment):
        layers = {layer: _alignment_to_json(own) for layer, own in alignment.layers.items()}
        return {"name": alignment.name, "layers": layers}
    return {
        "name": alignment.name,
        **{symbol: str(getattr(alignment, symbol)) for symbol in ("alpha", "omega", "u")},
    }


def _alignment_from_json(value: dict[str, Any]) -> AnyAlignment:
    if "layers" in value:
        layers = {layer: _one_alignment(own) for layer, own in value["layers"].items()}
        return PerLayerAlignment(value["name"], layers)
    return _one_alignment(value)


def _one_alignment(value: dict[str, Any]) -> Alignment:
    return Alignment(value["name"], *(Fraction(value[symbol]) for symbol in ("alpha", "omega", "u")))


def _rule_to_json(rule: OptimizerRule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "gradient_power": rule.gradient_power,
        "parameter_power": rule.parameter_power,
        "entry_exponent": str(rule.entry_exponent),
        "alignment": None if rule.alignment is None else str(rule.alignment),
        "elsewhere": None if rule.elsewhere is None else _rule_to_json(rule.elsewhere),
        "source": rule.source,
    }


def _rule_from_json(value: dict[str, Any]) -> OptimizerRule:
    return OptimizerRule(
        name=value["name"],
        gradient_power=value["gradient_power"],
        parameter_power=value["parameter_power"],
        entry_exponent=Fraction(value["entry_exponent"]),
        alignment=None if value["alignment"] is None else Fraction(value["alignment"]),
        elsewhere=None if value["elsewhere"] is None else _rule_from_json(value["elsewhere"]),
        source=value["source"],
    )


def _row_to_json(row: PlanRow) -> dict[str, Any]:
    return {
        "shape": list(row.shape),
        "role": row.role.value,
        "rule": row.rule,
        "exponents": {symbol: str(getattr(row.exponents, symbol)) for symbol in "abcg"},
        "init": row.init,
        "multiplier": row.multiplier,
        "initializer": None if row.initializer is None else initializer_to_json(row.initializer),
        "rate": row.rate,
        "epsilon": row.epsilon,
        "decay": row.decay,
        "decayed": row.decayed,
        "trainable": row.trainable,
        "decided_by": row.decided_by,
        "note": row.note,
    }


def _row_from_json(value: dict[str, Any]) -> PlanRow:
    return PlanRow(
        shape=tuple(None if size is None else int(size) for size in value["shape"]),
        role=Role(value["role"]),
        rule=value["rule"],
        exponents=RoleExponents(**{symbol: Fraction(value["exponents"][symbol]) for symbol in "abcg"}),
        init=_factor(value, "init"),
        initializer=None if value["initializer"] is None else initializer_from_json(value["initializer"]),
        rate=_factor(value, "rate"),
        epsilon=_factor(value, "epsilon"),
        decayed=_flag(value, "decayed"),
        trainable=_flag(value, "trainable"),
        decided_by=value["decided_by"],
        note=value["note"],
    )


def _factor(value: dict[str, Any], field: str) -> float:
    factor = float(value[field])
    if not 0 < factor < inf:
        raise ValueError(f"{field} is {factor}; a factor is above 0 and finite")
    return factor


def _flag(value: dict[str, Any], field: str) -> bool:
    flag = value[field]
    if not isinstance(flag, bool):
        raise TypeError(f"{field} is {flag!r}; it must be true or false")
    return flag
