"""`widthwise --version`: what a report of a mistake is to say, without importing any of it."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from widthwise import __version__


def _installed(distribution: str) -> str:
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return f"no {distribution}"


def _print_versions(asked: bool) -> None:
    if asked:
        print(f"widthwise {__version__}, {_installed('torch')}, Python {platform.python_version()}")
        raise typer.Exit


def with_version(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_versions,
            is_eager=True,
            help="Print the versions of widthwise, torch and Python.",
        ),
    ] = False,
) -> None:
    """The options of `widthwise` itself."""
