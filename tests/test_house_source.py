"""Small files and functions, a docstring on every public module, and no call that runs stored data."""

import ast
from pathlib import PurePosixPath

import pytest

from house_rules import SOURCE, source_files

LONGEST_FILE = 300
LONGEST_FUNCTION = 80
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "torch.load",
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.unsafe_load",
}


def faults(path: str, source: str) -> list[str]:
    """What breaks the rules of this file's head, as `file:line: fact`."""
    tree = ast.parse(source)
    found: list[str] = []
    public = not any(part.startswith("_") and part != "__init__.py" for part in PurePosixPath(path).parts)
    if public and not ast.get_docstring(tree):
        found.append(f"{path}:1: no module docstring")
    length = len(source.splitlines())
    if length > LONGEST_FILE:
        found.append(f"{path}:1: {length} lines, more than {LONGEST_FILE}")
    for node in ast.walk(tree):
        found += [f"{path}:{getattr(node, 'lineno', 1)}: {fact}" for fact in node_faults(node)]
    return found


def node_faults(node: ast.AST) -> list[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            return (
                [f"{node.name}: {length} lines, more than {LONGEST_FUNCTION}"]
                if length > LONGEST_FUNCTION
                else []
            )
        case ast.Import():
            return [f"imports {a.name}" for a in node.names if a.name.split(".")[0] in FORBIDDEN_MODULES]
        case ast.ImportFrom():
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            bad = names & FORBIDDEN_CALLS
            bad |= {str(node.module)} if str(node.module).split(".")[0] in FORBIDDEN_MODULES else set()
            return [f"imports {name}" for name in sorted(bad)]
        case ast.Call():
            name = ast.unparse(node.func)
            return [f"calls {name}"] if name.removeprefix("builtins.") in FORBIDDEN_CALLS else []
        case _:
            return []


@pytest.mark.parametrize("path", source_files())
def test_source_keeps_the_rules(path: str) -> None:
    assert faults(path, (SOURCE / path).read_text()) == []


@pytest.mark.parametrize(
    ("source", "fact"),
    [
        ("x = 1", "no module docstring"),
        ('"""D."""\n' + "x = 1\n" * 300, "301 lines"),
        ('"""D."""\n' + "def f():\n" + "    x = 1\n" * 80, "f: 81 lines"),
        ('"""D."""\nimport pickle', "imports pickle"),
        ('"""D."""\ndef f():\n    from pickle import loads', "imports pickle"),
        ('"""D."""\nfrom torch import load', "imports torch.load"),
        ('"""D."""\ntorch.load("x")', "calls torch.load"),
        ('"""D."""\nyaml.load(text, Loader=yaml.Loader)', "calls yaml.load"),
        ('"""D."""\neval("1")', "calls eval"),
        ('"""D."""\nexec("1")', "calls exec"),
    ],
)
def test_a_fault_is_found(source: str, fact: str) -> None:
    (found,) = faults("room/module.py", source)
    assert fact in found


def test_what_is_allowed_passes() -> None:
    source = '"""D."""\nmodel.eval()\nyaml.safe_load(text)\njson.load(file)\ncursor.execute("select 1")\n'
    assert faults("room/module.py", source) == []
    assert faults("room/_private.py", "x = 1") == []
