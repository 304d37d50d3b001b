"""A file of named tensors and a header, whole or not there, and known to be what was written.

    magic, one line    header's length, 8 bytes big-endian    header, JSON    tensors in order    SHA-256, 32 bytes

The header lists the tensors' names, dtypes and shapes; their elements are in the machine's byte order. The hash is over
all that precedes it. Nothing is unpickled.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_MAGIC = b"widthwise checkpoint 1\n"
_CHUNK = 1 << 24
_DTYPES = {
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
    "int64": torch.int64,
    "uint8": torch.uint8,
}
_HASH_BYTES = hashlib.sha256().digest_size


def write_tensors(path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Replace a file at once, on the disk when this returns; a kill at any moment leaves the old one or the new.

    Args:
        header: JSON values.
        tensors: on any device; brought to the host one at a time.

    Raises:
        OSError: it cannot be written; the old file is then as it was.
    """
    listed = [(name, str(t.dtype).removeprefix("torch."), list(t.shape)) for name, t in tensors.items()]
    text = json.dumps({**header, "tensors": listed}, allow_nan=False).encode()
    temporary = path.with_name(path.name + ".new")
    digest = hashlib.sha256()
    try:
        with temporary.open("wb") as file:
            start = (_MAGIC, len(text).to_bytes(8, "big"), text)
            for piece in chain(start, map(_elements, tensors.values())):
                digest.update(piece)
                file.write(piece)
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too, outlives a power cut
    finally:
        os.close(folder)


def read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the tensors of a file, on the CPU.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be read, or is not what was written.
    """
    try:
        with path.open("rb") as file:
            _verify(file)
            file.seek(len(_MAGIC))
            header = json.loads(file.read(int.from_bytes(file.read(8), "big")))
            tensors = {name: _read(file, dtype, shape) for name, dtype, shape in header.pop("tensors")}
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"it cannot be read: {error}") from error
    return header, tensors


def _verify(file: BufferedReader) -> None:
    """Compare the hash, before anything in the file is believed."""
    left = file.seek(0, os.SEEK_END) - _HASH_BYTES
    file.seek(0)
    if left < len(_MAGIC) or file.read(len(_MAGIC)) != _MAGIC:
        raise ValueError("it is no checkpoint of this version")
    digest = hashlib.sha256(_MAGIC)
    left -= len(_MAGIC)
    for chunk in _chunks(file, left):
        digest.update(chunk)
    if digest.digest() != file.read():
        raise ValueError("its SHA-256 is not that of its content: it is cut short or damaged")


def _chunks(file: BufferedReader, left: int) -> Iterator[bytes]:
    while left > 0 and (chunk := file.read(min(left, _CHUNK))):
        left -= len(chunk)
        yield chunk


def _elements(tensor: Tensor) -> memoryview:
    """A tensor's bytes, elements in order."""
    return tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().data


def _read(file: BufferedReader, dtype: str, shape: list[int]) -> Tensor:
    tensor = torch.empty(shape, dtype=_DTYPES[dtype])
    if tensor.numel():
        file.readinto(tensor.view(-1).view(torch.uint8).numpy().data)
    return tensor
