"""`alignment_exponents`: from log gains at several widths to the exponents that the theory takes, with intervals.

    log_gain = constant + exponent ln(width)

The log alignment ratio of one width is the log gain over ln(fan_in): whatever constant the log gain has biases it by
constant / ln n, which no width that anybody trains makes small. The slope is free of it. So at least three widths.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from widthwise.analysis.alignment_rows import AlignmentRow
from widthwise.analysis.width_slope import LEAST_WIDTHS, LEVEL, SlopeErrors, width_slope
from widthwise.theory import AlignmentQuantity, MeasuredExponent, Role


class Pool(StrEnum):
    """What gets an exponent: every layer one of its own, or all layers of a role one together."""

    LAYER = "layer"
    ROLE = "role"


@dataclass(frozen=True)
class AlignmentExponent:
    """One exponent: of a layer or of a role.

    Args:
        name: of the layer, or of the role.
        role: None if nobody said.
        quantity: which product.
        progress: as in the rows.
        exponent: the slope with its interval; NaN where there is none.
        errors: the interval's parts, as standard errors.
        layers: which it is of.
        seeds: runs of the width that has the fewest.
        undefined: why there is no exponent; empty if there is one.
    """

    name: str
    role: Role | None
    quantity: AlignmentQuantity
    progress: float
    exponent: MeasuredExponent
    errors: SlopeErrors
    layers: tuple[str, ...]
    seeds: int
    undefined: str = ""


Group = tuple[str, AlignmentQuantity, float]
Runs = dict[tuple[int, int], AlignmentRow]
"""By width and seed."""


def alignment_exponents(
    rows: Iterable[AlignmentRow], *, pool: Pool = Pool.LAYER, level: float = LEVEL
) -> tuple[AlignmentExponent, ...]:
    """The exponents of every layer (or role), quantity and progress, in the order in which they first appear.

    The interval covers three kinds of noise, each estimated from the rows: that of the seeds (the runs of one width
    scatter), that of the widths (the means over seeds scatter about the line by more than the seeds explain: curvature,
    finite width), and, where the layers of a role are pooled, that of the layers (each has a slope of its own; the
    interval is for the mean of such layers). Layers of one run are averaged first, so that a run which is off as a
    whole counts once. Each part has the Student t of its own degrees of freedom (`width_slope`). With one seed a width,
    the scatter about the line is all that is known. What changes at widths beyond the measured ones is not covered.

    An exponent is undefined (NaN) where one of its rows is, and where the fan-in does not grow with the width: an
    embedding is looked up or sums over a fixed dimension, and there is no exponent to measure.

    Args:
        rows: of three widths or more in every group; every layer in every run.
        pool: per layer, or per role.
        level: of the intervals.

    Raises:
        ValueError: fewer than three widths; the same row twice; a layer that some run lacks; pooling per role with rows
            that have none, or with a layer whose fan-in does not grow beside layers whose does.

    Example:
        >>> from widthwise.theory import AlignmentQuantity, Role
        >>> rows = [
        ...     AlignmentRow(n, 0, "up", Role.HIDDEN, AlignmentQuantity.ALPHA, 10, 0.9 * math.log(n) - 0.7, n)
        ...     for n in (64, 128, 256)
        ... ]
        >>> (found,) = alignment_exponents(rows)
        >>> round(found.exponent.value, 9), round(rows[0].log_gain / math.log(64), 3)  # the ratio is biased
        (0.9, 0.732)
    """
    groups: dict[Group, dict[str, Runs]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        runs = groups[_name(row, pool), row.quantity, row.progress][row.layer]
        if (row.width, row.seed) in runs:
            raise ValueError(
                f"layer {row.layer!r}, {row.quantity} at {row.progress:g}: width {row.width}, seed {row.seed} is there "
                "twice; give the runs of one width different seeds"
            )
        runs[row.width, row.seed] = row
    return tuple(_exponent(group, layers, level) for group, layers in groups.items())


def _name(row: AlignmentRow, pool: Pool) -> str:
    if pool is Pool.LAYER:
        return row.layer
    if row.role is None:
        raise ValueError(f"layer {row.layer!r} has no role to be pooled by; give its role, or pool per layer")
    return row.role.value


def _exponent(group: Group, layers: dict[str, Runs], level: float) -> AlignmentExponent:
    name, quantity, progress = group
    what = f"{name!r}, {quantity} at {progress:g}"
    runs = sorted({run for held in layers.values() for run in held})
    _check_complete(what, layers, runs)
    widths = tuple(sorted({width for width, _ in runs}))
    if len(widths) < LEAST_WIDTHS:
        raise ValueError(
            f"{what}: {len(widths)} width(s) {list(widths)}; a ratio at one width is not an exponent, and a slope "
            f"needs {LEAST_WIDTHS} or more"
        )
    values = {
        layer: [[held[run].log_gain for run in runs if run[0] == width] for width in widths]
        for layer, held in layers.items()
    }
    undefined = _undefined(what, layers, widths)
    if undefined:
        exponent, errors = _nothing(widths), SlopeErrors(math.nan, math.nan, math.nan)
    else:
        found = width_slope(widths, list(values.values()), level=level)
        exponent, errors = MeasuredExponent(found.estimate, found.low, found.high, widths), found.errors
    return AlignmentExponent(
        name=name,
        role=next(iter(next(iter(layers.values())).values())).role,
        quantity=quantity,
        progress=progress,
        exponent=exponent,
        errors=errors,
        layers=tuple(layers),
        seeds=min(sum(run[0] == width for run in runs) for width in widths),
        undefined=undefined,
    )


def _nothing(widths: tuple[int, ...]) -> MeasuredExponent:
    return MeasuredExponent(math.nan, math.nan, math.nan, widths)


def _check_complete(what: str, layers: dict[str, Runs], runs: Sequence[tuple[int, int]]) -> None:
    for layer, held in layers.items():
        missing = [run for run in runs if run not in held]
        if missing:
            width, seed = missing[0]
            raise ValueError(
                f"{what}: layer {layer!r} has no row at width {width}, seed {seed} ({len(missing)} of {len(runs)} runs "
                "lack it); pool layers that every run has"
            )


def _undefined(what: str, layers: dict[str, Runs], widths: tuple[int, ...]) -> str:
    """Why there is no exponent; empty if there is."""
    fixed = [layer for layer, held in layers.items() if len({row.fan_in for row in held.values()}) == 1]
    if fixed and len(fixed) < len(layers):
        raise ValueError(
            f"{what}: layer {fixed[0]!r} sums over {_fan_in(layers[fixed[0]])} entries at every width, others over "
            "more at larger ones; they are not of one role"
        )
    if fixed:
        return f"sums over {_fan_in(layers[fixed[0]])} entries at every width"
    for layer, held in layers.items():
        lost = sorted({row.width for row in held.values() if not math.isfinite(row.log_gain)})
        if lost:
            where = "every width" if len(lost) == len(widths) else f"width {lost[0]}"
            return f"{layer} is undefined at {where}: nothing changed there, or not finite"
    return ""


def _fan_in(runs: Runs) -> int:
    return next(iter(runs.values())).fan_in
