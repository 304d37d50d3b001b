"""Text as tokens: a corpus is a list of documents, split by document into a training and a validation stream.

Tokens are bytes (vocabulary 256) unless there is a tokenizer; a zero byte ends each document. The split is by content:
documents are ranked by the hash of their bytes and the first tenth is held out, so it depends on nothing but the text,
and equal documents never land on both sides. The corpus' own hash names it: two machines with the same text, and the
same tokenizer, have the same corpus.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widthwise.train.documents import documents

VOCABULARY = 256
HELD_OUT = 10
"""One document in this many is held out for validation."""
TEXT_FIELD = "text"
"""Which field of a record of JSON lines or Parquet is its text, unless said."""
_END = b"\0"

Tokens = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Corpus:
    """Two token streams and the hash that names them.

    Args:
        train: training tokens.
        validation: held-out tokens.
        digest: SHA-256 over both streams, hexadecimal.
    """

    name: str
    train: Tokens
    validation: Tokens
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

    def require_epochs(self, tokens: int, *, most: float) -> None:
        """Check that a horizon does not go through the training stream too often.

        Windows begin anywhere, so an epoch is as many tokens as there are, not each of them once.

        Args:
            tokens: of the longest horizon.
            most: how often is allowed.

        Raises:
            ValueError: it does.
        """
        epochs = tokens / len(self.train)
        if epochs > most:
            raise ValueError(
                f"corpus {self.name!r} has {len(self.train):,} training tokens; the longest horizon, {tokens:,} of "
                f"them, is {epochs:.3g} epochs, more than {most:g}: give more text, a shorter horizon, or allow it, "
                f"`epochs: {math.ceil(10 * epochs) / 10:g}`"
            )


def held_out(ranks: Sequence[bytes], source: str) -> bytes:
    """The largest rank that is held out: not by position, so that copies of a document are held out with it.

    Args:
        ranks: the hash of every document that is not empty.
        source: what to call them in messages.

    Raises:
        ValueError: fewer than two documents that differ.
    """
    if not ranks:
        raise ValueError(f"corpus {source!r} is empty; give a file or folder that holds text")
    distinct = sorted(set(ranks))
    if len(distinct) < 2:
        raise ValueError(
            f"corpus {source!r} is one document (a line of a file, or a file of a folder), or copies of one; "
            "it needs at least two that differ, to hold one out"
        )
    return min(sorted(ranks)[max(1, len(ranks) // HELD_OUT) - 1], distinct[-2])


def load_corpus(source: str, *, text_field: str = TEXT_FIELD) -> Corpus:
    """Read a corpus as bytes.

    Args:
        source: `python-stdlib` (the installed Python's own library), a text file, an `.xz` of one, JSON lines, Parquet,
            or a folder of files, each of which is a document, or holds one a record.
        text_field: which field of a record is its text.

    Raises:
        ValueError: nothing is there, it cannot be read, or it holds too little text to hold a document out.
    """
    found = [document for document in documents(source, text_field=text_field) if document]
    ranks = [hashlib.sha256(document).digest() for document in found]
    last = held_out(ranks, source)
    train = b"".join(doc + _END for doc, rank in zip(found, ranks, strict=True) if rank > last)
    validation = b"".join(doc + _END for doc, rank in zip(found, ranks, strict=True) if rank <= last)
    digest = hashlib.sha256(len(train).to_bytes(8, "big") + train + validation).hexdigest()
    return Corpus(
        name=source,
        train=np.frombuffer(train, np.uint8),
        validation=np.frombuffer(validation, np.uint8),
        digest=digest,
    )
