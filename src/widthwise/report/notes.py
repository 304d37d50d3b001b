"""The notes under a page: what is said of many cells in the same words is said once, with the cells it is said of."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from widthwise.report.numbers import plural

_OF_A_CELL = re.compile(
    r"(?P<arm>[^:,]+), (?P<rest>(?:not used: )?)width (?P<width>\d+): (?P<text>.+)", re.DOTALL
)
_LEAST = 3  # cells of which it is worth saying it once


@dataclass(frozen=True)
class Note:
    """A sentence, and the cells it is said of where they are several.

    Args:
        text: the sentence.
        cells: how many, in words; empty for a sentence of its own.
        listed: which: "adam-standard-full (128, 256), adam-mup-full (128)".
    """

    text: str
    cells: str = ""
    listed: str = ""


def grouped_notes(notes: Iterable[str]) -> tuple[Note, ...]:
    """The notes in order, those alike in one, where the first of them stood.

    Example:
        >>> notes = [f"{arm}, width {width}: 1 of 3 seeds is used." for arm in ("a", "b") for width in (64, 128)]
        >>> grouped_notes([*notes, "Two optima repeat the same runs."])[0]
        Note(text='1 of 3 seeds is used.', cells='4 cells', listed='a (64, 128), b (64, 128)')
    """
    groups: dict[tuple[str, ...], list[tuple[str, str, str]]] = {}
    for note in notes:
        found = _OF_A_CELL.fullmatch(note)
        key = (note,) if found is None else (found["rest"], found["text"])
        cell = ("", "", note) if found is None else (found["arm"], found["width"], note)
        groups.setdefault(key, []).append(cell)
    return tuple(made for key, cells in groups.items() for made in _notes(key, cells))


def _notes(key: tuple[str, ...], cells: list[tuple[str, str, str]]) -> Iterable[Note]:
    if len(key) == 1 or len(cells) < _LEAST:
        return [Note(note) for _, _, note in cells]
    widths: dict[str, list[str]] = {}
    for arm, width, _ in cells:
        widths.setdefault(arm, []).append(width)
    listed = ", ".join(f"{arm} ({', '.join(own)})" for arm, own in widths.items())
    text = key[0] + key[1]
    return [Note(text[0].upper() + text[1:], plural(len(cells), "cell"), listed)]
