"""What a table must hold before anything can be fitted to it."""

import math
from collections import defaultdict
from collections.abc import Iterable

from widthwise.analysis.observation import Observation

MINIMUM_WIDTHS = 2
MINIMUM_RATES = 4
"""Distinct rates per (prescription, width): a cubic has four coefficients."""


def validate(observations: Iterable[Observation], *, least_rates: int = MINIMUM_RATES) -> None:
    """Check that a table can be analysed: values in range, no duplicates, enough widths and rates.

    Args:
        observations: the whole table.
        least_rates: of every (prescription, width).

    Raises:
        ValueError: with the fact, the numbers and the remedy.

    Example:
        >>> validate([])
        Traceback (most recent call last):
        ValueError: the table has no runs; give one observation per training run
    """
    rates: dict[tuple[str, int], set[float]] = defaultdict(set)
    widths: dict[str, set[int]] = defaultdict(set)
    seen: set[tuple[str, int, float, int]] = set()
    for observation in observations:
        _check_values(observation)
        key = (observation.prescription, observation.width, observation.rate, observation.seed)
        if key in seen:
            raise ValueError(
                f"prescription {key[0]!r}, width {key[1]}, rate {key[2]:g}, seed {key[3]} occurs twice; "
                "keep one of them, or give repeats different seeds"
            )
        seen.add(key)
        rates[observation.prescription, observation.width].add(observation.rate)
        widths[observation.prescription].add(observation.width)
    if not seen:
        raise ValueError("the table has no runs; give one observation per training run")
    for prescription, found in widths.items():
        if len(found) < MINIMUM_WIDTHS:
            raise ValueError(
                f"prescription {prescription!r} has the width {min(found)} alone; "
                f"transfer is a comparison of at least {MINIMUM_WIDTHS} widths"
            )
    for (prescription, width), found in rates.items():
        if len(found) < least_rates:
            listed = ", ".join(f"{rate:g}" for rate in sorted(found))
            raise ValueError(
                f"prescription {prescription!r} at width {width} has {len(found)} distinct rates ({listed}); "
                f"an optimum needs at least {least_rates}, better 7 by factors of 2"
            )


def require_one_group(observations: Iterable[Observation]) -> None:
    """Check that the noise of each prescription is pooled with one group only.

    Raises:
        ValueError: a prescription has runs of two groups.
    """
    groups: dict[str, str] = {}
    for o in observations:
        if groups.setdefault(o.prescription, o.group) != o.group:
            raise ValueError(
                f"prescription {o.prescription!r} has runs of the groups {groups[o.prescription]!r} and {o.group!r}; "
                "give both prescriptions names of their own"
            )


def _check_values(observation: Observation) -> None:
    if observation.width < 1 or observation.width != int(observation.width):
        raise ValueError(f"{observation}: the width must be a whole number of at least 1")
    if not (observation.rate > 0 and math.isfinite(observation.rate)):
        raise ValueError(f"{observation}: the rate must be positive and finite")
    if observation.loss is not None and not math.isfinite(observation.loss):
        raise ValueError(f"{observation}: the loss is not finite; use None for a run that diverged")
