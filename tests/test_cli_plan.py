"""`widthwise plan`: the table, the file, and bad input that ends with one message and changes nothing."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from study_example import command, snapshot
from widthwise.cli.plan import parse_rule
from widthwise.scaling import Rule, ScalingPlan, make_plan
from widthwise.theory import ADAM, FULL, MUP, NONE, SGD, STANDARD, Role
from widthwise.user_code import load_callable

MODELS = """
import sys
import torch
from torch import nn

print("a user's module prints what it likes")
number = 3

def build(width):
    print("building", width)
    return nn.Sequential(nn.Embedding(11, width), nn.Linear(width, width), nn.Linear(width, 11))

class Small:
    @staticmethod
    def build(width):
        return build(width)

class Odd(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.mix = nn.Parameter(torch.randn(5, width))
        self.inner = nn.Linear(width, width)

class Tied(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embed, self.unembed = nn.Embedding(11, width), nn.Linear(width, 11, bias=False)
        self.inner = nn.Linear(width, width)
        self.unembed.weight = self.embed.weight

class Norms(Tied):
    def __init__(self, width):
        super().__init__(width)
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)

def ignores(width):
    return nn.Linear(4, 4)

def nothing(width):
    return None

def no_arguments():
    return nn.Linear(4, 4)

def fails(width):
    raise RuntimeError(f"width {width} is not for me\\nsecond line")

def leaves(width):
    sys.exit("bye")
"""
SIZES = ("--width", 64, "--base-width", 16)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a module of this test's own: imported modules are remembered by name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mymodels", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "mymodels.py").write_text(MODELS)
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "needy.py").write_text("import not_installed_anywhere\n")
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit('no GPU')\n")
    return tmp_path


def refused(folder: Path, *arguments: object, says: str) -> None:
    """One message that says it, exit code 2, nothing on standard output, every file as it was."""
    before = snapshot(folder)
    result = command("plan", *arguments)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert result.stderr.count("widthwise: ") == 1
    assert "Traceback" not in result.stderr
    assert "second line" not in result.stderr
    assert result.stdout == ""
    assert snapshot(folder) == before


def build(width: int) -> nn.Module:
    return nn.Sequential(nn.Embedding(11, width), nn.Linear(width, width), nn.Linear(width, 11))


@pytest.mark.parametrize("factory", ["mymodels:build", "mymodels:Small.build"])
def test_the_table_is_the_plans(folder: Path, factory: str) -> None:
    result = command("plan", factory, *SIZES)
    assert result.exit_code == 0, result.stderr
    expected = make_plan(build, width=64, base_width=16, parameterization=STANDARD, optimizer=ADAM)
    assert result.stdout == f"{expected.table()}\n"
    # by hand: ratio 4, hidden rate n^-1 and so decay n
    (hidden,) = [line.split() for line in result.stdout.splitlines() if line.startswith("1.weight")]
    assert hidden[:6] == ["1.weight", "hidden", "1", "0.25", "0.5", "4"]


def test_json_is_the_file_and_loads(folder: Path) -> None:
    options = ("--parameterization", "mup", "--optimizer", "sgd", "--alignment", "none")
    result = command("plan", "mymodels:build", *SIZES, *options, "--format", "json", "--out", "plan.json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == json.loads((folder / "plan.json").read_text())
    expected = make_plan(build, width=64, base_width=16, parameterization=MUP, optimizer=SGD, alignment=NONE)
    assert ScalingPlan.load(folder / "plan.json").diff(expected) == ()
    assert result.stderr.endswith("saved in plan.json\n")
    again = command("plan", "mymodels:build", *SIZES, "--out", "plan.json")  # a plan may replace a plan
    assert again.exit_code == 0
    assert ScalingPlan.load(folder / "plan.json").alignment == FULL


def test_rules_and_widths_are_passed_on(folder: Path) -> None:
    options = ("--widths", "16,32,64", "--initializer-widths", "32,64", "--format", "json")
    result = command("plan", "mymodels:Odd", *SIZES, "--rule", "mix=readout", *options)
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    assert (rows["mix"]["role"], rows["mix"]["decided_by"]) == ("readout", "Rule('mix')")
    assert rows["inner.weight"]["initializer"]["widths"] == [32, 64]


def test_the_norm_of_a_tied_readout_is_passed_on(folder: Path) -> None:
    refused(folder, "mymodels:Norms", *SIZES, says="several norms could be it: before, after")
    result = command("plan", "mymodels:Norms", *SIZES, "--norm", "after", "--format", "json")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    assert (rows["before.weight"]["init"], rows["after.weight"]["init"]) == (1.0, 0.25)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a.*.b=vector", {"pattern": "a.*.b", "role": Role.VECTOR}),
        ("a=forward_factor:-1/2", {"pattern": "a", "forward_factor": -1 / 2}),
        ("a=embedding, initializer_exponent:1/4", {"role": Role.EMBEDDING, "initializer_exponent": 1 / 4}),
        ("a=contracted:0+2,produced:1", {"contracted": (0, 2), "produced": (1,)}),
    ],
)
def test_a_rule_is_read(text: str, rule: dict[str, object]) -> None:
    found = parse_rule(text)
    assert isinstance(found, Rule)
    assert {name: getattr(found, name) for name in rule} == rule


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("mymodels", "must be MODULE:NAME"),
        ("mymodels:", "must be MODULE:NAME"),
        ("./mymodels.py:build", "must be MODULE:NAME"),
        ("mymodel:build", "there is no module 'mymodel'"),
        ("nopackage.models:build", "there is no module 'nopackage'"),
        ("needy:build", "importing needy needs 'not_installed_anywhere'"),
        ("broken:build", "importing broken raised SyntaxError"),
        ("leaving:build", "importing leaving raised SystemExit: no GPU"),
        ("mymodels:bild", "has no 'bild'; did you mean build?"),
        ("mymodels:Small.bild", "'Small' has no 'bild'; did you mean build?"),
        ("mymodels:number", "is of type int, which cannot be called"),
        ("mymodels:nothing", "returned NoneType; it must return a torch.nn.Module"),
        ("mymodels:no_arguments", "raised TypeError"),
        ("mymodels:fails", "mymodels:fails(16) raised RuntimeError: width 16 is not for me"),
        ("mymodels:leaves", "mymodels:leaves(16) raised SystemExit: bye"),
        ("mymodels:ignores", "build ignores the width"),
        ("mymodels:Odd", "--rule 'a.*.b=vector'"),
        ("mymodels:Tied", "needs a final norm's gain"),
    ],
)
def test_a_bad_factory(folder: Path, factory: str, says: str) -> None:
    refused(folder, factory, *SIZES, "--out", "plan.json", says=says)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--width", 0), "width 0 and base width 16 must both be at least 1"),
        (("--parameterization", "sp"), "'sp' is unknown; choose one of standard, ntk, mup, mean-field"),
        (("--optimizer", "adamw"), "'adamw' is unknown; choose one of sgd, adam, "),
        (("--alignment", "half"), "'half' is unknown; choose one of full, mid, none"),
        (("--widths", "16,32"), "give 3 or more"),
        (("--widths", "16,x"), "--widths '16,x' must be whole numbers"),
        (("--rule", "embed=readout"), "matches no tensor"),
        (("--rule", "0.weight"), "must be PATTERN=ROLE"),
        (("--rule", "0.weight=table"), "'table' is no role; choose one of embedding, "),
        (("--rule", "0.weight=forward_factor:1/0"), "'1/0' is no forward_factor"),
        (("--rule", "0.weight=contracted:one"), "'one' is no contracted"),
        (("--rule", "0.weight=vector,readout"), "says its role twice"),
        (("--rule", "0.weight=vector,contracted:0"), "give either"),
        (("--out", "missing/plan.json"), "folder 'missing' does not exist"),
        (("--out", "mymodels.py"), "exists and is no plan; it was left as it is"),
        (("--out", "."), "exists and is no plan"),
        (("--out", "x" * 300), "--out 'xxx"),
    ],
)
def test_bad_options(folder: Path, options: tuple[object, ...], says: str) -> None:
    refused(folder, "mymodels:build", *SIZES, *options, says=says)


def test_a_full_disk_leaves_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    refused(
        folder,
        "mymodels:build",
        *SIZES,
        "--out",
        "plan.json",
        says="cannot be written: No space left on device",
    )


def test_what_a_factory_prints_is_not_output(folder: Path) -> None:
    result = command("plan", "mymodels:build", *SIZES, "--format", "json")
    assert json.loads(result.stdout)["kind"] == "widthwise scaling plan"
    assert "building 16" in result.stderr
    assert "a user's module prints" in result.stderr


def test_interrupting_passes(folder: Path) -> None:
    (folder / "stopping.py").write_text("def build(width):\n    raise KeyboardInterrupt\n")
    call: Callable[[int], object] = load_callable("stopping:build", what="factory")
    with pytest.raises(KeyboardInterrupt):
        call(1)


def test_a_process_finds_the_module_in_its_folder(folder: Path) -> None:
    """`-P` keeps the folder out of Python's path, as it is for the installed command."""
    arguments = ["-P", "-m", "widthwise", "plan", "mymodels:build", *map(str, SIZES)]
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1.weight" in done.stdout
    bad = subprocess.run(
        [sys.executable, *arguments, "--optimizer", "none"], capture_output=True, text=True, check=False
    )
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("widthwise: --optimizer 'none' is unknown")


def test_a_bad_option_does_not_load_torch() -> None:
    code = (
        "import sys; from widthwise.cli import app\n"
        "try: app(['plan', 'a:b', '--width', '1', '--base-width', '1', '--optimizer', 'none'])\n"
        "except SystemExit as end: assert end.code == 2\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
