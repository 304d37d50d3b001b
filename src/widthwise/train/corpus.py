"""Text as tokens: a corpus is a list of documents, split by document into a training and a validation stream.

Tokens are bytes (vocabulary 256); a zero byte ends each document. The split is by content: documents are ranked by the
hash of their bytes and the first tenth is held out, so it depends on nothing but the text, and equal documents never
land on both sides. The corpus' own hash names it: two machines with the same text have the same corpus.
"""

import hashlib
import lzma
import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PYTHON_STDLIB = "python-stdlib"
VOCABULARY = 256
BLOCK = 65_536
"""A single file is cut at line ends into documents of about this many bytes, or a 32nd of it if that is less."""
HELD_OUT = 10
"""One document in this many is held out for validation."""
_END = b"\0"
_NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", "turtledemo"}


@dataclass(frozen=True)
class Corpus:
    """Two token streams and the hash that names them.

    Args:
        train: training tokens, uint8.
        validation: held-out tokens, uint8.
        digest: SHA-256 over both streams, hexadecimal.
    """

    name: str
    train: NDArray[np.uint8]
    validation: NDArray[np.uint8]
    digest: str

    def require(self, *, batch: int, context: int) -> None:
        """Check that the streams hold a batch and a validation window.

        Raises:
            ValueError: the training stream is shorter than one batch, or the validation stream than one window.
        """
        for stream, tokens, needed in (
            ("training", len(self.train), batch * (context + 1)),
            ("validation", len(self.validation), context + 1),
        ):
            if tokens < needed:
                raise ValueError(
                    f"corpus {self.name!r} has {tokens} {stream} tokens, fewer than the {needed} that a batch of "
                    f"{batch} x {context} needs; give more text or a smaller batch or context"
                )


def load_corpus(source: str) -> Corpus:
    """Read a corpus.

    Args:
        source: `python-stdlib` (the installed Python's own library), a text file, an `.xz` of one, or a folder, each
            of whose files is a document.

    Raises:
        ValueError: nothing is there, it cannot be read, or it holds too little text to hold a document out.
    """
    documents = [document for document in _documents(source) if document]
    if not documents:
        raise ValueError(f"corpus {source!r} is empty; give a file or folder that holds text")
    ranks = [hashlib.sha256(document).digest() for document in documents]
    distinct = sorted(set(ranks))
    if len(distinct) < 2:
        raise ValueError(
            f"corpus {source!r} is one document (a line of a file, or a file of a folder), or copies of one; "
            "it needs at least two that differ, to hold one out"
        )
    last_held_out = min(sorted(ranks)[max(1, len(documents) // HELD_OUT) - 1], distinct[-2])
    # Not by position: copies of the last document held out are held out with it.
    train = b"".join(doc + _END for doc, rank in zip(documents, ranks, strict=True) if rank > last_held_out)
    validation = b"".join(
        doc + _END for doc, rank in zip(documents, ranks, strict=True) if rank <= last_held_out
    )
    digest = hashlib.sha256(len(train).to_bytes(8, "big") + train + validation).hexdigest()
    return Corpus(
        name=source,
        train=np.frombuffer(train, np.uint8),
        validation=np.frombuffer(validation, np.uint8),
        digest=digest,
    )


def _documents(source: str) -> Iterator[bytes]:
    if source == PYTHON_STDLIB:
        root = Path(sysconfig.get_paths()["stdlib"])
        files = (p for p in root.rglob("*.py") if not _NOT_LIBRARY & set(p.relative_to(root).parts))
        return (p.read_bytes() for p in sorted(files))
    path = Path(source).expanduser()
    if not os.path.exists(path):
        raise ValueError(f"corpus {source!r} does not exist; give {PYTHON_STDLIB!r}, a text file or a folder")
    try:
        if path.is_dir():
            return iter([p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()])
        data = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    except (OSError, lzma.LZMAError) as error:
        raise ValueError(f"corpus {source!r} cannot be read: {error}") from error
    return _blocks(data)


def _blocks(data: bytes) -> Iterator[bytes]:
    """Cut at line ends into documents of about a block."""
    size = max(1, min(BLOCK, len(data) // 32))
    start = 0
    while start < len(data):
        line_end = data.find(b"\n", start + size - 1)
        end = len(data) if line_end < 0 else line_end + 1
        yield data[start:end]
        start = end
