"""Write what a study measured over widths into a folder: one page and its figures, all of them or none."""

from pathlib import Path

from markupsafe import Markup

from widthwise.report.page import environment
from widthwise.report.widths_figures import widths_figures
from widthwise.report.widths_page import WidthsPage
from widthwise.report.write import check_target, figure_images, write_all

WIDTHS_PAGE_NAME = "widths.html"


def write_widths(page: WidthsPage, folder: Path | str) -> tuple[Path, ...]:
    """Write `widths.html` and the figures as PNG and SVG, and give the paths of what was written, the page first.

    Raises:
        ValueError: the folder cannot be written to; nothing was written.
    """
    target, figures = Path(folder), widths_figures(page.gradients, page.shares)
    names = [WIDTHS_PAGE_NAME, *(f"{figure.name}{kind}" for figure in figures for kind in (".png", ".svg"))]
    check_target(target, names)
    images = [image for figure in figures for image in figure_images(figure)]
    drawings = [Markup(svg.decode()) for svg in images[1::2]]  # noqa: S704 - drawn here, every text of the data escaped
    html = environment().get_template("widths.html.j2").render(page=page, drawings=drawings)
    return write_all(target, dict(zip(names, [html.encode(), *images], strict=True)))
