"""Text as documents, read one after the other: a folder, a file of text, JSON lines or Parquet, packed or not, or C4.

A document is bytes. A folder's files are read in the order of their names: one of JSON lines or Parquet holds many
documents, any other is one. A single file of text is cut at line ends. C4 is read over the network, as a stream.
"""

import json
import lzma
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

PYTHON_STDLIB = "python-stdlib"
C4 = "c4"
"""The English part of allenai/c4; it has a validation split of its own."""
BLOCK = 65_536
"""A single file is cut at line ends into documents of about this many bytes, or a 32nd of it if that is less."""
_NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", "turtledemo"}
_LINES = (".jsonl", ".ndjson")
_PARQUET = ".parquet"


def documents(source: str, *, text_field: str) -> Iterator[bytes]:
    """The documents of a source, in a fixed order; some may be empty.

    Args:
        source: `python-stdlib`, a file or a folder.
        text_field: which field of a record of JSON lines or Parquet is its text.

    Raises:
        ValueError: nothing is there, it cannot be read, or a record has no such text.
    """
    if source == PYTHON_STDLIB:
        root = Path(sysconfig.get_paths()["stdlib"])
        files = (p for p in root.rglob("*.py") if not _NOT_LIBRARY & set(p.relative_to(root).parts))
        yield from (p.read_bytes() for p in sorted(files))
        return
    path = Path(source).expanduser()
    if not os.path.exists(path):
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise ValueError(
            f"corpus {source!r} does not exist{where}; give {PYTHON_STDLIB!r}, a text file or a folder"
        )
    try:
        if not path.is_dir():
            yield from _of_file(path, text_field) if _is_records(path) else _blocks(_content(path))
            return
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            yield from _of_file(file, text_field)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise ValueError(f"corpus {source!r} cannot be read: {error}") from error


def _kind(path: Path) -> str:
    """The suffix that says what a file is; `.xz` says only that it is packed."""
    return Path(path.stem).suffix if path.suffix == ".xz" else path.suffix


def _is_records(path: Path) -> bool:
    return _kind(path) in (*_LINES, _PARQUET)


def has_records(source: str) -> bool:
    """Whether a source holds records, whose text is one of their fields, in any of its files.

    Args:
        source: as `documents` takes it, or `c4`.
    """
    if source in (C4, PYTHON_STDLIB):
        return source == C4
    path = Path(source).expanduser()
    return any(map(_is_records, path.rglob("*"))) if path.is_dir() else _is_records(path)


def _open(path: Path) -> IO[bytes]:
    return lzma.open(path) if path.suffix == ".xz" else path.open("rb")


def _content(path: Path) -> bytes:
    with _open(path) as file:
        return file.read()


def _of_file(path: Path, text_field: str) -> Iterator[bytes]:
    if path.suffix == _PARQUET:
        yield from _parquet_texts(path, text_field)
    elif _kind(path) in _LINES:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _text_of(_record(line, path, number), text_field, f"{str(path)!r}, line {number}")
    else:
        yield path.read_bytes()


def _record(line: bytes, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise ValueError(f"corpus file {str(path)!r}, line {number}, is not JSON: {error}") from error


def _text_of(record: Any, text_field: str, where: str) -> bytes:
    text = record.get(text_field) if isinstance(record, dict) else None
    if not isinstance(text, str):
        known = sorted(record) if isinstance(record, dict) else type(record).__name__
        raise ValueError(
            f"corpus file {where}: no text in field {text_field!r}; it has {known}: set text_field"
        )
    return text.encode()


def _parquet_texts(path: Path, text_field: str) -> Iterator[bytes]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(
            f"corpus file {str(path)!r} needs pyarrow: pip install 'widthwise[parquet]', or give JSON lines"
        ) from error
    try:
        file = parquet.ParquetFile(path)
        if text_field not in file.schema_arrow.names:
            names = file.schema_arrow.names
            raise ValueError(
                f"corpus file {str(path)!r}: no text in field {text_field!r}; it has {names}: set text_field"
            )
        for batch in file.iter_batches(columns=[text_field]):
            for number, value in enumerate(batch.column(0).to_pylist()):
                yield _text_of({text_field: value}, text_field, f"{str(path)!r}, row {number}")
    except pa.ArrowException as error:
        raise ValueError(f"corpus file {str(path)!r} is no Parquet: {error}") from error


def _blocks(data: bytes) -> Iterator[bytes]:
    """Cut at line ends into documents of about a block."""
    size = max(1, min(BLOCK, len(data) // 32))
    start = 0
    while start < len(data):
        line_end = data.find(b"\n", start + size - 1)
        end = len(data) if line_end < 0 else line_end + 1
        yield data[start:end]
        start = end


def streamed(split: str, *, text_field: str, dataset: str = "allenai/c4", **options: Any) -> Iterator[bytes]:
    """The documents of a split of a Hugging Face data set, as they come.

    Args:
        split: `train` or `validation`.
        dataset: as `datasets.load_dataset` takes it.
        options: passed on to it; for C4, its English part.

    Raises:
        ValueError: `datasets` is not installed, or the data set cannot be had.
    """
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ValueError(f"corpus {dataset!r} needs datasets: pip install 'widthwise[hf]'") from error
    chosen = options or {"name": "en"}
    try:
        for number, record in enumerate(load_dataset(dataset, split=split, streaming=True, **chosen)):
            yield _text_of(record, text_field, f"{dataset!r}, {split}, record {number}")
    except (OSError, ConnectionError) as error:
        raise ValueError(f"corpus {dataset!r} cannot be read: {error}") from error
