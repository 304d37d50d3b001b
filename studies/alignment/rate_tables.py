"""How far the best rates moved with the width, against what each assumption of alignment predicts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from brackets import moved_between
from markdown_table import NOT_RUN, interval, table
from plan import Case, Config, cases
from stored import ARMS, Runs, Stores, best_rate, octave

from widthwise.analysis import Interval, Observation, TransferResult, transfer
from widthwise.study.arms import RULES
from widthwise.study.measured_rates import MeasuredStore
from widthwise.theory import (
    ALIGNMENTS,
    PARAMETERIZATIONS,
    PRESCRIPTIONS,
    Prescription,
    measured_drift,
    predicted_drift,
)


def predictions(
    case: Case, arm: Prescription, measured: MeasuredStore | str
) -> dict[str, tuple[float, float, float]]:
    """Assumption -> how many octaves the best rate moves when the width doubles: low, value, high."""
    at = (PARAMETERIZATIONS[case.parameterization], RULES[case.optimizer], arm)
    found = {name: (-float(predicted_drift(*at, truth)),) * 3 for name, truth in ALIGNMENTS.items()}
    if isinstance(measured, MeasuredStore):
        drift = measured_drift(*at, measured.roles)
        found["measured"] = (-float(drift.high), -float(drift.value), -float(drift.low))
    return found


def analysed(runs: Runs, largest: int) -> TransferResult | str:
    """The analysis up to a width, of the arms that have grids there."""
    grid = [o for o in runs.grid if o.width <= largest]
    enough = [
        arm
        for arm in ARMS
        if len({o.rate for o in grid if o.prescription == arm and o.width == largest}) >= 4
    ]
    try:
        return transfer([o for o in grid if o.prescription in enough])
    except ValueError as error:
        return str(error)


def drift_tables(stores: Stores, config: Config) -> tuple[str, str]:
    """How far each arm's best rate moved against every assumption's prediction, and how far off each one is."""
    rows: list[list[str]] = []
    scores: list[list[str]] = []
    names = (*ALIGNMENTS, "measured")
    for case in cases(config):
        for width in config["large_widths"]:
            found = drifts(stores, config, case, width)
            if found is None:
                rows.append([case.name, "-", str(width), NOT_RUN, *["-"] * len(names)])
                continue
            octaves = math.log2(width / config["base_width"])
            for one in found:
                where = interval(one.moved) + one.bracketed * ", bracket" if one.moved else one.why
                cells = [_foreseen(one.foreseen.get(name), octaves, one.moved) for name in names]
                rows.append([case.name, one.arm, str(width), where, *cells])
            distinct = [one for one in found if one.moved is not None and one.twin is None]
            if distinct:
                misses = (mean_miss(distinct, name, octaves) for name in names)
                scores.append([case.name, str(width), str(len(distinct)), *misses])
    head = ("case", "arm", "width", "best rate moved by, octaves", *names)
    return table(head, rows), table(("case", "width", "arms", *names), scores)


@dataclass(frozen=True)
class Drift:
    """How far one arm's best rate moved, and what was foreseen.

    Args:
        moved: log2(best rate at the width / best rate at the base); None if one of them was not found.
        why: what is missing, then.
        bracketed: whether the interval is that of brackets (`brackets.py`), for want of a fit.
        foreseen: assumption -> octaves a doubling of the width: low, value, high.
        twin: an earlier arm with the same runs at the width.
    """

    arm: str
    moved: Interval | None
    why: str
    foreseen: dict[str, tuple[float, float, float]]
    twin: str | None
    bracketed: bool = False


def drifts(stores: Stores, config: Config, case: Case, width: int) -> list[Drift] | None:
    """Every arm's drift from the base width to a large one; None where the large one was not run."""
    runs = stores.runs(case)
    result = "" if runs is None else analysed(runs, width)
    if runs is None or isinstance(result, str):
        return None
    measured = stores.measured(case, config["measured_arms"][0])
    own = {"measured": measured.prescription} if isinstance(measured, MeasuredStore) else {}
    own["constant"] = PRESCRIPTIONS["full"]
    ends_of = (config["base_width"], width)
    found: list[Drift] = []
    seen: dict[frozenset[object], str] = {}
    for one in result.results:
        arm = PRESCRIPTIONS.get(one.prescription) or own.get(one.prescription)
        if arm is None or (one.prescription == "constant" and runs.found.constant == 1):
            continue  # a constant of 1 is full alignment again
        last = frozenset(o.run for o in runs.grid if (o.prescription, o.width) == (one.prescription, width))
        twin = seen.get(last)
        seen.setdefault(last, one.prescription)
        moved, why = _moved(one.regret.offset), ""
        if moved is None:
            at = {
                o: [r for r in runs.grid if (r.prescription, r.width) == (one.prescription, o)]
                for o in ends_of
            }
            between = moved_between(*at.values())
            moved, why = (None, between) if isinstance(between, str) else (between, "")
        by_bracket = moved is not None and one.regret.offset is None
        found.append(Drift(one.prescription, moved, why, predictions(case, arm, measured), twin, by_bracket))
    return found


