"""`widthwise exponents`."""

import json
from pathlib import Path

import pytest

from study_example import command

PUBLISHED = Path(__file__).with_name("data") / "exponents_everett2024.json"


def test_json_is_the_published_table() -> None:
    result = command("exponents", "--format", "json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    published = json.loads(PUBLISHED.read_text())["cells"]
    assert len(found) == 4 * 3 * 2 * 3  # parameterizations, optimizers, alignments, roles
    assert all(list(row) == list(published[0]) for row in found)
    assert sorted(found, key=str) == sorted(published, key=str)


def test_table_shows_what_is_fixed_and_the_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    result = command("exponents")
    assert result.exit_code == 0
    for header in (
        "embedding, hidden, readout",
        "multiplier n^-a",
        "init n^-b",
        "gradient n^-g",
        "rate n^-c",
    ):
        assert header in result.stdout
    rows = [
        [cell.split() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines() if "│" in line
    ]
    assert [["mup"], ["-1/2", "0", "1/2"], ["1/2", "1/2", "1/2"], ["1/2", "1", "1/2"]] in rows
    assert [["standard"], ["adam"], ["full"], ["0", "1", "1"]] in rows
    assert [["mup"], ["adam"], ["none"], ["1/2", "1/2", "0"]] in rows
    assert len(rows) == 4 + 4 * 3 * 2


def test_an_unknown_format_is_refused() -> None:
    result = command("exponents", "--format", "yaml")
    assert result.exit_code == 2
    assert "'yaml'" in result.stderr
    assert "'table', 'json'" in result.stderr
    assert result.stdout == ""
