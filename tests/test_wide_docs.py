"""docs/wide.md: its Python runs, a model learns in it, and its table is what the budget says."""

import json
import re
import tarfile
from fractions import Fraction
from pathlib import Path

from house_rules import SOURCE
from study_script import study_script
from widthwise.models import Transformer
from widthwise.optim import AdamUpdate
from widthwise.wide import Place, Storage, layer_major_budget

TEXT = (SOURCE.parent.parent / "docs" / "wide.md").read_text()


def test_python_runs() -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(block, "docs/wide.md", "exec"), names)
    losses = names["losses"]
    assert isinstance(losses, list)
    assert losses[2] < losses[1] < losses[0]


def test_the_table_is_the_budget() -> None:
    model = Transformer(width=16384, depth=8, head_dim=128, vocabulary=32101, context=512)
    storage = Storage(micro_batches=4, boundaries=Place.HOST)
    budget = layer_major_budget(model, AdamUpdate(0.9, 0.98), storage, batch=32)
    column = re.findall(r"^\|.*\| ([\d.]+) (GB|MB a token) \|$", TEXT, flags=re.MULTILINE)
    weights, state, sums, inputs = (float(value) for value, _ in column)
    assert (weights, state) == (round(budget.weights / 1e9, 1), round(budget.state / 1e9, 1))
    assert sums == round(4 * 12 * 16384**2 / 1e9, 1)
    assert inputs == round(9 * 2 * 16384 / 1e6, 2)


def test_the_exponents_are_the_records() -> None:
    """Of 4 parameterizations and 5 roles: over fourteen widths, and over ten under two seeds."""
    path = SOURCE.parent.parent / "benchmarks" / "results" / "wide_check.json"
    rows = {row["name"]: row for row in json.loads(path.read_text())["rows"]}
    number = r"(-\d\.\d{4})"
    interval = rf"{number} \[{number}, {number}\]"
    lines = re.findall(
        rf"^\| (\S+) \| (\w+) \| (\S+) \| {interval} \| {interval} \|$", TEXT, flags=re.MULTILINE
    )
    assert len(lines) == 20
    for name, role, theory, *figures in lines:
        found = [rows[f"gradients, {name}{seeds}, {role}: power of the width"] for seeds in ("", ", 2 seeds")]
        assert [len(row["widths"]) for row in found] == [14, 10]
        assert {row["theory"] for row in found} == {float(Fraction(theory))}
        assert figures == [f"{row[key]:.4f}" for row in found for key in ("value", "low", "high")]


def test_the_tables_of_the_fourteen_widths_are_the_stores(tmp_path: Path) -> None:
    root = SOURCE.parent.parent
    with tarfile.open(root / "studies" / "paper-widths" / "store.tar.gz") as packed:
        packed.extractall(tmp_path, filter="data")
    text = (root / "docs" / "paper-widths.md").read_text()
    stated = text.partition("<!-- tables")[2].partition("-->")[2].partition("<!-- /tables")[0].strip()
    assert (
        stated
        == "\n".join(study_script("paper-widths", "tables").document(tmp_path / "store.sqlite")).strip()
    )
