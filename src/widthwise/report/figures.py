"""The figures of a report, in the order in which a page shows them."""

from widthwise.report.alignment_figures import alignment_figures
from widthwise.report.curves_figure import curves_figure
from widthwise.report.exponent_figure import exponent_figure
from widthwise.report.figure import Figure
from widthwise.report.loss_figure import loss_figure
from widthwise.report.optimum_figure import optimum_figure
from widthwise.report.page_data import PageData
from widthwise.report.policy_figure import policy_figure
from widthwise.report.regret_figure import regret_figure
from widthwise.report.size_figure import size_figure

_MAKERS = (
    regret_figure,
    exponent_figure,
    loss_figure,
    optimum_figure,
    size_figure,
    policy_figure,
    curves_figure,
)


def make_figures(data: PageData) -> tuple[Figure, ...]:
    """Every figure that the data can fill; a figure without data is left out."""
    made = tuple(figure for maker in _MAKERS if (figure := maker(data)) is not None)
    return (*made, *alignment_figures(data))
