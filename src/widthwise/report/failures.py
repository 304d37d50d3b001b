"""Which trials of a study failed, and why: for whoever has waited for it."""

import json
from collections import defaultdict

from widthwise.records import StoredStudy, TrialStatus

SHOWN = 4
"""How many reasons are listed."""


def failure_lines(study: StoredStudy) -> list[str]:
    """A line that says how many trials failed, and one for each of the commonest reasons; none if all were trained."""
    widths: dict[str, list[int]] = defaultdict(list)
    for trial in study.trials.values():
        if trial.status is TrialStatus.FAILED:
            widths[trial.reason or ""].append(json.loads(trial.recipe)["model"]["width"])
    if not widths:
        return []
    ordered = sorted(widths.items(), key=lambda item: -len(item[1]))
    lines = [f"{sum(map(len, widths.values()))} of {len(study.trials)} trials failed"]
    for reason, where in ordered[:SHOWN]:
        listed = ", ".join(map(str, sorted(set(where))))
        lines.append(f"  {len(where)} of width {listed}: {reason}")
    if (more := len(ordered) - SHOWN) > 0:
        lines.append(f"  {sum(len(where) for _, where in ordered[SHOWN:])} for {more} more reasons")
    return lines
