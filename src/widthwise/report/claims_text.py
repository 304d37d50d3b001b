"""The judged claims as a Markdown table, for a document, and as plain values, for a program."""

import math
from collections.abc import Iterable
from typing import Any

from widthwise.analysis import ClaimVerdict, Condition, Interval
from widthwise.report.numbers import INFINITY, MISSING, fixed


def claims_markdown(verdicts: Iterable[ClaimVerdict]) -> str:
    """One row a condition, the claim and how it stands on its first row.

    Example:
        >>> from widthwise.analysis import Standing
        >>> print(claims_markdown([ClaimVerdict(4, "A beats B", Standing.OPEN, ())]))
        | # | claim | stands | measured | value, 95 % interval | asked |
        |---|---|---|---|---|---|
        | 4 | A beats B | **not decidable at this scale** | | | |
        <BLANKLINE>
    """
    lines = ["| # | claim | stands | measured | value, 95 % interval | asked |", "|---|---|---|---|---|---|"]
    for verdict in verdicts:
        claim = _cell(f"{verdict.claim}. {verdict.remark}" if verdict.remark else verdict.claim)
        head = f"| {verdict.number} | {claim} | **{verdict.standing.value}** |"
        for condition in verdict.conditions:
            lines.append(f"{head} {_condition(condition)} |")
            head = "| | | |"
        if not verdict.conditions:
            lines.append(f"{head} | | |")
    return "\n".join(lines) + "\n"


def _condition(condition: Condition) -> str:
    found = condition.measured
    value = f"{MISSING}: {_cell(condition.reason)}" if found is None else interval_text(found)
    return f"{_cell(condition.what)} | {value} | {_cell(condition.demand)}: {condition.standing.value}"


def interval_text(interval: Interval) -> str:
    """A number with its interval, to three decimals: "−0.012 [−0.020, −0.004]"."""
    return f"{fixed(interval.estimate, 3)} [{fixed(interval.low, 3)}, {fixed(interval.high, 3)}]"


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
