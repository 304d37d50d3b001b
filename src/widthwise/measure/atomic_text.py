"""Writing a text file so that it is the old one or the whole new one, whatever happens in between."""

import os
import tempfile
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Replace a file at once, or leave it as it was.

    Example:
        >>> write_text(Path("rows.csv"), "step,fraction\\n")
        >>> Path("rows.csv").read_text()
        'step,fraction\\n'
    """
    handle, temporary = tempfile.mkstemp(dir=path.resolve().parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
