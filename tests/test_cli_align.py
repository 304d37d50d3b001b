"""`widthwise align`: exponents and ratios of a user's model, as a table and as JSON, and one message for bad input."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from study_example import command, snapshot
from widthwise.analysis import alignment_exponents, alignment_rows
from widthwise.measure.alignment_json import alignment_from_json
from widthwise.theory import AlignmentQuantity, Role

MODULE = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embed, self.hidden = nn.Embedding(50, width), nn.Linear(width, width)
        self.readout = nn.Linear(width, 50, bias=False)

    def forward(self, tokens):
        return self.readout(torch.tanh(self.hidden(self.embed(tokens))))

def no_embedding(width):
    return nn.Linear(3, width)

def batch():
    return torch.arange(24).reshape(2, 12)

def wrong_loss(model, tokens):
    raise KeyError("labels")
"""
COMMON = ("--widths", "32,64,128", "--steps", "2", "--seeds", "2", "--lr", "1e-2")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "aligned_models.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    yield tmp_path
    import sys

    sys.modules.pop("aligned_models", None)


def test_a_table_per_role(folder: Path) -> None:
    result = command("align", "aligned_models:Model", *COMMON)
    assert result.exit_code == 0, result.output
    number = r"-?\d\.\d{3}"
    line = rf"^ *hidden +alpha +{number} +{number} to {number} +{number}, {number}, {number} *$"
    assert re.search(line, result.stdout, flags=re.MULTILINE), result.stdout
    assert re.search(r"^ *readout +alpha ", result.stdout, flags=re.MULTILINE)
    assert "embed.weight: looked up, sums over nothing." in result.stdout
    assert "vectors sum over nothing and have no alignment: 1." in result.stdout


def test_json_has_the_sums_that_its_exponents_follow_from(folder: Path) -> None:
    arguments = (
        "align",
        "aligned_models:Model",
        *COMMON,
        "--per",
        "layer",
        "--batch",
        "aligned_models:batch",
    )
    result = command(*arguments, "--format", "json", "--out", folder / "found.json")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert json.loads((folder / "found.json").read_text()) == values
    rows = [
        row
        for run in values["runs"]
        for row in alignment_rows(
            alignment_from_json(run["report"]).gains(), width=run["width"], seed=run["seed"], progress=1.0
        )
    ]
    assert {(run["width"], run["seed"]) for run in values["runs"]} == {
        (n, s) for n in (32, 64, 128) for s in (0, 1)
    }
    expected = {(one.name, one.quantity): one for one in alignment_exponents(rows)}
    assert len(values["exponents"]) == len(expected) == 2 * len(AlignmentQuantity)
    for found in values["exponents"]:
        one = expected[found["name"], found["quantity"]]
        assert found["exponent"] == pytest.approx(one.exponent.value, abs=1e-12)
        assert found["high"] == pytest.approx(one.exponent.high, abs=1e-12)
        assert found["role"] == (Role.HIDDEN if "hidden" in found["name"] else Role.READOUT)
    again = command(
        *arguments, "--format", "json", "--out", folder / "found.json"
    )  # its own result is replaced
    assert again.stdout == result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("aligned_models:nothing", *COMMON), "has no 'nothing'"),
        (("aligned_models:no_embedding", *COMMON), "has no nn.Embedding, so its data cannot be guessed"),
        (("aligned_models:Model", *COMMON, "--optimizer", "adamw"), "--optimizer 'adamw' is unknown"),
        (("aligned_models:Model", *COMMON, "--seeds", "0"), "seeds = 0; an interval needs 1 or more"),
        (("aligned_models:Model", *COMMON, "--steps", "0"), "steps = 0"),
        (("aligned_models:Model", "--widths", "64,128"), "a slope needs 3 or more"),
        (("aligned_models:Model", "--widths", "64;128"), "must be whole numbers"),
        (("aligned_models:Model", *COMMON, "--loss", "aligned_models:wrong_loss"), "raised KeyError"),
        (("aligned_models:Model", *COMMON, "--out", "aligned_models.py"), "exists and is no result of align"),
        (("aligned_models:Model", *COMMON, "--out", "nowhere/found.json"), "does not exist; make it first"),
    ],
)
def test_bad_input_is_one_message_and_nothing_written(
    folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    before = snapshot(folder)
    result = command("align", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert snapshot(folder) == before
