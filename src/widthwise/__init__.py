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
    from widthwise.analysis import transfer
    from widthwise.scaling import ScalingPlan, make_reference_plan
    from widthwise.study import run_study
    from widthwise.theory import (
        ADAFACTOR,
        ADAM,
        FULL,
        MEAN_FIELD,
        MUP,
        NONE,
        NTK,
        SGD,
        STANDARD,
        Role,
        exponent_table,
        role_exponents,
    )

__version__ = "0.1.0"

__all__ = [
    "ADAFACTOR",
    "ADAM",
    "FULL",
    "MEAN_FIELD",
    "MUP",
    "NONE",
    "NTK",
    "SGD",
    "STANDARD",
    "Role",
    "ScalingPlan",
    "__version__",
    "exponent_table",
    "make_reference_plan",
    "role_exponents",
    "run_study",
    "transfer",
]

_LAZY = {
    "ADAFACTOR": "widthwise.theory",
    "ADAM": "widthwise.theory",
    "FULL": "widthwise.theory",
    "MEAN_FIELD": "widthwise.theory",
    "MUP": "widthwise.theory",
    "NONE": "widthwise.theory",
    "NTK": "widthwise.theory",
    "Role": "widthwise.theory",
    "SGD": "widthwise.theory",
    "STANDARD": "widthwise.theory",
    "ScalingPlan": "widthwise.scaling",
    "exponent_table": "widthwise.theory",
    "make_reference_plan": "widthwise.scaling",
    "role_exponents": "widthwise.theory",
    "run_study": "widthwise.study",
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
