"""The judged claims as a Markdown table, for a document, and as plain values, for a program."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from widthwise.analysis import ClaimVerdict, Condition, Interval, Standing
from widthwise.report.numbers import INFINITY, MISSING, fixed

DIGITS = 4
"""Of what conditions measured: a difference of losses that matters may be of 0.005 nats."""
HEAD = ("#", "claim", "stands", "trials", "measured", "value, 95 % interval", "asked")
SHORT_HEAD = ("#", "claim", "stands", "its conditions")


def claims_in_short(verdicts: Iterable[ClaimVerdict]) -> str:
    """One row a claim: how it stands, and how many of its conditions stand in each way.

    Example:
        >>> conditions = [Condition("a", "", None, way) for way in (Standing.HOLDS, Standing.OPEN, Standing.HOLDS)]
        >>> print(claims_in_short([ClaimVerdict(4, "A beats B", Standing.OPEN, tuple(conditions))]))
        | # | claim | stands | its conditions |
        | --- | --- | --- | --- |
        | 4 | A beats B | **not decidable at this scale** | holds: 2, not decidable at this scale: 1 |
        <BLANKLINE>
    """
    rows: list[Sequence[str]] = []
    for verdict in verdicts:
        counts = {way: sum(one.standing is way for one in verdict.conditions) for way in Standing}
        told = ", ".join(f"{way.value}: {count}" for way, count in counts.items() if count)
        rows.append((str(verdict.number), verdict.claim, f"**{verdict.standing.value}**", told))
    return markdown_table(SHORT_HEAD, rows) + "\n"


def claims_markdown(verdicts: Iterable[ClaimVerdict]) -> str:
    """One row a condition, the claim and how it stands on its first row.

    Example:
        >>> print(claims_markdown([ClaimVerdict(4, "A beats B", Standing.OPEN, (), trials=2040)]))
        | # | claim | stands | trials | measured | value, 95 % interval | asked |
        | --- | --- | --- | --- | --- | --- | --- |
        | 4 | A beats B | **not decidable at this scale** | 2,040 |  |  |  |
        <BLANKLINE>
    """
    rows: list[Sequence[str]] = []
    for verdict in verdicts:
        claim = f"{verdict.claim}. {verdict.remark}" if verdict.remark else verdict.claim
        head = (str(verdict.number), claim, f"**{verdict.standing.value}**", f"{verdict.trials:,}")
        for condition in verdict.conditions or (None,):
            rows.append((*head, *(("", "", "") if condition is None else _condition(condition))))
            head = ("", "", "", "")
    return markdown_table(HEAD, rows) + "\n"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; no text ends a cell or a row.

    Example:
        >>> print(markdown_table(("a", "b"), [("1|2", "3")]))
        | a | b |
        | --- | --- |
        | 1\\|2 | 3 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _condition(condition: Condition) -> tuple[str, str, str]:
    found = condition.measured
    value = f"{MISSING}: {condition.reason}" if found is None else interval_text(found, DIGITS)
    return condition.what, value, f"{condition.demand}: {condition.standing.value}"


def interval_text(interval: Interval, digits: int = 3) -> str:
    """A number with its interval: "−0.012 [−0.020, −0.004]"."""
    value, low, high = (fixed(number, digits) for number in (interval.estimate, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def _cell(text: str) -> str:
    """Text that neither ends a cell nor a row."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def claims_json(verdicts: Iterable[ClaimVerdict]) -> list[dict[str, Any]]:
    """The verdicts as plain values; an infinite bound is its sign as text, since JSON has none."""
    return [
        {
            "number": verdict.number,
            "claim": verdict.claim,
            "standing": verdict.standing.value,
            "trials": verdict.trials,
            "remark": verdict.remark,
            "conditions": [
                {
                    "what": condition.what,
                    "demand": condition.demand,
                    "standing": condition.standing.value,
                    "reason": condition.reason,
                    "measured": None if condition.measured is None else _bounds(condition.measured),
                }
                for condition in verdict.conditions
            ],
        }
        for verdict in verdicts
    ]


def _bounds(interval: Interval) -> dict[str, float | str]:
    return {name: _plain(getattr(interval, name)) for name in ("estimate", "low", "high")}


def _plain(value: float) -> float | str:
    if math.isinf(value):
        return INFINITY if value > 0 else f"-{INFINITY}"
    return value
