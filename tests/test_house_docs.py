"""Every doctest of the package and every Python block of the README runs."""

import doctest
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path

import pytest

from house_rules import PACKAGE, SOURCE, source_files

README = SOURCE.parent.parent / "README.md"
OPTIONAL = {"jax", "optax", "ray", "triton"}


def module_name(path: str) -> str:
    parts = path.removesuffix(".py").removesuffix("/__init__").removesuffix("__init__").split("/")
    return ".".join([PACKAGE, *filter(None, parts)])


MODULES = [module_name(path) for path in source_files() if path != "__main__.py"]


def python_blocks(text: str) -> dict[str, str]:
    """The ```python blocks of a Markdown text, by the line where each begins."""
    fenced = re.finditer(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return {f"line {text.count(chr(10), 0, block.start()) + 1}": block[1] for block in fenced}


BLOCKS = python_blocks(README.read_text())


@contextmanager
def hasty_compilation() -> Iterator[None]:
    """XLA compiles examples as fast as it can: half of its time, and the tests of jax itself compile as users do."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        module = import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name in OPTIONAL:
            pytest.skip(f"{missing.name} is not installed")
        raise
    runner = doctest.DocTestRunner()
    with hasty_compilation() if name.startswith(f"{PACKAGE}.jax") else nullcontext():
        for test in doctest.DocTestFinder().find(module):
            if test.examples:  # each run looks whether any source has changed since
                runner.run(test)
    assert runner.failures == 0


def test_doctests_are_found() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    theory = [import_module(name) for name in MODULES if name.startswith(f"{PACKAGE}.theory.")]
    assert sum(bool(test.examples) for module in theory for test in finder.find(module)) >= 15


@pytest.mark.parametrize("place", sorted(BLOCKS))
def test_readme_block(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["readme"])
    exec(compile(BLOCKS[place], f"README.md {place}", "exec"), {"__name__": "readme"})


def test_blocks_are_found() -> None:
    text = "a\n```python\nx = 1\n```\n\n```sh\nls\n```\n```python\ny = 2\n```\n"
    assert python_blocks(text) == {"line 2": "x = 1\n", "line 9": "y = 2\n"}


@pytest.mark.parametrize("command", ["make study", "make test"])
def test_readme_names_the_two_commands(command: str) -> None:
    assert command in README.read_text()
