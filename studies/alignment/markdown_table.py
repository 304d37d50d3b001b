"""How the tables are written: Markdown, a value with its interval, and what was not run."""

import math
from collections.abc import Sequence

LEVEL = 0.95
NOT_RUN = "not run"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; nothing if it has no rows."""
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def interval(one: object, digits: int = 2) -> str:
    """A value with its ends, from any kind of interval."""
    if one is None:
        return "-"
    value = getattr(one, "estimate", getattr(one, "value", math.nan))
    low, high = one.low, one.high  # pyright: ignore
    return f"{float(value):.{digits}f} ({float(low):.{digits}f} to {float(high):.{digits}f})"
