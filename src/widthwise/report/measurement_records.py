"""Records of small measurements that claims are judged by: JSON with a list of cases; those of known parts count.

`benchmarks/wide_check.py` writes gradients at initialization, `benchmarks/claims_check.py` the other two:

    {"part": "gradients", "width", "parameterization", "seed", "rms": {role: size}}
    {"part": "gauge", "pair": [name, name], "optimizer", "epsilon", "seed", "steps", "relative difference"}
    {"part": "alignment at initialization", "width", "seed", "layers": [{"name", "role", "fan in", "log gain"}]}
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from widthwise.analysis import AlignmentRow, GaugePair, GradientSize, Measurements
from widthwise.theory import AlignmentQuantity, Role

START = 0.0
"""The progress of what is measured before training."""
Case = Mapping[str, Any]


def read_measurements(paths: Iterable[Path]) -> Measurements:
    """What records say, all together.

    Raises:
        ValueError: a file that cannot be read, is no such record, has no case of a known part, or a case that lacks
            a field.
    """
    found: list[Any] = []
    for path in paths:
        try:
            found += _rows(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ValueError(f"evidence {str(path)!r}: {error}") from error
    return Measurements(
        gradients=tuple(one for one in found if isinstance(one, GradientSize)),
        gauge=tuple(one for one in found if isinstance(one, GaugePair)),
        initial=tuple(one for one in found if isinstance(one, AlignmentRow)),
    )


def _rows(record: Any) -> list[Any]:
    cases = record.get("cases") if isinstance(record, dict) else None
    known = [case for case in cases or () if isinstance(case, dict) and case.get("part") in _PARTS]
    if not known:
        raise ValueError(
            f"it has no cases of the parts {', '.join(map(repr, _PARTS))}; give a record that has"
        )
    rows: list[Any] = []
    for case in known:
        try:
            rows += _PARTS[case["part"]](case)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a case of the part {case['part']!r} lacks or misstates {error}") from error
    return rows


def _gradients(case: Case) -> Iterator[GradientSize]:
    for role, rms in case["rms"].items():
        size = math.nan if rms is None else float(rms)
        yield GradientSize(int(case["width"]), int(case["seed"]), case["parameterization"], role, size)


def _gauge(case: Case) -> Iterator[GaugePair]:
    first, second = case["pair"]
    numbers = int(case["seed"]), int(case["steps"]), float(case["relative difference"])
    yield GaugePair((first, second), case["optimizer"], float(case["epsilon"]), *numbers)


def _alignment(case: Case) -> Iterator[AlignmentRow]:
    for layer in case["layers"]:
        yield AlignmentRow(
            width=int(case["width"]),
            seed=int(case["seed"]),
            layer=layer["name"],
            role=Role(layer["role"]),
            quantity=AlignmentQuantity.PRODUCT,
            progress=START,
            log_gain=float(layer["log gain"]),
            fan_in=int(layer["fan in"]),
        )


_PARTS: Mapping[str, Callable[[Case], Iterator[Any]]] = {
    "gradients": _gradients,
    "gauge": _gauge,
    "alignment at initialization": _alignment,
}
