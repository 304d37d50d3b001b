"""A study as a flat table, in the columns that `widthwise transfer` reads, and where it came from.

One row for each cell whose trial has ended: to a reader of the table, a row without a loss is a run that diverged.
"""

import contextlib
import csv
import io
import os
from pathlib import Path

from widthwise.records import StoredStudy, TrialStatus

COLUMNS = (
    "width",
    "prescription",
    "rate",
    "seed",
    "loss",
    "run",
    "status",
    "reason",
    "diverged_step",
    "parameterization",
    "per_layer_rates",
    "optimizer",
)


def table_rows(study: StoredStudy) -> list[tuple[object, ...]]:
    """One row per cell that has ended, in the order of `COLUMNS`; a trial without a loss has None."""
    arms = {arm.name: arm for arm in study.arms}
    rows: list[tuple[object, ...]] = []
    for cell in study.cells:
        trial, arm = study.trials[cell.trial], arms[cell.arm]
        if trial.status is TrialStatus.PENDING:
            continue
        rows.append(
            (
                cell.width,
                cell.arm,
                cell.learning_rate,
                cell.seed,
                trial.validation_loss,
                trial.identity,
                trial.status.value,
                trial.reason,
                trial.step,
                arm.parameterization,
                arm.prescription,
                arm.optimizer,
            )
        )
    return rows


def to_csv(study: StoredStudy) -> str:
    """The table as CSV; numbers are written so that reading them gives the same bits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(table_rows(study))
    return text.getvalue()


def write_table(study: StoredStudy, path: Path, table_format: str) -> None:
    """Write the table to a file, whole or not at all.

    Args:
        table_format: `csv` or `parquet`, which needs pyarrow.

    Raises:
        ValueError: another format, pyarrow missing, or a file that cannot be written.
    """
    writers = {"csv": _csv_bytes, "parquet": _parquet_bytes}
    if table_format not in writers:
        raise ValueError(f"format {table_format!r} is unknown; choose one of {list(writers)}")
    data = writers[table_format](study)
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise ValueError(f"{str(path)!r} cannot be written: {error.strerror}; choose another file") from error


def _csv_bytes(study: StoredStudy) -> bytes:
    return to_csv(study).encode()


def _parquet_bytes(study: StoredStudy) -> bytes:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ValueError("Parquet needs pyarrow: pip install 'widthwise[parquet]', or export csv") from error
    columns = [list(column) for column in zip(*table_rows(study), strict=True)]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(dict(zip(COLUMNS, columns, strict=True))), sink)
    return sink.getvalue().to_pybytes()
