"""Write a coordinate check into a folder: one page to look at and its figures, all of them or none."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from widthwise.report.check_figures import check_figures
from widthwise.report.check_page import CheckPage
from widthwise.report.numbers import MISSING, fixed
from widthwise.report.page import environment
from widthwise.report.write import check_target, figure_images, write_all

CHECK_PAGE_NAME = "check.html"
SIGNS = {"pass": "✓", "fail": "✗", "undecided": "?", "undefined": MISSING, "reported": "•"}
BADGES = {"pass": "yes", "fail": "no", "undecided": "open", "undefined": "open", "reported": "open"}


def check_folder(folder: Path | str) -> None:
    """That a check could be written to a folder: asked before the check is run.

    Raises:
        ValueError: it cannot.
    """
    check_target(Path(folder), [CHECK_PAGE_NAME])


def write_check(
    page: CheckPage, folder: Path | str, *, extra: dict[str, bytes] | None = None
) -> tuple[Path, ...]:
    """Write `check.html` and the figures as PNG and SVG, and give the paths of what was written, the page first.

    Args:
        page: the content.
        folder: where; it is created, and files of the same names are replaced.
        extra: further files by name, written with the rest or not at all.

    Raises:
        ValueError: the folder cannot be written to; nothing was written.
    """
    target = Path(folder)
    figures = check_figures(page)
    more = extra or {}
    names = [
        CHECK_PAGE_NAME,
        *(f"{figure.name}{kind}" for figure in figures for kind in (".png", ".svg")),
        *more,
    ]
    check_target(target, names)
    images = [image for figure in figures for image in figure_images(figure)]
    drawings = [Markup(svg.decode()) for svg in images[1::2]]  # noqa: S704 - drawn here, every text of the data escaped
    html = environment().get_template("check.html.j2").render(
        page=page, drawings=drawings, badge=BADGES[page.verdict], rows=_table(page)
    )  # fmt: skip
    contents = [html.encode(), *images, *more.values()]
    return write_all(target, dict(zip(names, contents, strict=True)))


def _table(page: CheckPage) -> list[dict[str, Any]]:
    return [
        {
            "measured": line.measured,
            "name": line.name,
            "theory": MISSING if line.theory is None else f"{'at most ' * line.bound}{fixed(line.theory, 2)}",
            "slope": MISSING if line.slope is None else fixed(line.slope[0], 3),
            "interval": MISSING
            if line.slope is None
            else f"[{fixed(line.slope[1], 3)}, {fixed(line.slope[2], 3)}]",
            "verdict": line.verdict,
            "sign": SIGNS[line.verdict],
            "badge": BADGES[line.verdict],
            "reason": line.reason,
        }
        for line in page.lines
    ]
