"""What every benchmark writes: rows, and one JSON form around them.

    {"benchmark", "machine", "versions", "commit", "rows": [{"name", "value", "unit", "baseline", "ratio", "target"}]}

`value` is in `unit`, `baseline` says what it is compared with, `ratio` is the comparison (above 1 is better for times
and rates), and `target` what was asked for. A benchmark may add keys of its own beside the five.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

Row = dict[str, Any]
Record = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SAME = ("benchmark", "machine", "versions", "commit")
"""What two records must share for their rows to stand in one."""


def row(
    name: str,
    value: float | None,
    unit: str,
    baseline: object = "none",
    ratio: float | None = None,
    target: object = None,
) -> Row:
    """One row of a record.

    Example:
        >>> row("a step", 2.0, "ms", "torch", 1.5)["ratio"]
        1.5
    """
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "baseline": baseline,
        "ratio": ratio,
        "target": target,
    }


def failed(name: str, error: Exception) -> Row:
    """A row for what could not be checked or measured."""
    return {**row(name, None, ""), "error": f"{type(error).__name__}: {error}"[:500]}


def print_row(item: Row) -> None:
    """One line of progress."""
    if "error" in item:
        print(f"FAILED {item['name']}: {item['error']}", flush=True)
        return
    value = f"{item['value']:.4g}" if isinstance(item["value"], int | float) else item["value"]
    ratio = "" if item["ratio"] is None else f"  {item['ratio']:.3g} of {item['baseline']}"
    target = "" if item["target"] is None else f"  (target {item['target']})"
    print(f"{item['name']}: {value} {item['unit']}{ratio}{target}", flush=True)


def printed(found: Iterable[Row]) -> list[Row]:
    """The rows, each printed as it comes."""
    rows: list[Row] = []
    for item in found:
        print_row(item)
        rows.append(item)
    return rows


def attempted(name: str, found: Callable[[], Iterable[Row]]) -> Iterator[Row]:
    """The rows of one part, each printed as it comes; a failure is the last of them, and does not stop the others."""
    started = perf_counter()
    try:
        for item in found():
            print_row(item)
            yield item
    except Exception as error:
        traceback.print_exc()
        item = failed(name, error)
        print_row(item)
        yield item
    print(f"  ({name}: {perf_counter() - started:.0f} s)", flush=True)


def commit() -> str:
    """The commit that is checked out, marked if the tree differs from it; "unknown" outside a checkout."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # a machine without git
        return "unknown"
    return done.stdout.strip() or "unknown"


def machine(accelerator: str | None = None) -> str:
    """The system, its cores, and the accelerator that was used.

    Args:
        accelerator: its name (`torch.cuda.get_device_name()`), or None for a run on the CPU alone.
    """
    cpu = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return cpu if accelerator is None else f"{accelerator}; {cpu}"


def versions(*distributions: str) -> dict[str, str]:
    """Python's version and those of installed distributions; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def make_record(
    benchmark: str, rows: Sequence[Row], *, machine: str, versions: Mapping[str, str], **more: object
) -> Record:
    """The one JSON form; keys of the benchmark's own stand before the rows."""
    head = {"benchmark": benchmark, "machine": machine, "versions": dict(versions), "commit": commit()}
    return {**head, **more, "rows": list(rows)}


def write_json(path: Path, record: Mapping[str, Any], *, indent: int | None = 1) -> None:
    """The whole file at once or not at all.

    Args:
        indent: None for one line, for records of thousands of rows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    separators = (",", ":") if indent is None else None
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        text = json.dumps(record, indent=indent, separators=separators, allow_nan=False)
        beside.write_text(text + "\n", encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def require_same(old: Mapping[str, Any], new: Mapping[str, Any], where: object) -> None:
    """Check that rows of two records may stand in one.

    Raises:
        ValueError: they were measured by another benchmark, on another machine, with other versions or another commit.
    """
    unlike = [
        f"{key}: {old.get(key)!r} there, {new.get(key)!r} here"
        for key in SAME
        if old.get(key) != new.get(key)
    ]
    if unlike:
        raise ValueError(
            f"{where} was measured elsewhere ({'; '.join(unlike)}); give another file, or remove it and run all parts"
        )


def merge_rows(old: Sequence[Row], new: Sequence[Row], *, dropped: Callable[[Row], bool]) -> list[Row]:
    """Old rows with the new ones in: a new row takes the place of the old one of its name and baseline.

    Args:
        dropped: which old rows go even if no new one takes their place.

    Example:
        >>> old = [row("a: x", 1, "s"), row("b: x", 1, "s")]
        >>> found = merge_rows(old, [row("b: x", 2, "s"), row("b: y", 3, "s")], dropped=lambda item: False)
        >>> [(item["name"], item["value"]) for item in found]
        [('a: x', 1), ('b: x', 2), ('b: y', 3)]
    """
    fresh = {(item["name"], item["baseline"]): item for item in new}
    merged: list[Row] = []
    for item in old:
        key = (item["name"], item["baseline"])
        if key in fresh:
            merged.append(fresh.pop(key))
        elif not dropped(item):
            merged.append(item)
    return [*merged, *fresh.values()]


def record_simulation(
    name: str,
    told: str | None,
    rows: Callable[[int], Iterable[Row]],
    arguments: Sequence[str] | None,
    *,
    studies: int,
    smoke: int,
) -> None:
    """The command line of a script that simulates studies: print its rows, and write them unless it is a smoke test.

    Args:
        name: of the record.
        told: the script's docstring.
        rows: of so many studies.
    """
    parser = argparse.ArgumentParser(description=(told or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json")
    parser.add_argument(
        "--smoke", action="store_true", help=f"{smoke} studies of each; prints, writes nothing"
    )
    given = parser.parse_args(arguments)
    found = printed(rows(smoke if given.smoke else studies))
    if not given.smoke:
        record = make_record(name, found, machine=machine(), versions=versions("numpy", "scipy"))
        write_json(given.out, record)
