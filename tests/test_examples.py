"""The examples, the notebook and the Python blocks of docs/plans.md run, and what they say holds.

Small sizes here; the sizes that a reader gets by default are run by the slow tests.
"""

import json
import math
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from house_rules import SOURCE
from study_example import one_thread
from test_house_docs import python_blocks
from widthwise import ScalingPlan
from widthwise.study import parse_spec, run_study

ROOT = SOURCE.parent.parent
EXAMPLES = ROOT / "examples"
NOTEBOOK = EXAMPLES / "widthwise.ipynb"
PLANS = ROOT / "docs" / "plans.md"
HELPERS = {"language_model"}
"""Modules that examples share; not run by themselves."""

Main = Callable[[list[str]], dict[str, float]]

TEXT = ("--width", "64", "--steps", "12", "--rates", "0.0078125", "0.03125")
SMALL: dict[str, tuple[str, ...]] = {
    "mlp": ("--width", "128", "--steps", "30"),
    "cnn": ("--width", "32", "--steps", "24"),
    "gpt2": TEXT,
    "llama": TEXT,
    "mixtral": TEXT,
    "own_training": (),
    "resume": ("--width", "64", "--steps", "8"),
    "trainer": ("--width", "64", "--steps", "8"),
}
UNIFORM = math.log(256)
"""The loss of a byte that nothing is known about."""


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As a reader runs them: in a folder of their own, with the examples importable, and forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    own = {path.stem for path in EXAMPLES.glob("*.py")}
    assert not own & set(sys.modules), "an example's name hides a module"
    with one_thread():
        yield
    for name in own:
        sys.modules.pop(name, None)


def main_of(name: str) -> Main:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="example")["main"]


def check_tuned(found: dict[str, float], *, slack: float) -> None:
    """The large model at the small one's best rate is not worse than the small one, up to the noise of a short run."""
    assert found["planned"] < found["tuned"] + slack


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*SMALL, *HELPERS}
    assert [path.name for path in EXAMPLES.glob("*.ipynb")] == [NOTEBOOK.name]


def test_own_training_at_two_widths(tmp_path: Path) -> None:
    """At four times the width and the same rates, hidden layers move as theory says: the losses stay close."""
    own = yaml.safe_load((EXAMPLES / "own_training.yaml").read_text())
    few = {"widths": [32, 128], "learning_rates": [2.0**-6], "seeds": [0]}
    study = run_study(parse_spec(yaml.safe_dump({**own, **few})), tmp_path / "own.sqlite", device="cpu")
    losses = {(c.arm, c.width): study.trials[c.trial].validation_loss for c in study.cells}
    assert losses["standard-full", 32] == losses["standard-global", 32]
    assert all(loss is not None and loss < math.log(10) - 0.2 for loss in losses.values())


@pytest.mark.slow
def test_own_training(tmp_path: Path) -> None:
    """Both arms learn, each with its best rate, at the largest width; nothing is left but the store."""
    found = main_of("own_training")(["--store", str(tmp_path / "own.sqlite")])
    assert set(found) == {"standard-global", "standard-full"}
    assert all(loss < math.log(10) - 0.5 for loss in found.values())
    assert [path.name for path in tmp_path.iterdir()] == ["own.sqlite"]


def test_mlp(capsys: pytest.CaptureFixture[str]) -> None:
    found = main_of("mlp")([*SMALL["mlp"]])
    assert found["planned"] < found["unplanned"]
    assert found["planned"] < math.log(10) - 0.5
    check_tuned(found, slack=0.0)
    assert "middle.*.weight (x2)  hidden" in capsys.readouterr().out


def test_cnn() -> None:
    found = main_of("cnn")([*SMALL["cnn"]])
    assert found["planned"] < math.log(8) - 0.3
    check_tuned(found, slack=0.1)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("gpt2", r"^transformer.ln_f.weight +vector +0.5 +0.5 .*# carries the tied readout's"),
        ("llama", r"^model.layers.\*.mlp.up_proj.weight \(x2\) +hidden .* muon "),
        ("mixtral", r"^model.layers.\*.mlp.gate.weight \(x2\) +readout +0.5 +0.5 "),
    ],
)
def test_language_models(
    name: str, row: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    initialized: list[int] = []
    original = ScalingPlan.initialize_
    monkeypatch.setattr(
        ScalingPlan,
        "initialize_",
        lambda plan, model: (initialized.append(plan.width), original(plan, model)),
    )
    found = main_of(name)([*SMALL[name]])
    assert initialized == [32, 32, 64]
    assert abs(found["first"] - UNIFORM) < 0.3
    assert found["planned"] < UNIFORM - 1  # the frequencies of bytes alone are worth 2
    check_tuned(found, slack=0.1)
    assert re.search(row, capsys.readouterr().out, flags=re.MULTILINE)


def test_resume_as_a_script(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "resume.py"), *SMALL["resume"]],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "weights that differ after the interruption: 0" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_trainer(tmp_path: Path) -> None:
    found = main_of("trainer")([*SMALL["trainer"]])
    assert found["differing"] == 0
    assert found["last"] < found["first"] - 0.5
    assert list(tmp_path.iterdir()) == []


