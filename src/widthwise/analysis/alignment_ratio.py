"""Log alignment ratios of one width, by role: a diagnostic, biased by O(1 / ln n), with an interval over what scatters.

    ratio = log_gain / ln(fan_in)

With r_ls of layer l in run s, the mean over layers and runs has half the interval
sqrt((t_(S-1) s_S)^2 / S + (t_(L-1) s_L)^2 / L), s_S^2 the variance of the runs' means and s_L^2 that of the layers'.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from widthwise.analysis.alignment_rows import AlignmentRow
from widthwise.analysis.noise import student_quantile
from widthwise.analysis.width_slope import LEVEL
from widthwise.theory import AlignmentQuantity, Role


@dataclass(frozen=True)
class AlignmentRatio:
    """The ratio of a role's layers at one width and time.

    Args:
        progress: as in the rows.
        estimate: the mean over layers and runs; NaN where one of them is undefined.
        low, high: its interval; NaN with one run of one layer, of which nothing scatters.
    """

    role: Role
    quantity: AlignmentQuantity
    width: int
    progress: float
    estimate: float
    low: float
    high: float
    seeds: int
    layers: int


def alignment_ratios(rows: Iterable[AlignmentRow], *, level: float = LEVEL) -> tuple[AlignmentRatio, ...]:
    """The ratios of every role, quantity, width and progress, in the order in which they first appear.

    Args:
        rows: every layer of a role in every run of a width.
        level: of the intervals.

    Raises:
        ValueError: a row without a role, or a layer that a run lacks.

    Example:
        >>> row = AlignmentRow(64, 0, "up", Role.HIDDEN, AlignmentQuantity.ALPHA, 10, 0.75 * math.log(64), 64)
        >>> alignment_ratios([row])[0].estimate
        0.75
    """
    groups: dict[tuple[Role, AlignmentQuantity, int, float], dict[str, dict[int, float]]] = {}
    for row in rows:
        if row.role is None:
            raise ValueError(f"layer {row.layer!r} has no role to be pooled by; give its role")
        layers = groups.setdefault((row.role, row.quantity, row.width, row.progress), {})
        layers.setdefault(row.layer, {})[row.seed] = row.log_gain / math.log(row.fan_in)
    return tuple(_ratio(*group, layers, level) for group, layers in groups.items())


def _ratio(
    role: Role,
    quantity: AlignmentQuantity,
    width: int,
    progress: float,
    layers: dict[str, dict[int, float]],
    level: float,
) -> AlignmentRatio:
    seeds = sorted({seed for held in layers.values() for seed in held})
    for layer, held in layers.items():
        if len(held) < len(seeds):
            lacking = next(seed for seed in seeds if seed not in held)
            raise ValueError(
                f"{role}, {quantity} at {progress:g}: {layer!r} has no row of seed {lacking} at {width}"
            )
    ratios_LxS = np.array([[held[seed] for seed in seeds] for held in layers.values()], dtype=np.float64)
    estimate = float(ratios_LxS.mean())
    variance = 0.0
    for means in (ratios_LxS.mean(0), ratios_LxS.mean(1)):
        if len(means) > 1:
            spread = float(np.var(means, ddof=1)) / len(means)
            variance += student_quantile(level, len(means) - 1) ** 2 * spread
    half = math.sqrt(variance) if ratios_LxS.size > 1 else math.nan
    return AlignmentRatio(
        role, quantity, width, progress, estimate, estimate - half, estimate + half, len(seeds), len(layers)
    )
