"""A trial's recipe: everything its run depends on, as canonical JSON, and the identity that is its hash.

A recipe holds resolved numbers, not names: two prescriptions that give every tensor the same numbers are one trial.
The numbers stand in the folded gauge, computed from exact exponents and rounded to 12 digits. An explicit multiplier is
kept beside them only where it changes the run, which is where it is no power of two: a power of two moves through every
operation without rounding. Device, threads and population are not part of it.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from widthwise.scaling import TensorNumbers

DIGITS = 12
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
Recipe = Mapping[str, Any]


def rounded(value: float) -> float:
    """A number as recipes hold it.

    Example:
        >>> rounded(0.1 + 0.2)
        0.3
    """
    return float(f"{value:.{DIGITS}g}")


def canonical_json(recipe: Recipe) -> str:
    """Sorted keys, no spaces, shortest floats: equal recipes have equal texts."""
    return _ENCODER.encode(recipe)


def identity(recipe: Recipe) -> str:
    """SHA-256 of the canonical JSON, hexadecimal."""
    return hashlib.sha256(canonical_json(recipe).encode()).hexdigest()


def pack_numbers(
    folded: Mapping[str, TensorNumbers], explicit: Mapping[str, TensorNumbers] | None
) -> dict[str, dict[str, Any]]:
    """The `tensors`, `multipliers` and `decays` of a recipe.

    Args:
        folded: the numbers in the folded gauge.
        explicit: the same run's numbers with its multipliers, or None if it runs folded.
    """
    entries = {n: [rounded(n.init), rounded(n.rate), rounded(n.epsilon)] for n in set(folded.values())}
    tensors = {name: entries[n] for name, n in folded.items()}
    packed: dict[str, dict[str, Any]] = {"tensors": _merge_blocks(tensors)}
    if any(n.decay for n in folded.values()):
        packed["decays"] = _merge_blocks({name: rounded(n.decay) for name, n in folded.items()})
    factors = {n.multiplier: rounded(n.multiplier) for n in (explicit or {}).values()}
    multipliers = {name: factors[n.multiplier] for name, n in (explicit or {}).items()}
    if any(m != rounded(2.0 ** round(math.log2(m))) for m in multipliers.values()):
        packed["multipliers"] = _merge_blocks(multipliers)
    return packed


def unpack_numbers(recipe: Recipe, names: Mapping[str, Any], *, rate_power: int) -> dict[str, TensorNumbers]:
    """What the trainer is told: the inverse of `pack_numbers`.

    Args:
        names: the model's tensors.
        rate_power: how many powers of a multiplier the rate takes up when folded (`theory.rate_power`).
    """
    tensors, multipliers, decays = recipe["tensors"], recipe.get("multipliers"), recipe.get("decays")
    numbers: dict[str, TensorNumbers] = {}
    for name in names:
        init, rate, epsilon = _look_up(tensors, name)
        m = 1.0 if multipliers is None else _look_up(multipliers, name)
        numbers[name] = TensorNumbers(
            init=init / m,
            multiplier=m,
            rate=rate / m**rate_power,
            epsilon=epsilon * m,
            decay=0.0 if decays is None else _look_up(decays, name),
        )
    return numbers


@lru_cache(maxsize=4096)
def any_block(name: str) -> str:
    """The name that the same tensor of every block goes by.

    Example:
        >>> any_block("blocks.3.mlp.up")
        'blocks.*.mlp.up'
    """
    return re.sub(r"\.\d+", ".*", name)


def _merge_blocks(values: Mapping[str, Any]) -> dict[str, Any]:
    """One entry `blocks.*.x` for the tensors of all blocks where they agree."""
    groups: dict[str, list[str]] = {}
    for name in values:
        groups.setdefault(any_block(name), []).append(name)
    merged: dict[str, Any] = {}
    for pattern, names in groups.items():
        first = values[names[0]]
        if all(values[name] == first for name in names):
            merged[pattern] = first
        else:
            merged |= {name: values[name] for name in names}
    return merged


def _look_up(values: Mapping[str, Any], name: str) -> Any:
    return values[name] if name in values else values[any_block(name)]
