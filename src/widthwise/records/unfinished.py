"""What a study has not finished yet."""

from widthwise.records.rows import StoredStudy, TrialStatus


def unfinished(study: StoredStudy) -> set[tuple[str, int]]:
    """Every arm and width with a run that has not ended, or whose rates are still being planned."""
    pending = {(c.arm, c.width) for c in study.cells if study.trials[c.trial].status is TrialStatus.PENDING}
    return pending | {(row.arm, row.width) for row in study.sweeps if not row.done}
