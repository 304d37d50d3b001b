"""JSON documents that begin by saying what they are: a `kind` and a `version`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from widthwise.files.replacing import replace_text

Value = TypeVar("Value")


def document(values: object, *, kind: str, version: int, name: str) -> dict[str, Any]:
    """A document's values, if it is of this kind and version.

    Args:
        name: with its article, for the message.

    Raises:
        ValueError: it is not.

    Example:
        >>> document({"kind": "widthwise scaling plan"}, kind="widthwise scaling plan", version=1, name="a plan")
        Traceback (most recent call last):
        ValueError: a plan of version None; this widthwise reads version 1
    """
    value = cast("dict[str, Any]", values) if isinstance(values, dict) else {}
    if value.get("kind") != kind:
        raise ValueError(f"not {name}: its kind is {value.get('kind')!r}, not {kind!r}")
    if value.get("version") != version:
        raise ValueError(
            f"{name} of version {value.get('version')!r}; this widthwise reads version {version}"
        )
    return value


def save_document(path: Path, value: object) -> None:
    """Write a value as indented JSON: the file is replaced at once or left as it was.

    Raises:
        ValueError: a number that JSON does not have.
        OSError: a file that cannot be written.

    Example:
        >>> save_document(Path("plan.json"), {"kind": "widthwise scaling plan", "version": 1})
        >>> load_document(Path("plan.json"), lambda value: document(
        ...     value, kind="widthwise scaling plan", version=1, name="a plan"))["version"]
        1
    """
    replace_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def load_document(path: Path, read: Callable[[object], Value]) -> Value:
    """What a function makes of a file's JSON.

    Raises:
        ValueError: a file that is no JSON, or that the function refuses; the message begins with the path.
        OSError: a file that cannot be read.
    """
    try:
        return read(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
