"""One writer at a time: a lock on `FILE.lock`, which the system releases however its holder ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from widthwise.study.checkpoints import CHECKPOINTS


def left_open(path: Path) -> bool:
    """Whether a writer was stopped before it could close a store to one file."""
    return any(path.with_name(path.name + ending).exists() for ending in ("-wal", ".lock", CHECKPOINTS))


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold `FILE.lock`; the file goes when it is released, and stays, held by nobody, after a kill.

    Raises:
        ValueError: another process holds it, or it cannot be made.
    """
    lock_path = path.with_name(path.name + ".lock")
    try:
        lock = _open_lock(lock_path)
    except BlockingIOError as error:
        raise ValueError(f"store {str(path)!r} is being written by another process; wait for it") from error
    except OSError as error:
        raise ValueError(f"store {str(path)!r} cannot be written: {error}; choose another folder") from error
    try:
        yield
    finally:
        lock_path.unlink(missing_ok=True)
        os.close(lock)


def _open_lock(lock_path: Path) -> int:
    while True:
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder may have removed the file between opening and locking: such a lock excludes nobody.
            if lock_path.exists() and os.path.samestat(os.fstat(lock), lock_path.stat()):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
