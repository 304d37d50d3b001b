"""How wide the terminal is that a command prints to."""

import os
import shutil
import sys


def terminal_columns() -> int | None:
    """The columns of the terminal, or what the environment says of them; None for a file or a pipe, which has none.

    Example:
        >>> terminal_columns() is None or terminal_columns() > 0
        True
    """
    if not sys.stdout.isatty() and not os.environ.get("COLUMNS"):
        return None
    return shutil.get_terminal_size().columns
