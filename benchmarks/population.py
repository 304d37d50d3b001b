"""The population engine: how fast, and that every member is the model it would be alone.

usage: PYTHONPATH=src python benchmarks/population.py [--json FILE] [--parts a,b] [--only TEXT ...] [--smoke]

Parts, each of a few minutes on one H200:
    small      16x256 tokens a member and step, 256 bytes: against a plain compiled loop, P = 1, and the roofline
    large      64x512 tokens, a vocabulary of 32101, NanoDO's published shape among them
    single     one model of width 1024 to 4096: the share of a large matrix product's rate
    processes  four processes on one device, each with a model of its own, beside one population
    thousand   a study of a thousand models into a store (needs pydantic)
    fidelity   members against themselves alone, recorded steps against steps, neighbours of an infinite member
    cpu        small widths on the CPU

`--json FILE` keeps the record, whole after every row; what a file holds of other parts stays, if its machine, versions
and commit are this run's. `--merge OTHER ...` measures nothing and puts such files into one. `--only D=128` runs those
cases whose label holds a text. `--smoke` runs every line on a CPU, small and uncompiled. Needs torch, numpy and triton.
A part that fails is a row with its error, and exit code 1.

All of `small` takes about five minutes, all of `single` seven: `--only V=256` and `--only V=32101` halve it.

Candidate and baseline live in one process and take turns; values are medians of the turns.
"""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import torch
from _population_case import CPU, LARGE, SMOKE, Case, Scale
from _population_cpu import cpu_rows
from _population_fidelity import fidelity_rows
from _population_processes import process_rows
from _population_speed import (
    LARGE_VOCABULARY,
    SINGLE,
    SMALL,
    TINY,
    TINY_LARGE,
    Backends,
    population_rows,
    single_rows,
)
from _population_study import missing, study_rows
from _record import (
    Record,
    Row,
    attempted,
    failed,
    machine,
    make_record,
    merge_rows,
    require_same,
    row,
    versions,
    write_json,
)
from _roofline_rates import Ceilings, ceilings
from _timing import forget

from widthwise.train import Corpus, load_corpus

CaseRows = Callable[[str, Case, Scale, Ceilings, Backends], Iterator[Row]]


@dataclass
class Run:
    """What the arguments ask for, and what has been found so far."""

    smoke: bool
    only: tuple[str, ...]
    corpus_name: str
    store: Path | None
    ran: Backends = field(default_factory=dict)
    """The kernels of a row's step, by its label."""

    @property
    def scale(self) -> Scale:
        """Where, and how long turns are."""
        if self.smoke:
            return SMOKE
        return LARGE if torch.cuda.is_available() else CPU

    @cached_property
    def ceilings(self) -> Ceilings:
        """Measured once, when the first part asks."""
        return ceilings(self.scale.device)

    @cached_property
    def corpus(self) -> Corpus:
        """Read once, when the first part asks."""
        return load_corpus(self.corpus_name)

    def cases(self, part: str, given: tuple[Case, ...], tiny: Case, rows: CaseRows) -> Iterator[Row]:
        """The rows of a table's cases, its ceilings first; a case that fails is one row."""
        for case in (tiny,) if self.smoke else given:
            if self.only and not any(text in f"{case.label}," for text in self.only):
                continue
            try:
                found = self.ceilings
                yield row(f"{part}: device copy", found.copy / 1e12, "TB/s")
                yield row(f"{part}: {found.size}^3 product", found.matmul / 1e12, "TFLOP/s")
                yield from rows(part, case, self.scale, found, self.ran)
            except Exception as error:
                traceback.print_exc()
                yield failed(f"{part}: {case.label}", error)
            forget(self.scale.device)


PARTS: dict[str, Callable[[Run], Iterator[Row]]] = {
    "small": lambda run: run.cases("small", SMALL, TINY, population_rows),
    "large": lambda run: run.cases("large", LARGE_VOCABULARY, TINY_LARGE, population_rows),
    "single": lambda run: run.cases("single", SINGLE, TINY, single_rows),
    "processes": lambda run: process_rows("processes", run.scale),
    "thousand": lambda run: study_rows("thousand", run.corpus_name, run.store, smoke=run.smoke),
    "fidelity": lambda run: fidelity_rows("fidelity", run.corpus, run.scale),
    "cpu": lambda run: cpu_rows("cpu", run.corpus, run.scale, smoke=run.smoke),
}


