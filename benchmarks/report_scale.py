"""A store of 53,070 trials: how long its report takes, what it weighs, and how soon it is known what is left.

    PYTHONPATH=src python benchmarks/report_scale.py [--out FILE] [--smoke] [--json]

The store is invented, its specification, trials and schema are real (`tests/large_store.py`). The report is made by the
command, in a process of its own, whose peak of memory is taken; what is left is known once, as in `widthwise
study resume`, the store was read, read again as its one writer, and every
population's work is known. Prints the rows, or with
`--json` the record, and writes `benchmarks/results/report_scale.json`.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter, process_time

from _record import RESULTS, Row, machine, make_record, print_row, row, versions, write_json

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import widthwise.train  # noqa: E402, F401 - torch is there before the time is taken
from large_store import WIDTHS, large_spec, write_large_store  # noqa: E402
from widthwise.records import read_study  # noqa: E402
from widthwise.study.run_state import Tracker  # noqa: E402
from widthwise.study.store import writing  # noqa: E402

REPEATS = 3


def measure(store: Path, *, smoke: bool) -> Iterator[Row]:
    """The rows, as they come."""
    source = large_spec(seeds=2, widths=WIDTHS[:3]) if smoke else large_spec()
    plan = write_large_store(store, source, done=0.99)
    yield row("trials", len(plan.trials), "trials", target=None if smoke else ">= 50000")
    yield row("cells", len(plan.cells), "cells")
    yield row("store", store.stat().st_size / 1e6, "MB")
    out = store.parent / "report"
    command = [sys.executable, "-m", "widthwise", "study", "report", str(store), "--out", str(out)]
    started = perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    yield row("report", seconds, "s", target="< 30")
    yield row("report: processor", used.ru_utime + used.ru_stime, "s")
    yield row("report: peak memory", used.ru_maxrss * 1024 / 1e9, "GB", target="< 1")
    yield row("page", (out / "report.html").stat().st_size / 1e6, "MB")
    times = [_what_is_left(store) for _ in range(REPEATS)]
    wall, processor = min(times)
    yield row("what is left", wall, "s", target="< 2")
    yield row("what is left: processor", processor, "s")


def _what_is_left(store: Path) -> tuple[float, float]:
    started, processor = perf_counter(), process_time()
    assert read_study(store).pending_populations()
    with writing(store):
        study = read_study(store)
        Tracker(study, None)
        assert study.pending_populations()
    return perf_counter() - started, process_time() - processor


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="benchmarks/results/report_scale.json unless --smoke")
    parser.add_argument("--smoke", action="store_true", help="a small store, to see that it runs")
    parser.add_argument("--json", action="store_true", help="print the record instead of its rows")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for found in measure(Path(folder) / "large.sqlite", smoke=options.smoke):
            rows.append(found)
            if not options.json:
                print_row(found)
    record = make_record(
        "report_scale",
        rows,
        machine=machine(),
        versions=versions("altair", "numpy", "scipy", "vl-convert-python"),
    )
    if options.out is not None or not options.smoke:
        write_json(options.out or RESULTS / "report_scale.json", record)
    if options.json:
        print(json.dumps(record))


if __name__ == "__main__":
    main()
