"""The rooms of the package, what each may import, and the reader of imports that the tests share.

An import is *eager* when importing the module runs it, *lazy* inside a function or under `if TYPE_CHECKING`.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "widthwise"
SOURCE = Path(__file__).resolve().parent.parent / "src" / PACKAGE


@dataclass(frozen=True)
class Room:
    """What the modules of one room may import: rooms and third-party packages, at once or only lazily."""

    rooms: frozenset[str]
    packages: frozenset[str]
    lazy_rooms: frozenset[str]
    lazy_packages: frozenset[str]


def room(*, rooms: str = "", packages: str = "", lazy_rooms: str = "", lazy_packages: str = "") -> Room:
    """A room from space-separated names."""
    sets = [frozenset(names.split()) for names in (rooms, packages, lazy_rooms, lazy_packages)]
    return Room(*sets)


FEATURES = "theory scaling optim models measure records train study analysis report"
DEPENDENCIES = "altair jinja2 numpy pydantic rich scipy torch vl_convert yaml"

ROOMS = {
    "files": room(),
    "user_code": room(),
    "text_table": room(),
    "theory": room(packages="numpy", lazy_packages="scipy"),
    "scaling": room(rooms="theory files text_table", lazy_packages="torch"),
    "optim": room(packages="torch", lazy_packages="triton"),
    "models": room(packages="torch"),
    "kernels": room(rooms="models", packages="torch triton"),
    "measure": room(rooms="theory scaling optim files text_table", packages="torch"),
    "records": room(),
    "train": room(
        rooms="optim models measure scaling theory records files",
        packages="torch numpy",
        lazy_rooms="kernels",
        lazy_packages="tokenizers sentencepiece datasets pyarrow",
    ),
    "wide": room(
        rooms="files measure models optim records scaling train",
        packages="torch",
        lazy_rooms="kernels",
        lazy_packages="triton",
    ),
    "study": room(
        rooms="theory scaling records user_code text_table",
        packages="pydantic yaml",
        lazy_rooms="train wide models optim analysis",
        lazy_packages="torch numpy pyarrow optuna ray",
    ),
    "analysis": room(rooms="theory text_table", packages="numpy scipy"),
    "jax": room(rooms="theory scaling", packages="jax numpy optax"),
    "report": room(rooms="theory analysis records", packages="altair vl_convert jinja2 markupsafe rich"),
    "cli": room(
        rooms="theory user_code",
        packages="typer",
        lazy_rooms=f"files {FEATURES}",
        lazy_packages=DEPENDENCIES,
    ),
    "__main__": room(rooms="cli"),
    "__init__": room(lazy_rooms=FEATURES),
}
"""The specification: a module of no room here fails, and so does an import that its room does not list."""


@dataclass(frozen=True)
class Import:
    """One imported module, as written."""

    module: str
    names: tuple[str, ...]
    line: int
    lazy: bool


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def written_import(node: ast.AST, *, lazy: bool) -> list[Import]:
    """What one node imports, `import_module("...")` and `__import__("...")` with a literal name included."""
    match node:
        case ast.Import():
            return [Import(alias.name, (), node.lineno, lazy) for alias in node.names]
        case ast.ImportFrom():
            names = tuple(alias.name for alias in node.names)
            return [Import("." * node.level + (node.module or ""), names, node.lineno, lazy)]
        case ast.Call(
            func=ast.Name("import_module" | "__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(str(module)), *_],
        ):
            return [Import(module, (), node.lineno, lazy)]
        case _:
            return []


def imports(node: ast.AST, *, lazy: bool = False) -> Iterator[Import]:
    """Every import below a node."""
    for child in ast.iter_child_nodes(node):
        yield from written_import(child, lazy=lazy)
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from imports(child, lazy=lazy or inside or is_type_checking(child))


def room_of(relative_path: str) -> str:
    """The room of a file, from its path below src/widthwise: `train/loop.py` is in `train`."""
    return relative_path.removesuffix(".py").split("/")[0]


def complaint(name: str, found: Import) -> str | None:
    """Why a room may not have this import, or None if it may."""
    here = ROOMS[name]
    top, _, rest = found.module.partition(".")
    if found.module.startswith("."):
        return "is a relative import"
    if "*" in found.names:
        return "is a star import"
    if top in sys.stdlib_module_names:
        return None
    if top == PACKAGE:
        if not rest and found.names == ("__version__",):
            return None
        target = rest.partition(".")[0]
        if target == name or target in here.rooms or (found.lazy and target in here.lazy_rooms):
            return None
        return f"room {name!r} may not import room {target or PACKAGE!r}" + when(target, here.lazy_rooms)
    if top in here.packages or (found.lazy and top in here.lazy_packages):
        return None
    return f"room {name!r} may not import package {top!r}" + when(top, here.lazy_packages)


def when(target: str, lazy_targets: frozenset[str]) -> str:
    return " at module level, only inside a function" if target in lazy_targets else ""


def violations(relative_path: str, source: str) -> list[str]:
    """Every import of a source file that its room does not allow, as `file:line: reason`."""
    name = room_of(relative_path)
    if name not in ROOMS:
        return [f"{relative_path}: room {name!r} is not in the table of rooms"]
    found = imports(ast.parse(source))
    complaints = ((entry, complaint(name, entry)) for entry in found)
    return [f"{relative_path}:{entry.line}: {entry.module}: {why}" for entry, why in complaints if why]


def source_files() -> list[str]:
    """Every module of the package, as a path below src/widthwise."""
    return sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))
