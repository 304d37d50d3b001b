"""How the command line reports bad input: one message on standard error, exit code 2."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

BAD_INPUT = 2

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
