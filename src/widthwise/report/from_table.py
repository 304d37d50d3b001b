"""From anybody's table of results to what its page shows: the analysis, and the tables that need nothing but losses."""

from collections.abc import Iterable

from widthwise.analysis import MARGIN, Observation, fit_table, transfer
from widthwise.report.page_data import PageData
from widthwise.report.paper_tables import metrics_page_table, sensitivity_page_table


def table_page_data(
    observations: Iterable[Observation],
    *,
    title: str,
    base_width: int | None = None,
    margin: float = MARGIN,
) -> PageData:
    """Analyse a table as `transfer` does, and gather what its page shows.

    Args:
        title: the table's name.
        base_width: the width whose best rate is kept; by default each prescription's smallest.
        margin: the relative loss below which giving it up counts as transfer.

    Raises:
        ValueError: too little in it to analyse, or an option is out of range.
    """
    seen = tuple(observations)
    table = fit_table(seen)
    found = (metrics_page_table(table), sensitivity_page_table(table, None))
    return PageData(
        title=title,
        observations=seen,
        analysis=transfer(table, base_width=base_width, margin=margin),
        tables=tuple(one for one in found if one is not None),
    )
