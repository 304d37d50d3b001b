"""What a command that trains a study says when it has ended: what transfers, and what failed."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from widthwise.records import StoredStudy


def print_end(study: "StoredStudy", store: Path) -> None:
    """What transfers, and on standard error what failed."""
    from widthwise.report.failures import failure_lines

    _print_verdicts(study)
    if lines := failure_lines(study):
        again = shlex.join(["widthwise", "study", "resume", str(store), "--retry-failed"])
        print("widthwise:", "\n".join(lines), file=sys.stderr)
        print(f"after a repair, `{again}` trains them again", file=sys.stderr)


def _print_verdicts(study: "StoredStudy") -> None:
    from rich.console import Console

    from widthwise.report import predictions, study_transfer, summary_line, verdict_table
    from widthwise.report.measured_sizes import has_one_rate

    if has_one_rate(study):
        # What was asked for is what was measured; a verdict needs several rates.
        print(f"{len(study.trials)} trials, one rate each: `widthwise study report` shows what was measured")
        return
    try:
        analysis = study_transfer(study)
    except ValueError as error:
        # The study is trained and kept; that it is too small for a verdict is no bad input.
        print(f"no verdict: {error}", file=sys.stderr)
        return
    console = Console()
    console.print(verdict_table(analysis, predictions(study)))
    console.print(summary_line(analysis))
