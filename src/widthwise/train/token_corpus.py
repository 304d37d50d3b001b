"""A corpus of a tokenizer's tokens: made once, then read from a file of the cache, as much of it as is asked for.

The file's name is the hash of all that its tokens depend on: the text, the tokenizer and what is taken of it. It holds
a header and two streams of 16-bit numbers, and appears whole or not at all.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from widthwise.files import replacing
from widthwise.train.corpus import TEXT_FIELD, Corpus, held_out
from widthwise.train.documents import C4, documents, streamed
from widthwise.train.tokenizer import MOST_UNKNOWN, Tokenizer

FORMAT = 1
HEADER = 4096
"""Bytes of the header, so that the streams begin at a page."""
VALIDATION_TOKENS = 10_000_000
"""How much is taken of a validation split that a data set has."""
_TYPE = np.dtype("<u2")


def cache_folder() -> Path:
    """Where token files are kept: `$WIDTHWISE_CACHE`, or `widthwise` in the user's cache."""
    given = os.environ.get("WIDTHWISE_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else base / "widthwise"


def load_tokens(
    source: str,
    tokenizer: Tokenizer,
    *,
    text_field: str = TEXT_FIELD,
    most_tokens: int | None = None,
    folder: Path | None = None,
) -> Corpus:
    """Read a corpus as tokens, from the cache if it was read before.

    Args:
        source: as `load_corpus` takes it, or `c4`.
        most_tokens: how much of the training stream to take, whole documents from its beginning; needed for C4.
        folder: the cache's; `cache_folder()` unless said.

    Raises:
        ValueError: what `load_corpus` raises; a text that is not UTF-8, or that the tokenizer does not know; C4 without
            a number of tokens; a cache that cannot be written.
    """
    if source == C4 and most_tokens is None:
        raise ValueError(
            f"corpus {C4!r} is a stream without an end: say how much of it to take, `corpus_tokens`"
        )
    values = [FORMAT, _content(source, text_field), tokenizer.identity, most_tokens]
    key = hashlib.sha256(json.dumps(values).encode()).hexdigest()
    path = (cache_folder() if folder is None else folder) / f"{key}.tokens"
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, source, tokenizer, text_field, most_tokens)
        except OSError as error:
            raise ValueError(
                f"token file {str(path)!r} cannot be written: {error}; set WIDTHWISE_CACHE to another folder"
            ) from error
    return _read(path, source)


def _content(source: str, text_field: str) -> str:
    """What names the text: of C4 its name, of anything else the hash of every document."""
    if source == C4:
        return f"{C4}/{text_field}"
    sha = hashlib.sha256()
    for document in documents(source, text_field=text_field):
        sha.update(hashlib.sha256(document).digest())
    return sha.hexdigest()


@dataclass
class _Stream:
    """Tokens on their way into a file."""

    file: IO[bytes]
    tokenizer: Tokenizer
    most: int | None
    count: int = 0
    unknown: int = 0
    sha: Any = field(default_factory=hashlib.sha256)

    def take(self, texts: Iterable[bytes], source: str) -> None:
        """Write the tokens of documents until there are enough."""
        own = [[] if mark is None else [mark] for mark in (self.tokenizer.start, self.tokenizer.end)]
        for text in texts:
            try:
                ids = [*own[0], *self.tokenizer.encode(text.decode()), *own[1]]
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"corpus {source!r} is not UTF-8, as a tokenizer needs it: {error}; leave the tokenizer out to "
                    "train on bytes"
                ) from error
            if self.most is not None:
                ids = ids[: self.most - self.count]
            data = np.asarray(ids, _TYPE).tobytes()
            self.unknown += sum(token == self.tokenizer.unknown for token in ids)
            self.count += len(ids)
            self.sha.update(data)
            self.file.write(data)
            if self.count == self.most:
                return


def _write(path: Path, source: str, tokenizer: Tokenizer, text_field: str, most_tokens: int | None) -> None:
    with replacing(path) as file, tempfile.TemporaryFile(dir=path.parent) as aside:
        file.write(bytes(HEADER))
        train = _Stream(file, tokenizer, most_tokens)
        validation = _Stream(aside, tokenizer, VALIDATION_TOKENS if source == C4 else None)
        _fill(train, validation, source, text_field)
        total, unknown = train.count + validation.count, train.unknown + validation.unknown
        if unknown > MOST_UNKNOWN * total:
            raise ValueError(
                f"tokenizer {tokenizer.file!r} does not match corpus {source!r}: {unknown / total:.1%} of its "
                f"{total:,} tokens are unknown to it; give the tokenizer that goes with the text"
            )
        aside.seek(0)
        while data := aside.read(2**24):
            file.write(data)
        digest = hashlib.sha256(
            b"".join((b"16 bit", train.sha.digest(), validation.sha.digest()))
        ).hexdigest()
        header = {"format": FORMAT, "train": train.count, "validation": validation.count, "digest": digest}
        file.seek(0)
        file.write(json.dumps(header).encode())


def _fill(train: _Stream, validation: _Stream, source: str, text_field: str) -> None:
    if source == C4:
        for stream, split in ((train, "train"), (validation, "validation")):
            stream.take((d for d in streamed(split, text_field=text_field) if d), source)
        return
    ranks = [hashlib.sha256(d).digest() for d in documents(source, text_field=text_field) if d]
    last = held_out(ranks, source)

    def side(*, held: bool) -> Iterator[bytes]:
        texts = (d for d in documents(source, text_field=text_field) if d)
        return (d for d, rank in zip(texts, ranks, strict=True) if (rank <= last) is held)

    train.take(side(held=False), source)
    validation.take(side(held=True), source)


def _read(path: Path, source: str) -> Corpus:
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(HEADER).rstrip(b"\0"))
        counts = header["train"], header["validation"]
        if path.stat().st_size != HEADER + _TYPE.itemsize * sum(counts):
            raise ValueError("it is cut short")
        tokens = np.memmap(path, _TYPE, "r", offset=HEADER)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"token file {str(path)!r} is damaged: {error}; remove it") from error
    return Corpus(source, tokens[: counts[0]], tokens[counts[0] :], header["digest"])
