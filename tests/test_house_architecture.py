"""Imports run one way: every import under src/widthwise is one that its room's entry in the table allows."""

import tomllib
from graphlib import TopologicalSorter

import pytest
from packaging.requirements import Requirement

from house_rules import ROOMS, SOURCE, source_files, violations


@pytest.mark.parametrize("path", source_files())
def test_imports_only_what_its_room_may(path: str) -> None:
    assert violations(path, (SOURCE / path).read_text()) == []


def test_rooms_have_no_cycle() -> None:
    graph = {name: room.rooms | room.lazy_rooms for name, room in ROOMS.items()}
    assert set(TopologicalSorter(graph).static_order()) == set(ROOMS)


def test_the_table_finds_the_package() -> None:
    assert {"__init__.py", "theory/exponents.py"} <= set(source_files())


@pytest.mark.parametrize(
    ("path", "source", "reason"),
    [
        ("theory/a.py", "import torch", "'theory' may not import package 'torch'"),
        ("theory/a.py", "def f():\n    import torch.nn", "'theory' may not import package 'torch'"),
        ("theory/a.py", "from widthwise.scaling import plan", "'theory' may not import room 'scaling'"),
        ("theory/a.py", "import widthwise.train.loop", "'theory' may not import room 'train'"),
        ("theory/a.py", "from widthwise import train", "may not import room 'widthwise'"),
        ("theory/a.py", "import widthwise", "may not import room 'widthwise'"),
        ("theory/a.py", "from .exponents import g", "relative import"),
        ("theory/a.py", "from . import exponents", "relative import"),
        ("theory/a.py", "from widthwise.theory.role import *", "star import"),
        ("theory/a.py", "import scipy.optimize", "at module level, only inside a function"),
        ("theory/a.py", "class A:\n    import torch", "may not import package 'torch'"),
        ("theory/a.py", "try:\n    import torch\nexcept ImportError:\n    pass", "package 'torch'"),
        ("theory/a.py", "x = lambda: importlib.import_module('torch')", "package 'torch'"),
        ("theory/a.py", "x = __import__('torch')", "package 'torch'"),
        ("theory/a.py", "import os, torch", "package 'torch'"),
        ("scaling/a.py", "import torch", "at module level, only inside a function"),
        ("study/a.py", "from widthwise.train import loop", "at module level, only inside a function"),
        ("study/a.py", "from widthwise.analysis import fit", "may not import room 'analysis'"),
        ("analysis/a.py", "if TYPE_CHECKING:\n    from torch import Tensor", "package 'torch'"),
        ("report/a.py", "def f():\n    import torch", "package 'torch'"),
        ("records/a.py", "import numpy", "package 'numpy'"),
        ("cli/a.py", "import rich", "at module level, only inside a function"),
        ("cli/a.py", "from widthwise.study import run_study", "at module level, only inside a function"),
        ("cli/a.py", "def f():\n    import requests", "package 'requests'"),
        ("extras/a.py", "import os", "'extras' is not in the table"),
        ("extras.py", "", "'extras' is not in the table"),
    ],
)
def test_a_violation_is_found(path: str, source: str, reason: str) -> None:
    (found,) = violations(path, source)
    assert reason in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("theory/a.py", "import sys\nfrom widthwise.theory.role import Role\nimport numpy as np"),
        ("scaling/a.py", "def f():\n    import torch"),
        ("scaling/a.py", "if TYPE_CHECKING:\n    import torch"),
        ("study/a.py", "def f():\n    from widthwise.train import loop"),
        ("records/a.py", "from widthwise import __version__"),
        ("cli/a.py", "import typer\n\ndef f():\n    from widthwise.study import run_study"),
    ],
)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    assert violations(path, source) == []


def test_what_rooms_import_is_declared() -> None:
    """Every third-party package of the table is a dependency that pyproject.toml names, or an optional one."""
    project = tomllib.loads((SOURCE.parent.parent / "pyproject.toml").read_text())["project"]
    optional = [line for group in project["optional-dependencies"].values() for line in group]
    declared = {Requirement(line).name for line in [*project["dependencies"], *optional]}
    imported = {package for room in ROOMS.values() for package in room.packages | room.lazy_packages}
    distributed = {"vl_convert": "vl-convert-python", "yaml": "pyyaml"}
    brought_by_torch = {"triton"}
    assert {distributed.get(package, package) for package in imported} - brought_by_torch <= declared
