"""The README's tables of the population engine are those of the records, and the scripts that it names are there."""

import json
import re
from typing import Any

import pytest

import benchmark_modules

# isort: split
from _readme_table import BEGIN, END, kept_records, number, replaced, tables
from _record import row

README = (benchmark_modules.ROOT / "README.md").read_text(encoding="utf-8")


def record(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"machine": "m", "versions": {"torch": "2"}, "commit": "c", "threads": 2, "rows": list(rows)}


def test_the_readme_holds_the_records_tables() -> None:
    """After a new record: `python benchmarks/_readme_table.py --write`."""
    assert replaced(README, tables(kept_records())) == README


def test_the_records_are_there() -> None:
    assert [found["benchmark"] for found in kept_records()] == ["population"] * len(kept_records())
    assert kept_records()


def test_a_case_is_one_line() -> None:
    name = "small: D=128, 16x256 tokens, V=256: P=52"
    found = tables(
        [
            record(
                row(f"{name}: a step", 16.9, "ms"),
                row(f"{name}: member-tokens", 12.613, "M/s", "plain compiled loop", 32.37, 40),
                row(f"{name}: member-tokens", 12.613, "M/s", "engine at P=1", 4.11, 5),
                row(f"{name}: roofline, unfused", 10.0, "ms", "a step", 0.592, 0.8),
                row("cpu: D=32: slowest round of P=1 over fastest", 1.2, "ratio"),
                {**row("large: failed", None, ""), "error": "out of memory"},
            )
        ]
    )
    assert found.splitlines()[0] == "m, 2 threads, torch 2, commit `c`:"
    assert (
        found.splitlines()[-1]
        == "| D=128, 16x256 tokens, V=256: P=52 | 12.6 | 32.4 (40) | 4.11 (5) | 0.59 (0.8) |"
    )
    assert "failed" not in found
    assert "slowest" not in found


def test_one_model_is_one_line() -> None:
    name = "single: D=4096, 16x512 tokens, V=256"
    ceiling = "8192^3 product"
    found = tables(
        [
            record(
                row(f"{name}: P=1: model arithmetic", 550.2, "TFLOP/s", ceiling, 0.701, 0.77),
                row(f"{name}: plain compiled loop: model arithmetic", 539.0, "TFLOP/s", ceiling, 0.687),
                row(
                    "fidelity: D=128: member, fp32, 20 steps",
                    2.2e-7,
                    "relative",
                    "the same alone",
                    None,
                    "< 1e-5",
                ),
            )
        ]
    )
    assert "| D=4096, 16x512 tokens, V=256 | 550 | 0.7 (0.77) | 0.69 |\n" in found
    assert (
        "| fidelity: D=128: member, fp32, 20 steps | 2.2e-07 relative | the same alone | - | < 1e-5 |"
        in found
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "0"), (2.2e-7, "2.2e-07"), (12.6132, "12.6"), (999.6, "1e+03"), (1170.0, "1,170")],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text.replace("1e+03", "1,000")


@pytest.mark.parametrize("text", ["", BEGIN, END + BEGIN, BEGIN + END + END, BEGIN + BEGIN + END])
def test_marks_that_are_not_there_once_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="once each"):
        replaced(text, "table")


def test_what_the_readme_names_is_there() -> None:
    section = README.split("## Measured")[1].split("\n## ")[0]
    named = set(re.findall(r"`(\w+\.(?:py|json))[ `]", section))
    assert {"population.py", "optimizer_step.py", "cold_start.py"} <= named
    folder = benchmark_modules.BENCHMARKS
    assert [n for n in named if not (folder / n).exists() and not (folder / "results" / n).exists()] == []


def test_records_are_json_that_anybody_reads() -> None:
    for found in kept_records():
        assert json.loads(json.dumps(found, allow_nan=False)) == found
