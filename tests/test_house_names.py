"""The top-level names: one table, resolved on first use, and nothing that is not in it."""

import ast
from importlib import import_module
from importlib.metadata import version

import pytest

import widthwise
from house_rules import SOURCE

TABLE = widthwise._LAZY


@pytest.mark.parametrize("name", sorted(TABLE))
def test_a_name_is_its_owners(name: str) -> None:
    assert getattr(widthwise, name) is getattr(import_module(TABLE[name]), name)


def test_table_all_and_dir_agree() -> None:
    assert sorted(widthwise.__all__) == sorted([*TABLE, "__version__"])
    assert set(widthwise.__all__) <= set(dir(widthwise))


def test_type_checkers_see_the_same_table() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == TABLE


def test_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(AttributeError, match="no attribute 'SDG'; it has ADAFACTOR, ADAM, "):
        _ = widthwise.SDG


def test_version_is_the_installed_one() -> None:
    assert widthwise.__version__ == version("widthwise")
