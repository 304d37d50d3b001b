"""docs/cluster.md: its commands have the options that they use, its script is one, and its Python runs."""

import re
import shutil
import subprocess

import pytest

from house_rules import SOURCE
from study_example import command
from test_house_docs import python_blocks

ROOT = SOURCE.parent.parent
PAGE = (ROOT / "docs" / "cluster.md").read_text()
SCRIPT = ROOT / "examples" / "slurm.sbatch"
COMMANDS = sorted(set(re.findall(r"widthwise study (\w+) ([^`\n\"]*)", PAGE + SCRIPT.read_text())))


@pytest.mark.parametrize(("name", "arguments"), COMMANDS)
def test_a_command_has_these_options(name: str, arguments: str) -> None:
    known = set(re.findall(r"--[a-z-]+", command("study", name, "--help").output))
    assert set(re.findall(r"--[a-z-]+", arguments)) <= known


def test_commands_are_found() -> None:
    assert {name for name, _ in COMMANDS} == {"run", "resume", "report"}
    assert any("--executor ray --address" in arguments for _, arguments in COMMANDS)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_script_is_one() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)


def test_its_python_runs() -> None:
    (block,) = python_blocks(PAGE).values()
    found: dict[str, object] = {"__name__": "page"}
    exec(compile(block, "docs/cluster.md", "exec"), found)
    assert callable(found["main"])
