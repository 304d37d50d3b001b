"""A user's own functions, by name: `MODULE:NAME`, imported as Python would from the current directory."""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any


def load_callable(source: str, *, what: str) -> Callable[..., Any]:
    """What `MODULE:NAME` names, wrapped so that whatever it raises is bad input and what it prints is not output.

    Args and errors as `find_callable`'s.

    Example:
        >>> load_callable("math:hypot", what="factory")(3.0, 4.0)
        5.0
        >>> load_callable("math:hypott", what="factory")
        Traceback (most recent call last):
        ...
        ValueError: factory 'math:hypott': module 'math' has no 'hypott'; did you mean hypot?
    """
    return _guarded(find_callable(source, what=what), source)


def find_callable(source: str, *, what: str) -> Callable[..., Any]:
    """What `MODULE:NAME` names, as it is.

    Args:
        source: an importable module and a name in it, dotted for a class's own, as `package.models:Llama.small`.
        what: it is to the command, for messages.

    Raises:
        ValueError: not of this form, no such module or name, a module that fails to import, or nothing to call.
    """
    module_name, _, path = source.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
        raise ValueError(f"{what} {source!r} must be MODULE:NAME, as in mymodels:build")
    found = _attribute(_module(module_name, f"{what} {source!r}"), path, f"{what} {source!r}")
    if not callable(found):
        raise ValueError(f"{what} {source!r} is of type {type(found).__name__}, which cannot be called")
    return found


def _module(name: str, where: str) -> object:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        with redirect_stdout(sys.stderr):
            return import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing and (name == missing or name.startswith(f"{missing}.")):
            raise ValueError(
                f"{where}: there is no module {missing!r} in {here} or among the installed ones; run the command in "
                "the folder that holds it"
            ) from error
        raise ValueError(f"{where}: importing {name} needs {missing!r}, which is not installed") from error
    except (Exception, SystemExit) as error:  # the user's own code runs here and may raise anything
        raise ValueError(f"{where}: importing {name} raised {said(error)}") from error


def _attribute(module: object, path: str, where: str) -> object:
    found, known = module, f"module {getattr(module, '__name__', '')!r}"
    for part in path.split("."):
        if not hasattr(found, part):
            close = get_close_matches(part, [name for name in dir(found) if not name.startswith("_")])
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(f"{where}: {known} has no {part!r}{hint}")
        found, known = getattr(found, part), repr(part)
    return found


def _guarded(function: Callable[..., Any], source: str) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        try:
            with redirect_stdout(sys.stderr):
                return function(*arguments)
        except (Exception, SystemExit) as error:
            shown = ", ".join(repr(x) if isinstance(x, int | str) else type(x).__name__ for x in arguments)
            raise ValueError(f"{source}({shown}) raised {said(error)}") from error

    return call


def said(error: BaseException) -> str:
    """The type and the first line of an error's message."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