def record_of(run: Run, rows: list[Row]) -> Record:
    """The one JSON form, and the kernels that ran."""
    return make_record(
        "population",
        rows,
        machine=machine(torch.cuda.get_device_name() if run.scale.cuda else None)
        + (", smoke" if run.smoke else ""),
        versions=versions("torch", "triton", "numpy"),
        threads=torch.get_num_threads(),
        backends=run.ran,
    )


def read_record(path: Path) -> Record:
    """A record that was kept."""
    found: Record = json.loads(path.read_text(encoding="utf-8"))
    return found


def keep(path: Path, old: Record | None, found: Record, *, done: set[str], again: list[str]) -> None:
    """The record with what an earlier one has beside it.

    Args:
        done: parts whose every case has run: earlier rows that no new one replaces are gone.
        again: parts that are run again, at least in part: earlier failures are gone.
    """

    def dropped(item: Row) -> bool:
        part = str(item["name"]).partition(":")[0]
        return part in done or (part in again and "error" in item)

    if old is not None:
        rows = merge_rows(old["rows"], found["rows"], dropped=dropped)
        found = {**found, "backends": {**old.get("backends", {}), **found["backends"]}, "rows": rows}
    write_json(path, found)


def measure(run: Run, parts: list[str], path: Path | None, old: Record | None) -> list[Row]:
    """The rows of the parts, printed as they come and kept after every one."""
    rows: list[Row] = []
    done: set[str] = set()
    for part in parts:
        whole = not run.only
        for item in attempted(part, partial(PARTS[part], run)):
            whole = whole and "error" not in item
            rows = merge_rows(rows, [item], dropped=lambda _: False)
            if path is not None:
                keep(path, old, record_of(run, rows), done=done, again=parts)
        done |= {part} if whole else set()
        forget(run.scale.device)
    if path is not None:
        keep(path, old, record_of(run, rows), done=done, again=parts)
    return rows


def merge_files(path: Path, others: list[Path]) -> None:
    """One record of several that were measured by the same commit on the same machine; later files win.

    Raises:
        ValueError: they were not.
    """
    merged: Record | None = read_record(path) if path.exists() else None
    for other in others:
        found = read_record(other)
        if merged is not None:
            require_same(merged, found, other)
            found["backends"] = {**merged["backends"], **found["backends"]}
            found["rows"] = merge_rows(merged["rows"], found["rows"], dropped=lambda _: False)
        merged = found
    if merged is not None:
        write_json(path, merged)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="where the record goes")
    parser.add_argument("--parts", help="all, or some of " + ",".join(PARTS))
    parser.add_argument("--only", nargs="*", default=[], help="cases whose label holds one of these texts")
    parser.add_argument(
        "--merge", nargs="*", type=Path, default=[], help="measure nothing; put these files into one"
    )
    parser.add_argument("--corpus", default="python-stdlib", help="for thousand, fidelity and cpu")
    parser.add_argument("--store", type=Path, help="where the study of `thousand` goes and stays")
    parser.add_argument("--smoke", action="store_true", help="every line on a CPU, small and uncompiled")
    given = parser.parse_args(arguments)
    if given.merge:
        if given.json is None:
            parser.error("--merge needs --json FILE to merge into")
        return given
    given.parts = list(PARTS) if given.parts is None else [part for part in given.parts.split(",") if part]
    unknown = [part for part in given.parts if part not in PARTS]
    if unknown:
        parser.error(f"parts {unknown} are unknown; choose of {', '.join(PARTS)}")
    lacking = missing() if "thousand" in given.parts else None
    if lacking:
        parser.error(lacking)
    if not given.smoke and not torch.cuda.is_available() and set(given.parts) - {"cpu"}:
        parser.error("this machine has no CUDA device: --smoke, or --parts cpu")
    return given


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and keep the record if asked; 1 if a part failed."""
    given = parse(arguments)
    if given.merge:
        merge_files(given.json, given.merge)
        return 0
    if (
        "fidelity" in given.parts
    ):  # read when CUDA starts; as large as PyTorch's own on Hopper, so nothing slows down
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    run = Run(given.smoke, tuple(f"{text}," for text in given.only), given.corpus, given.store)
    head = record_of(run, [])
    print(f"{head['machine']}; {head['versions']}; commit {head['commit']}", flush=True)
    old = None
    if given.json is not None and given.json.exists():
        old = read_record(given.json)
        require_same(old, head, given.json)  # before anything is measured
    rows = measure(run, given.parts, given.json, old)
    for label, found in run.ran.items():
        print(f"{label}: {found}", flush=True)
    return int(any("error" in item for item in rows))


if __name__ == "__main__":
    sys.exit(main())
