"""The Python blocks of docs/epsilon.md run, in order, and what it says of the benchmark is what was measured."""

import json
import re
from pathlib import Path

import pytest

from widthwise.measure.epsilon_verdict import BITES_FRACTION, BITES_RATIO, DOMINATES_FRACTION
from widthwise.measure.moment_sizes import LIMIT

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "epsilon.md"
RECORD = ROOT / "benchmarks" / "results" / "epsilon_underflow.json"


def test_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text()
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))
    assert len(blocks) == 6
    space: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        above = "\n" * (text.count("\n", 0, block.start()) + 1)
        exec(compile(above + block[1], str(PAGE), "exec"), space)


def test_thresholds_are_the_codes() -> None:
    text = " ".join(PAGE.read_text().split())
    assert f"fewer than {100 * BITES_FRACTION} % of the coordinates" in text
    assert BITES_RATIO == 10
    assert "the median is at ten times it" in text
    assert DOMINATES_FRACTION * 2 == 1
    assert "half of them or more lie below" in text
    assert f"at most {LIMIT:,} coordinates" in text


def test_numbers_are_the_records() -> None:
    record = json.loads(RECORD.read_text())
    text = " ".join(PAGE.read_text().split())
    losses = {row["name"]: row["value"] for row in record["rows"] if row["unit"] == "nats"}
    constant, layered, atan2 = (
        losses[f"validation loss; {run}; width 512"]
        for run in ("Adam, constant epsilon", "Adam, epsilon per layer", "Adam-atan2, no epsilon")
    )
    assert f"{constant:.3f} with the constant, {layered:.3f} per layer, {atan2:.3f} with Adam-atan2" in text
    below = [
        row["fraction"]
        for row in record["epsilon"]
        if (row["run"], row["width"], row["step"], row["role"])
        == ("Adam, constant epsilon", 512, 60, "hidden")
    ]
    assert f"at 512, {100 * sum(below) / len(below):.0f} % of the hidden matrices'" in text
