"""Where populations in training keep their state: files in a folder beside the store, gone when they are not needed.

They hold nothing that the store needs. Without them a population begins again, and ends with the same results.
"""

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

CHECKPOINTS = ".checkpoints"
"""Ends the folder's name; its beginning is the store's."""

MARKER = "shared-"


def checkpoint_path(store: Path, population: int) -> Path:
    """The file of one population.

    Example:
        >>> checkpoint_path(Path("runs/s.sqlite"), 3).as_posix()
        'runs/s.sqlite.checkpoints/population-3'
    """
    return store.with_name(store.name + CHECKPOINTS) / f"population-{population}"


def shards_path(checkpoint: Path) -> Path:
    """The folder of one population whose tensors are split over processes, from the file that it has otherwise.

    Example:
        >>> shards_path(Path("s.sqlite.checkpoints/population-3")).as_posix()
        's.sqlite.checkpoints/population-3.shards'
    """
    return checkpoint.with_name(checkpoint.name + ".shards")


def remove_checkpoint(checkpoint: Path) -> None:
    """Remove a population's, of either form."""
    checkpoint.unlink(missing_ok=True)
    shutil.rmtree(shards_path(checkpoint), ignore_errors=True)


def remove_checkpoints(store: Path) -> None:
    """Remove all of them: what a kill left of populations that have ended, too."""
    folder = checkpoint_path(store, 0).parent
    for pattern in ("population-*", f"{MARKER}*"):
        for path in folder.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def shared_marker(store: Path) -> Iterator[Path]:
    """A file in the folder by which another machine sees whether it shares it; gone afterwards."""
    marker = checkpoint_path(store, 0).with_name(f"{MARKER}{secrets.token_hex(8)}")
    with contextlib.suppress(OSError):  # a folder that cannot be written is one that nobody shares
        marker.parent.mkdir(exist_ok=True)
        marker.touch()
    try:
        yield marker
    finally:
        with contextlib.suppress(OSError):
            marker.unlink(missing_ok=True)