def cells(text: str) -> dict[str, str]:
    """The code cells of a notebook of format 4, by their ids."""
    notebook = json.loads(text)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    found: dict[str, str] = {}
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("code", "markdown")
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell["id"])
        assert cell["id"] not in found
        assert isinstance(cell["metadata"], dict)
        assert isinstance(cell["source"], list)
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None), "strip the outputs"
            found[cell["id"]] = "".join(cell["source"])
    return found


def run_notebook(*, steps: int) -> dict[str, Any]:
    """Its names after every cell, in order, with another number of training steps."""
    sources = cells(NOTEBOOK.read_text(encoding="utf-8"))
    assert sum(source.count("STEPS = 60\n") for source in sources.values()) == 1
    names: dict[str, Any] = {"__name__": "notebook"}
    for place, source in sources.items():
        code = source.replace("STEPS = 60\n", f"STEPS = {steps}\n")
        exec(compile(code, f"{NOTEBOOK.name} {place}", "exec"), names)
    return names


def best_rates(names: dict[str, Any], prescription: str) -> list[float]:
    """The rate of the least mean loss, by width."""
    found: list[float] = []
    for width in names["WIDTHS"]:
        losses = {
            rate: sum(
                o.loss
                for o in names["runs"]
                if (o.prescription, o.width, o.rate) == (prescription, width, rate)
            )
            for rate in names["RATES"]
        }
        found.append(min(losses, key=losses.__getitem__))
    return found


def test_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    names = run_notebook(steps=6)
    assert "middle.*.weight (x2)  hidden" in capsys.readouterr().out
    assert names["check"].verdict.value == "pass"
    assert names["found"].verdict.value == "fail"
    assert {row.name for row in names["found"].suspects} == {"middle.0.weight"}
    chart = names["chart"].to_dict()
    assert len(chart["data"]["values"]) == 3 * 7 * 2 * 2  # widths, rates, seeds, prescriptions
    assert names["plans"]["the plan"].rows["middle.0.weight"].rate == 1 / 4


def test_a_notebook_with_outputs_is_refused() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8").replace('"outputs": []', '"outputs": [{}]', 1)
    with pytest.raises(AssertionError, match="strip the outputs"):
        cells(text)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_plans_page() -> None:
    """In order and in one namespace, as the page says. torch.compile warns of torch's own use of a deprecated name."""
    blocks = python_blocks(PLANS.read_text(encoding="utf-8"))
    assert len(blocks) >= 15
    names: dict[str, Any] = {"__name__": "plans"}
    for place, source in blocks.items():
        exec(compile(source, f"{PLANS.name} {place}", "exec"), names)


def test_every_section_of_the_plans_page_is_run() -> None:
    """A section that says what happens holds a block that asserts it."""
    parts = re.split(r"^## (.*)$", PLANS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    without = [
        title
        for title, text in zip(parts[::2], parts[1::2], strict=True)
        if not any("assert " in block for block in python_blocks(text).values())
    ]
    assert without == ["What is not covered"]


@pytest.mark.parametrize("name", sorted(SMALL))
def test_an_example_says_how_to_run_it(name: str) -> None:
    assert f"\n    python examples/{name}.py\n" in (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")


@pytest.mark.slow
def test_defaults_of_the_small_examples() -> None:
    """What a reader sees: the plan's large model beats the small one and the large one without a plan."""
    mlp, cnn = main_of("mlp")([]), main_of("cnn")([])
    assert mlp["planned"] < min(mlp["tuned"], mlp["unplanned"]) - 0.05
    check_tuned(cnn, slack=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "llama", "mixtral"])
def test_defaults_of_the_language_models(name: str) -> None:
    check_tuned(main_of(name)([]), slack=0.0)


@pytest.mark.slow
def test_notebook_in_full() -> None:
    """Without the plan the best rate falls and the verdict is never `transfers`; with it, little is given up."""
    names = run_notebook(steps=60)
    one = best_rates(names, "one rate")
    assert one[0] >= 2 * one[-1]
    given_up = {}
    for name in ("one rate", "the plan"):
        kept = [o.loss for o in names["runs"] if (o.prescription, o.width, o.rate) == (name, 128, one[0])]
        given_up[name] = sum(kept) / len(kept)
    assert given_up["the plan"] < given_up["one rate"] - 0.1