def mean_miss(found: Sequence[Drift], name: str, octaves: float) -> str:
    """The mean over arms of moved - predicted, as if their errors were one, and how many intervals it meets.

    The arms share the base width's runs. sd(mean) is at most the mean of the sds, whatever the correlation.
    """
    known = [
        (one.moved, one.foreseen[name]) for one in found if one.moved is not None and name in one.foreseen
    ]
    if not known:
        return "-"
    value, low, high = (
        float(np.mean(ends))
        for ends in zip(
            *(
                (m.estimate - octaves * p, m.low - octaves * top, m.high - octaves * bottom)
                for m, (bottom, p, top) in known
            ),
            strict=True,
        )
    )
    met = sum(m.low <= octaves * top and octaves * bottom <= m.high for m, (bottom, _, top) in known)
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f}), meets {met}"


def rate_table(stores: Stores, config: Config) -> str:
    """The best rate of each grid, no fit: log2 of the rate whose loss, mean over seeds that all trained, is lowest."""
    widths = (config["base_width"], config["small_width"], *config["large_widths"])
    rows: list[list[str]] = []
    for case in cases(config):
        runs = stores.runs(case)
        if runs is None:
            continue
        for arm in ARMS:
            cells = [
                _best_cell([o for o in runs.grid if (o.prescription, o.width) == (arm, n)]) for n in widths
            ]
            if any(cell != NOT_RUN for cell in cells[1:]):
                rows.append([case.name, arm, *cells])
    return table(("case", "arm", *(f"width {n}" for n in widths)), rows)


def _best_cell(runs: list[Observation]) -> str:
    if len({o.rate for o in runs}) < 2:
        return NOT_RUN
    x, loss = best_rate(runs)
    above = {octave(o) for o in runs if octave(o) > x}
    failed = {octave(o) for o in runs if o.loss is None}
    edge = ", the highest of its grid" if not above else ", next fails" if min(above) in failed else ""
    return f"{x:g}: {loss:.3f}{edge}"


def _moved(offset: Interval | None) -> Interval | None:
    """log2(best rate at the width / best rate at the base)."""
    return None if offset is None else Interval(-offset.estimate, -offset.high, -offset.low)


def _foreseen(one: tuple[float, float, float] | None, octaves: float, moved: Interval | None) -> str:
    """A prediction; in bold where it, or its interval, meets the observed interval."""
    if one is None:
        return "-"
    low, value, high = (octaves * x for x in one)
    text = f"{value:.2f}" if low == high else f"{value:.2f} ({low:.2f} to {high:.2f})"
    text = text.replace("-0.00", "0.00")
    meets = moved is not None and low <= moved.high and moved.low <= high
    return f"**{text}**" if meets else text


def verdict_table(stores: Stores, config: Config) -> str:
    """The loss given up at the largest width by keeping the base width's best rate, fitted."""
    rows: list[list[str]] = []
    for case in cases(config):
        runs = stores.runs(case)
        result = None if runs is None else analysed(runs, config["large_widths"][-1])
        if result is None or isinstance(result, str):
            continue
        for one in result.results:
            last, lost = one.cells[-1], one.regret.loss
            best = "-" if last.loss is None else f"{last.loss:.4f}"
            given_up = (
                "-"
                if lost is None
                else f"{100 * lost.estimate:.2f} ({100 * lost.low:.2f} to {100 * lost.high:.2f})"
            )
            rows.append(
                [case.name, one.prescription, best, given_up, one.verdict, interval(one.exponent.total)]
            )
    head = ("case", "arm", "lowest loss, fitted", "given up, %", "verdict", "exponent of the best rate")
    return table(head, rows)
