"""A check as text: the table that is printed, and its verdict in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from widthwise.measure.check_result import CoordinateCheck
from widthwise.measure.run_once import Quantity
from widthwise.measure.verdict import CheckRow, Verdict
from widthwise.scaling.role_decision import numberless
from widthwise.text_table import aligned

HEADER = ("measured", "of", "theory", "slope", "95 % interval", "verdict", "")
SHOWN = 6

WORDS = {
    Quantity.FACTOR: "initial draw",
    Quantity.UPDATE: "dW",
    Quantity.EFFECT: "dW z",
    Quantity.ALPHA: "alpha",
    Quantity.OMEGA: "omega",
    Quantity.FEATURE: "output at init",
    Quantity.CHANGE: "output's change",
}
"""What each judged or reported quantity is called in print."""


@dataclass(frozen=True)
class Line:
    """Rows that differ only in a layer's number or in the step, and came to the same.

    Args:
        worst: the one that is farthest from theory.
        rows: all of them.
    """

    name: str
    worst: CheckRow
    rows: tuple[CheckRow, ...]


def lines_of(check: CoordinateCheck) -> tuple[Line, ...]:
    """The rows of a check, alike ones together."""
    groups: dict[tuple[object, ...], list[CheckRow]] = {}
    for row in check.rows:
        reason = row.reason if row.slope is None else bool(row.reason)
        key = (row.quantity, numberless(row.name), row.theory, row.bound, row.verdict, reason)
        groups.setdefault(key, []).append(row)
    return tuple(Line(_name(rows), max(rows, key=_distance), tuple(rows)) for rows in groups.values())


def _name(rows: Sequence[CheckRow]) -> str:
    names = list(dict.fromkeys(row.name for row in rows))
    name = names[0] if len(names) == 1 else f"{numberless(names[0])} (x{len(names)})"
    steps = sorted({row.step for row in rows})
    if rows[0].quantity is not Quantity.CHANGE:
        return name or "the model"
    which = f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"
    return f"{name or 'the model'}, {which}"


def _distance(row: CheckRow) -> float:
    if row.slope is None:
        return 0.0
    miss = row.slope.estimate - (row.theory or 0.0)
    return miss if row.bound else abs(miss)


def cells(line: Line) -> tuple[str, ...]:
    """A line of the table, in the order of `HEADER`."""
    row = line.worst
    expected = "" if row.theory is None else f"{'<= ' if row.bound else ''}{row.theory + 0.0:g}"
    slope = "" if row.slope is None else f"{row.slope.estimate:+.3f}"
    interval = "" if row.slope is None else f"{row.slope.low:+.3f} to {row.slope.high:+.3f}"
    return (
        WORDS.get(row.quantity, row.quantity.value),
        line.name,
        expected,
        slope,
        interval,
        row.verdict.value,
        row.reason,
    )


def table(check: CoordinateCheck) -> str:
    """The whole check."""
    return "\n".join([head(check), *aligned([HEADER, *map(cells, lines_of(check))])])


def head(check: CoordinateCheck) -> str:
    """What was checked, in a line."""
    return (
        f"widths {', '.join(map(str, check.widths))}; base width {check.base_width}; {check.parameterization}, "
        f"{check.optimizer}, {check.alignment} alignment; learning rate {check.learning_rate:g}; "
        f"{check.seeds} seeds, {check.steps} step{'s' if check.steps > 1 else ''}"
    )


def summary(check: CoordinateCheck) -> str:
    """The verdict, what it rests on, and whatever else was noticed."""
    judged = [row for row in check.rows if row.verdict in (Verdict.PASS, Verdict.FAIL, Verdict.UNDECIDED)]
    lines = lines_of(check)
    sentences = [f"{check.verdict.value}: {_counts(judged)}."]
    suspects = [line for line in lines if any(row in check.suspects for row in line.rows)]
    if suspects:
        sentences.append("Look first at: " + _listing(suspects))
        if suspects[0].worst.quantity is Quantity.FEATURE:
            sentences.append(
                "Draws and updates are the plan's, so a factor of the model's own forward pass lies in front of it: "
                "declare it, Rule(..., forward_factor=...)."
            )
    for verdict, word in (
        (Verdict.FAIL, "Failed"),
        (Verdict.UNDECIDED, "Undecided, which more seeds or wider widths would change"),
    ):
        found = [line for line in lines if line.worst.verdict is verdict and line not in suspects]
        if found:
            sentences.append(f"{word}: {_listing(found)}")
    if check.unmeasured:
        names = ", ".join(row.name for row in check.unmeasured)
        sentences.append(f"No first update was seen of {names}, so the check says nothing about it.")
    noted = [line for line in lines if line.worst.verdict is Verdict.REPORTED and line.worst.reason]
    if noted:
        sentences.append(f"Noted: {_listing(noted)}")
    return "\n".join(sentences)


def _counts(rows: Sequence[CheckRow]) -> str:
    found = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    said = ", ".join(
        f"{found[verdict]} {word}"
        for verdict, word in ((Verdict.FAIL, "failed"), (Verdict.UNDECIDED, "undecided"))
        if found[verdict]
    )
    return f"{found[Verdict.PASS]} of {len(rows)} exponents are theory's" + (f", {said}" if said else "")


def _listing(lines: Sequence[Line]) -> str:
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return "; ".join(map(_said, lines[:SHOWN])) + more + "."


def _said(line: Line) -> str:
    row = line.worst
    what = f"{WORDS.get(row.quantity, row.quantity.value)} of {line.name}"
    if row.slope is None:
        return f"{what} ({row.reason})"
    power = "" if row.quantity in (Quantity.ALPHA, Quantity.OMEGA) else "n^"
    expected = "" if row.theory is None else f" against {'at most ' if row.bound else ''}{row.theory + 0.0:g}"
    return f"{what} {power}{row.slope.estimate:+.2f}{expected}" + (f" ({row.reason})" if row.reason else "")
