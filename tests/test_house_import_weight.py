"""Asking the theory loads neither torch nor what draws, validates or fits."""

import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

HEAVY = {"torch", "altair", "vl_convert", "pydantic", "scipy", "jinja2", "jax", "optax"}


def loaded_by(*arguments: str) -> set[str]:
    """Every module that a fresh interpreter imports: `import time: self | total | name` lines."""
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return set(re.findall(r"^import time:.*\|\s*(\S+)$", done.stderr, flags=re.MULTILINE))


def tops(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


@pytest.mark.parametrize("package", sorted(HEAVY))
def test_what_must_not_load_is_installed(package: str) -> None:
    assert find_spec(package) is not None


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = loaded_by("-c", "import widthwise")
    assert "widthwise" in loaded
    assert not tops(loaded) & HEAVY
    assert not {module for module in loaded if module.startswith("widthwise.")}


def test_asking_a_name_loads_only_its_room() -> None:
    loaded = loaded_by("-c", "import widthwise; widthwise.exponent_table()")
    assert "widthwise.theory.exponents" in loaded
    assert not tops(loaded) & HEAVY


def test_printing_the_exponents_loads_nothing_heavy() -> None:
    loaded = loaded_by("-m", "widthwise", "exponents")
    assert "widthwise.theory.exponents" in loaded
    assert not tops(loaded) & HEAVY


def test_planning_a_study_loads_no_symbolic_mathematics_and_no_plots() -> None:
    """What torch loads by itself when tensors without memory are asked for zeros like themselves, half a second."""
    loaded = loaded_by("-m", "widthwise", "study", "plan", "quickstart")
    assert "widthwise.study.fit" in loaded
    assert not tops(loaded) & {"sympy", "scipy", "altair", "vl_convert", "jinja2", "triton"}


def test_a_heavy_import_would_be_seen() -> None:
    assert "jinja2" in tops(loaded_by("-c", "import widthwise; import jinja2.filters"))
