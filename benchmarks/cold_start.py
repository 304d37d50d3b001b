"""How long `widthwise exponents` takes from a cold start, against the interpreter's own start.

Candidate and baseline alternate, so that a busy machine slows both; the median of ten is reported.

    PYTHONPATH=src python benchmarks/cold_start.py            prints the JSON record
    PYTHONPATH=src python benchmarks/cold_start.py --write    also keeps it as benchmarks/results/cold_start.json
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from statistics import median
from time import perf_counter

from _record import RESULTS, Row, machine, make_record, row, versions, write_json

REPEATS = 10
TARGET_SECONDS = 0.5
BASELINE = [sys.executable, "-c", "pass"]
CANDIDATES = {
    "widthwise exponents": [sys.executable, "-m", "widthwise", "exponents"],
    "import widthwise": [sys.executable, "-c", "import widthwise"],
}


def seconds(command: list[str]) -> float:
    """One start, in seconds."""
    start = perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - start


def start_row(name: str, command: list[str], *, repeats: int = REPEATS) -> Row:
    """The median start beside the interpreter's own."""
    seconds(command)  # the first start writes bytecode
    pairs = [(seconds(command), seconds(BASELINE)) for _ in range(repeats)]
    value, baseline = (median(column) for column in zip(*pairs, strict=True))
    return row(
        f"{name}: median of {repeats} cold starts",
        round(value, 4),
        "s",
        "python -c pass",
        round(value / baseline, 2),
        f"< {TARGET_SECONDS} s",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and keep the record if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep the record under benchmarks/results")
    parser.add_argument("--smoke", action="store_true", help="one start of each")
    given = parser.parse_args(arguments)
    rows = [start_row(*item, repeats=1 if given.smoke else REPEATS) for item in CANDIDATES.items()]
    record = make_record("cold_start", rows, machine=machine(), versions=versions("widthwise"))
    print(json.dumps(record, indent=2))
    if given.write:
        write_json(RESULTS / "cold_start.json", record, indent=2)


if __name__ == "__main__":
    main()
