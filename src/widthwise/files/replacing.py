"""Writing a file so that it is the old one or the whole new one, whatever happens in between."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes another's place at once, when all of it is on the disk; after an error nothing has changed.

    Links are followed: what they point to is replaced.

    Example:
        >>> with replacing(Path("numbers.bin")) as file:
        ...     _ = file.write(bytes([1, 2, 3]))
        >>> Path("numbers.bin").read_bytes()
        b'\\x01\\x02\\x03'
    """
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_text(path: Path, text: str) -> None:
    """Replace a file by a text in UTF-8, its line ends as they are given.

    Example:
        >>> replace_text(Path("rows.csv"), "step,fraction\\n")
        >>> Path("rows.csv").read_text()
        'step,fraction\\n'
    """
    with replacing(path) as file:
        file.write(text.encode())
