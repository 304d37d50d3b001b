"""Tune a small model, train a large one: width-scaling exponents, plans and transfer studies.

The names below are the public ones. Each is imported on first use, so that asking the theory loads neither torch nor
the plotting libraries.

Example:
    >>> import widthwise
    >>> widthwise.role_exponents(widthwise.STANDARD, widthwise.ADAM, widthwise.FULL, widthwise.Role.HIDDEN).c
    Fraction(1, 1)
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from widthwise.analysis import alignment_exponents, transfer
    from widthwise.measure import coordinate_check, measure_alignment, measure_epsilon
    from widthwise.optim import AdamAtan2
    from widthwise.scaling import Rule, ScalingPlan, make_plan, make_reference_plan
    from widthwise.study import run_study
    from widthwise.theory import (
        ADAFACTOR,
        ADAM,
        ADAM_ATAN2,
        FULL,
        MEAN_FIELD,
        MID,
        MUON,
        MUP,
        NONE,
        NTK,
        SGD,
        STANDARD,
        Alignment,
        Role,
        exponent_table,
        role_exponents,
        solve,
    )

__version__ = "0.1.0"

__all__ = [
    "ADAFACTOR",
    "ADAM",
    "ADAM_ATAN2",
    "FULL",
    "MEAN_FIELD",
    "MID",
    "MUON",
    "MUP",
    "NONE",
    "NTK",
    "SGD",
    "STANDARD",
    "AdamAtan2",
    "Alignment",
    "Role",
    "Rule",
    "ScalingPlan",
    "__version__",
    "alignment_exponents",
    "coordinate_check",
    "exponent_table",
    "make_plan",
    "make_reference_plan",
    "measure_alignment",
    "measure_epsilon",
    "role_exponents",
    "run_study",
    "solve",
    "transfer",
]

_LAZY = {
    "ADAFACTOR": "widthwise.theory",
    "ADAM": "widthwise.theory",
    "ADAM_ATAN2": "widthwise.theory",
    "AdamAtan2": "widthwise.optim",
    "Alignment": "widthwise.theory",
    "FULL": "widthwise.theory",
    "MEAN_FIELD": "widthwise.theory",
    "MID": "widthwise.theory",
    "MUON": "widthwise.theory",
    "MUP": "widthwise.theory",
    "NONE": "widthwise.theory",
    "NTK": "widthwise.theory",
    "Role": "widthwise.theory",
    "Rule": "widthwise.scaling",
    "SGD": "widthwise.theory",
    "STANDARD": "widthwise.theory",
    "ScalingPlan": "widthwise.scaling",
    "alignment_exponents": "widthwise.analysis",
    "coordinate_check": "widthwise.measure",
    "exponent_table": "widthwise.theory",
    "make_plan": "widthwise.scaling",
    "make_reference_plan": "widthwise.scaling",
    "measure_alignment": "widthwise.measure",
    "measure_epsilon": "widthwise.measure",
    "role_exponents": "widthwise.theory",
    "run_study": "widthwise.study",
    "solve": "widthwise.theory",
    "transfer": "widthwise.analysis",
}
"""Public name -> the module that owns it. The one table from which top-level names resolve."""


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'widthwise' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
