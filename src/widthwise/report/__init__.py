"""A study as a person reads it: one self-contained page, the same figures as images, and a table for a terminal.

`PageData` is the content. `render_page` turns it into HTML, `write_report` writes that and the images into a folder,
`verdict_table` and `summary_line` serve a terminal. The plotting libraries load on the first use of a name that needs
them; importing this package loads none.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from widthwise.report.page_data import PageData, TrainingCurve

if TYPE_CHECKING:
    from widthwise.report.figure import Figure
    from widthwise.report.figures import make_figures
    from widthwise.report.from_store import predictions, study_page_data, study_transfer
    from widthwise.report.from_table import table_page_data
    from widthwise.report.page import render_page
    from widthwise.report.terminal import summary_line, verdict_table
    from widthwise.report.write import write_report

__all__ = [
    "Figure",
    "PageData",
    "TrainingCurve",
    "make_figures",
    "predictions",
    "render_page",
    "study_page_data",
    "study_transfer",
    "summary_line",
    "table_page_data",
    "verdict_table",
    "write_report",
]

_LAZY = {
    "Figure": "widthwise.report.figure",
    "make_figures": "widthwise.report.figures",
    "predictions": "widthwise.report.from_store",
    "render_page": "widthwise.report.page",
    "study_page_data": "widthwise.report.from_store",
    "study_transfer": "widthwise.report.from_store",
    "table_page_data": "widthwise.report.from_table",
    "summary_line": "widthwise.report.terminal",
    "verdict_table": "widthwise.report.terminal",
    "write_report": "widthwise.report.write",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
