"""Sharded parameters: every process reports the whole model, exactly as one process without shards would."""

from pathlib import Path

from epsilon_processes import report_in_processes, whole
from widthwise.measure import EpsilonReport, measure_epsilon


def test_every_process_reports_the_whole(tmp_path: Path) -> None:
    """Parts below 1,024 coordinates are pooled without loss, so medians are the same too; an empty part is one."""
    expected = measure_epsilon(whole())
    for path in report_in_processes(tmp_path):
        found = EpsilonReport.load(path)
        assert found.rows == expected.rows
