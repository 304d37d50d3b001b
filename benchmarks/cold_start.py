"""How long `widthwise exponents` takes from a cold start, against the interpreter's own start.

Candidate and baseline alternate, so that a busy machine slows both; the median of ten is reported.

    python benchmarks/cold_start.py            prints the JSON record
    python benchmarks/cold_start.py --write    also keeps it as benchmarks/results/cold_start.json
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter

ROOT = Path(__file__).resolve().parent.parent
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


def commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return described.stdout.strip() or "unknown"


def row(name: str, command: list[str]) -> dict[str, object]:
    seconds(command)  # the first start writes bytecode
    pairs = [(seconds(command), seconds(BASELINE)) for _ in range(REPEATS)]
    value, baseline = (median(column) for column in zip(*pairs, strict=True))
    return {
        "name": f"{name}: median of {REPEATS} cold starts",
        "value": round(value, 4),
        "unit": "s",
        "baseline": "python -c pass",
        "ratio": round(value / baseline, 2),
        "target": f"< {TARGET_SECONDS} s",
    }


def record() -> dict[str, object]:
    """The benchmark's one JSON form."""
    return {
        "benchmark": "cold_start",
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), "widthwise": version("widthwise")},
        "commit": commit(),
        "rows": [row(name, command) for name, command in CANDIDATES.items()],
    }


def main() -> None:
    """Measure, print, and keep the record if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep the record under benchmarks/results")
    write = parser.parse_args().write
    text = json.dumps(record(), indent=2)
    print(text)
    if write:
        target = ROOT / "benchmarks" / "results" / "cold_start.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text + "\n")


if __name__ == "__main__":
    main()
