"""Every benchmark runs, small, on a CPU, and leaves the folder of results alone; what all of them write, by hand."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import benchmark_modules

# isort: split
import _record
from _record import attempted, commit, make_record, merge_rows, require_same, row, versions, write_json

from study_example import one_thread

ALONE = {"cold_start", "exponent_solver"}
"""In a process of their own: what is loaded already would be measured, and PuLP warns of its own next version."""

QUICK = {
    "alignment_model",
    "alignment_overhead",
    "claims_check",
    "coordinate_check",
    "differences",
    "epsilon_report",
    "epsilon_underflow",
    "fine_grids",
    "interval_coverage",
    "report_scale",
    "spreads",
    "sweep_replay",
    "wide_check",
    *ALONE,
}
LONG = {
    "alignment_model",
    "differences",
    "report_scale",
    "wide_check",
    "interval_coverage",
    "epsilon_underflow",
    "fine_grids",
}
"""Of these, those that take more than a few seconds even so."""
PROCESSES = {"executors", "sharded"}
"""Start interpreters of their own: seconds each."""
KERNELS = {"adafactor_step", "optimizer_step"}
ELSEWHERE = {"population": "test_benchmark_population", "population_memory": "its own tests"}
NEEDS = {"exponent_solver": ("pulp",)}


def scripts() -> set[str]:
    return {path.stem for path in benchmark_modules.BENCHMARKS.glob("*.py") if not path.name.startswith("_")}


def results() -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in _record.RESULTS.iterdir()}


def smoke(name: str) -> None:
    before = results()
    with one_thread():
        main: Callable[[list[str]], int | None] = import_module(name).main
        assert not main(["--smoke"])
    assert results() == before


def test_every_script_is_run() -> None:
    assert scripts() <= QUICK | KERNELS | PROCESSES | set(ELSEWHERE)
    assert QUICK | KERNELS | PROCESSES | {"population"} <= scripts()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in sorted(QUICK)]
)
def test_script_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name in ALONE:
        lacking = [module for module in NEEDS.get(name, ()) if find_spec(module) is None]
        if lacking:
            pytest.skip(f"{lacking} not installed")
        before = results()
        command = [sys.executable, str(benchmark_modules.BENCHMARKS / f"{name}.py"), "--smoke"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        assert json.loads(done.stdout[done.stdout.index("{\n") :])["benchmark"] == name
        assert results() == before
        return
    smoke(name)
    assert len(capsys.readouterr().out.splitlines()) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_script_with_processes_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    smoke(name)
    assert len(capsys.readouterr().out.splitlines()) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(KERNELS))
def test_kernels_script_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Minutes in Triton's interpreter."""
    pytest.importorskip("triton")
    smoke(name)
    assert '"error"' not in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(scripts()))
def test_a_script_says_how_to_run_it(name: str) -> None:
    text = (benchmark_modules.BENCHMARKS / f"{name}.py").read_text(encoding="utf-8")
    head = text.split('"""')[1]
    assert f"PYTHONPATH=src python benchmarks/{name}.py" in head
    assert "--smoke" in text


def test_the_form_is_that_of_every_record_kept() -> None:
    keys = {"benchmark", "machine", "versions", "commit", "rows"}
    found = make_record("a", [row("b", 1.0, "s")], machine="m", versions={})
    assert set(found) == keys
    for path in _record.RESULTS.glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        assert keys <= set(record), path.name
        for item in record["rows"]:
            assert set(found["rows"][0]) <= set(item), path.name


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "new" / "a.json"
    write_json(target, {"rows": [1]})
    with pytest.raises(TypeError):
        write_json(target, {"rows": object()})
    assert json.loads(target.read_text()) == {"rows": [1]}

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        write_json(target, {"rows": [2]})
    assert json.loads(target.read_text()) == {"rows": [1]}
    assert list(target.parent.iterdir()) == [target]


def test_what_is_written_is_json_to_anybody(tmp_path: Path) -> None:
    """NaN is no JSON: a row that has none to give has null."""
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"value": float("nan")})


def test_rows_of_one_name_are_told_apart_by_their_baseline() -> None:
    old = [row("a", 1, "s", "x"), row("a", 2, "s", "y"), row("b", 3, "s")]
    new = [row("a", 5, "s", "y"), row("c", 6, "s")]
    found = merge_rows(old, new, dropped=lambda item: item["name"] == "b")
    assert [(item["name"], item["value"]) for item in found] == [("a", 1), ("a", 5), ("c", 6)]
    assert merge_rows(old, [], dropped=lambda _: False) == old


@pytest.mark.parametrize("key", ["benchmark", "machine", "versions", "commit"])
def test_records_that_differ_do_not_join(key: str) -> None:
    record = make_record("a", [], machine="m", versions={"torch": "1"})
    require_same(record, dict(record), "a.json")
    with pytest.raises(ValueError, match=rf"a.json was measured elsewhere \({key}: 'other' there"):
        require_same({**record, key: "other"}, record, "a.json")


def test_a_part_that_fails_ends_with_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    def part() -> object:
        yield row("first", 1.0, "s", "x", 2.0, 3)
        raise RuntimeError("broken")

    found = list(attempted("part", part))  # type: ignore[arg-type]
    assert [item["name"] for item in found] == ["first", "part"]
    assert (found[1]["value"], found[1]["error"]) == (None, "RuntimeError: broken")
    out = capsys.readouterr().out
    assert "first: 1 s  2 of x  (target 3)\nFAILED part: RuntimeError: broken\n" in out


def test_versions_and_commit() -> None:
    found = versions("numpy", "no-such-distribution")
    assert set(found) == {"python", "numpy"}
    assert re.fullmatch(r"unknown|[0-9a-f]{7,40}(-dirty)?|.*-g[0-9a-f]+(-dirty)?", commit())


def test_a_machine_without_git_still_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert commit() == "unknown"
