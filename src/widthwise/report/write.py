"""Write a report into a folder: the page and every figure as PNG and SVG, all of them or none."""

import os
import tempfile
from pathlib import Path

import vl_convert

from widthwise.report.figure import Figure, figure_svg
from widthwise.report.figures import make_figures
from widthwise.report.page import render_page
from widthwise.report.page_data import PageData

PAGE_NAME = "report.html"
MOST_PANELS = 24
_SCALE = 2.0  # pixels of a PNG per pixel of the drawing


def write_report(data: PageData, folder: Path | str) -> tuple[Path, ...]:
    """Write `report.html` and the figures, and give the paths of what was written, the page first.

    Figures with a panel for each prescription become images only of at most `MOST_PANELS` prescriptions: an image of
    more is no longer looked at, and takes minutes; the page draws them all, and saves what it shows.

    Everything is drawn first, written next to its place, and only then moved there: a file is either the old one or
    the whole new one.

    Args:
        data: the content.
        folder: where; it is created, and files of the same names are replaced.

    Raises:
        ValueError: the folder cannot be written to; nothing was written.
    """
    target = Path(folder)
    figures = make_figures(data)
    drawn = [f for f in figures if not f.paged or len(data.analysis.results) <= MOST_PANELS]
    names = [PAGE_NAME, *(f"{figure.name}{kind}" for figure in drawn for kind in (".png", ".svg"))]
    check_target(target, names)
    contents = [
        render_page(data, figures).encode(),
        *(image for figure in drawn for image in figure_images(figure)),
    ]
    return write_all(target, dict(zip(names, contents, strict=True)))


def check_target(folder: Path, names: list[str]) -> None:
    """Refuse a folder that cannot be created or written to, and a name that a folder has taken."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise ValueError(
            f"{existing} is a file, so no report can be written to {folder}; name another folder"
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(
            f"{existing} is not writable, so no report can be written to {folder}; name another folder or change its "
            "permissions"
        )
    taken = [name for name in names if (folder / name).is_dir()]
    if taken:
        raise ValueError(
            f"{folder / taken[0]} is a folder where a file of the report must go; move it or name another"
        )


def figure_images(figure: Figure) -> tuple[bytes, bytes]:
    """A figure as PNG and SVG."""
    svg = figure_svg(figure)
    return vl_convert.svg_to_png(svg, scale=_SCALE), svg.encode()


def write_all(folder: Path, contents: dict[str, bytes]) -> tuple[Path, ...]:
    """Write files by name into a folder, all of them or none, and give their paths."""
    staged: list[tuple[Path, Path]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".report-", dir=folder) as staging:
            for name, content in contents.items():
                draft = Path(staging) / name
                draft.write_bytes(content)
                staged.append((draft, folder / name))
            for draft, place in staged:
                os.replace(draft, place)
    except OSError as error:
        raise ValueError(
            f"the report could not be written to {folder}: {error.strerror or error}; free some space or name "
            "another folder"
        ) from error
    return tuple(place for _, place in staged)
