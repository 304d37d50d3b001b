"""Options of several commands; one not given is not passed on: its default stands where the called function has it."""

from typing import Annotated, Any

import typer

Margin = Annotated[
    float | None, typer.Option(help="Relative loss that may be given up; 0.01, which is 1 %, unless said.")
]


def given(**options: Any) -> dict[str, Any]:
    """The options that are not None.

    Example:
        >>> given(margin=None, base_width=64)
        {'base_width': 64}
    """
    return {name: value for name, value in options.items() if value is not None}
