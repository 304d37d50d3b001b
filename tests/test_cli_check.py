"""`widthwise check`: verdicts as exit codes, figures written all or none, one message for bad input."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from study_example import command, snapshot
from widthwise.cli.check import CHECK_CODES
from widthwise.measure import CoordinateCheck, Quantity, Verdict
from widthwise.report.check_figures import check_figures
from widthwise.report.check_page import CheckLine, CheckPage
from widthwise.report.write_check import write_check

MODULE = """
import math
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self, width, factor=1.0):
        super().__init__()
        self.factor = factor
        self.embed, self.hidden = nn.Embedding(50, width), nn.Linear(width, width, bias=False)
        self.readout = nn.Linear(width, 50, bias=False)

    def forward(self, tokens):
        return self.readout(torch.tanh(self.hidden(self.embed(tokens))) * self.factor)

def build(width):
    return Model(width)

def scaled(width):
    return Model(width, math.sqrt(width))

def no_embedding(width):
    return nn.Linear(3, width)

def batch():
    return torch.arange(24).reshape(2, 12)

def loss(model, tokens):
    return model(tokens).square().mean()

def wrong_loss(model, tokens):
    raise KeyError("labels")
"""
COMMON = ("--base-width", "64", "--widths", "64,128,256", "--steps", "1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "checked_models.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    yield tmp_path
    import sys

    sys.modules.pop("checked_models", None)


def test_every_verdict_of_a_check_has_its_code() -> None:
    assert CHECK_CODES == {Verdict.PASS: 0, Verdict.FAIL: 3, Verdict.UNDECIDED: 4}


def test_a_correct_plan_passes_and_is_drawn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = command("check", "checked_models:build", *COMMON, "--out", folder / "out")
    assert result.exit_code == 0, result.output
    assert re.search(
        r"^dW +hidden.weight +-1 +-1.000 +-1.00\d to -\d.\d{3} +pass +$", result.stdout, re.MULTILINE
    )
    assert max(map(len, result.stdout.partition("pass: ")[0].splitlines())) <= 80
    assert re.search(r"^pass: \d+ of \d+ exponents are theory's\.", result.stdout, flags=re.MULTILINE)
    names = {path.name for path in (folder / "out").iterdir()}
    images = {
        f"{stem}.{kind}" for stem in ("coordinate-slopes", "coordinate-widths") for kind in ("png", "svg")
    }
    assert names == images | {"check.html", "check.json"}
    assert CoordinateCheck.load(folder / "out" / "check.json").verdict is Verdict.PASS
    page = (folder / "out" / "check.html").read_text()
    assert "hidden.weight" in page
    assert "://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)  # nothing is loaded from elsewhere


def test_a_factor_that_no_rule_declares_fails(folder: Path) -> None:
    result = command("check", "checked_models:scaled", *COMMON, "--seeds", "3")
    assert result.exit_code == 3
    assert "Look first at: output at init of readout input" in result.stdout


def test_two_seeds_leave_it_undecided(folder: Path) -> None:
    """Two seeds have a t interval of 12.7 standard errors; under SGD the gradient's size differs between them."""
    result = command("check", "checked_models:build", *COMMON, "--seeds", "2", "--optimizer", "sgd")
    assert result.exit_code == 4
    assert "Undecided, which more seeds" in result.stdout


def test_the_users_own_batch_and_loss_are_used(folder: Path) -> None:
    own = ("--batch", "checked_models:batch", "--loss", "checked_models:loss")
    result = command("check", "checked_models:build", *COMMON, "--seeds", "2", *own, "--out", folder / "out")
    assert result.exit_code in (0, 4)
    found = CoordinateCheck.load(folder / "out" / "check.json").measurements
    (losses,) = (values for key, values in found.items() if key.quantity is Quantity.LOSS and key.step == 0)
    # logits of a Linear readout start with a mean square of about 1/3, far below the cross-entropy log 50
    assert all(loss < 1 for seed in losses for loss in seed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("checked_models:nothing", *COMMON), "has no 'nothing'"),
        (("checked_models:no_embedding", *COMMON), "has no nn.Embedding, so its data cannot be guessed"),
        (("checked_models:build", *COMMON, "--optimizer", "adamw"), "--optimizer 'adamw' is unknown"),
        (("checked_models:build", *COMMON, "--optimizer", "lion"), "of which PyTorch has no optimizer"),
        (("checked_models:build", *COMMON, "--seeds", "1"), "an interval needs 2 or more"),
        (("checked_models:build", *COMMON, "--lr", "0"), "must be positive"),
        (("checked_models:build", "--base-width", "64", "--widths", "64;128"), "must be whole numbers"),
        (("checked_models:build", "--base-width", "64", "--widths", "64,128"), "a slope needs 3 or more"),
        (("checked_models:build", *COMMON, "--loss", "checked_models:wrong_loss"), "raised KeyError"),
        (("checked_models:build", *COMMON, "--out", "checked_models.py"), "checked_models.py is a file"),
    ],
)
def test_bad_input_is_one_message_and_nothing_written(
    folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    before = snapshot(folder)
    result = command("check", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert snapshot(folder) == before


def line(verdict: str, slope: float, *, bound: bool = False) -> CheckLine:
    values = tuple((1.0, 2.0**slope, 4.0**slope) for _ in range(2))
    interval = (slope, slope - 0.02, slope + 0.02)
    return CheckLine("dW", f"<{verdict}>.weight", "hidden", -1.0, bound, 0.1, interval, verdict, "", values)


def test_the_figures_hold_every_judged_line_and_escape_names(tmp_path: Path) -> None:
    lines = (line("pass", -1.0), line("fail", -0.5), line("fail", 1.0), line("undecided", -0.9, bound=True))
    none = CheckLine("dW", "frozen", "hidden", None, False, 0.0, None, "undefined", "frozen", ())
    page = CheckPage("a <b>", "fail", "head", ("one",), (64, 128, 256), (*lines, none))
    slopes, widths = check_figures(page)
    assert [(row["estimate"], row["cut"]) for row in slopes.rows] == [
        (0, False),
        (0.5, False),
        (1.25, True),
        (pytest.approx(0.1), False),
    ]
    assert [row["from"] for row in slopes.rows] == [-0.1, -0.1, -0.1, -1.25]
    # over theory's n^-1, the line that fails by half a power is the root of the width's ratio
    failing = [row["ratio"] for row in widths.rows if row["name"] == "<fail>.weight"]
    assert failing[:3] == pytest.approx([1, 2**0.5, 2])
    paths = write_check(page, tmp_path / "out")
    text = paths[0].read_text()
    assert "<b>" not in text
    assert "<fail>.weight" not in text
    assert check_figures(CheckPage("t", "undecided", "h", (), (64, 128), (none,))) == ()
