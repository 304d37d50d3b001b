"""What the command line says on standard error: bad input, one message and exit code 2; and warnings, as sentences."""

import functools
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import typer

BAD_INPUT = 2
PACKAGE = Path(__file__).parents[1]
_STANDARD = warnings.formatwarning

P = ParamSpec("P")
R = TypeVar("R")


def user_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn a `ValueError`, which is how every room reports bad input, into a message and exit code 2."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ValueError as error:
            print(f"widthwise: {error}", file=sys.stderr)
            raise typer.Exit(BAD_INPUT) from None

    return wrapped


def plain_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """This package's own warnings without the place in its source that they come from; others as Python has them.

    Example:
        >>> plain_warning("a checkpoint is not used", UserWarning, str(PACKAGE / "train" / "loop.py"), 7)
        'widthwise: warning: a checkpoint is not used\\n'
        >>> plain_warning("old", DeprecationWarning, "other.py", 7, "x = 1")
        'other.py:7: DeprecationWarning: old\\n  x = 1\\n'
    """
    if Path(filename).is_relative_to(PACKAGE):
        return f"widthwise: warning: {message}\n"
    return _STANDARD(message, category, filename, lineno, line)
