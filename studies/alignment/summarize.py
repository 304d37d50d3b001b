"""Tables of what the experiment found, from its stores.

    python studies/alignment/summarize.py STORES                      prints them
    python studies/alignment/summarize.py STORES --write              puts them into docs/alignment-experiment.md

STORES is a folder of stores, or the `stores.tar.gz` that `run.py` made. What was not run is said to be so.
"""

import argparse
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from alignment_tables import (
    exponent_table,
    has_series,
    nearest_table,
    prescription_table,
    progress_table,
    ratio_table,
    run_table,
)
from loss_tables import loss_tables
from plan import Config, cases, load_config
from progress import write_figure
from rate_tables import drift_tables, rate_table, verdict_table
from stored import FinishedStores, Stores

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "alignment-experiment.md"
BEGIN, END = "<!-- tables: made by studies/alignment/summarize.py -->", "<!-- /tables -->"


def page(stores: Stores, config: Config) -> Iterator[str]:
    """Every table under its heading."""
    drift, misses = drift_tables(stores, config)
    losses, differences = loss_tables(stores, config)
    parts = {
        "What was run": run_table(stores, config),
        "The arms": prescription_table(stores, config),
        "Measured exponents": exponent_table(stores, config),
        "Over training": progress_table(stores, config),
        "Ratios by width": ratio_table(stores, config),
        "Against the presets": nearest_table(stores, config),
        "How far the best rate moved": drift,
        "Moved less predicted, mean over arms, octaves": misses,
        "Best rates of the grids": rate_table(stores, config),
        "What keeping the base width's best rate costs": verdict_table(stores, config),
        "Loss at the largest width, at the transferred rate": losses,
        "Differences at the largest width": differences,
    }
    for title, text in parts.items():
        if text:
            yield f"### {title}\n\n{text}"


def replaced(old: str, text: str) -> str:
    """A page with a text between its marks.

    Raises:
        ValueError: the marks are not there, once each.
    """
    if old.count(BEGIN) != 1 or old.count(END) != 1:
        raise ValueError(f"{PAGE.name} must hold {BEGIN!r} and then {END!r}, once each")
    return f"{old.partition(BEGIN)[0]}{BEGIN}\n\n{text}\n{END}{old.partition(END)[2]}"


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stores", type=Path, help="a folder of stores, or stores.tar.gz")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    parser.add_argument("--figure", type=Path, help="write the figure of alignment over training here, a PNG")
    parser.add_argument("--smoke", action="store_true", help="stores of `run.py --smoke`")
    given = parser.parse_args(arguments)
    config = load_config(HERE / ("smoke.yaml" if given.smoke else "base.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        where = given.stores
        if where.suffix == ".gz":
            with tarfile.open(where) as tar:
                tar.extractall(folder, filter="data")
            where = Path(folder)
        stores = FinishedStores(where, config)
        text = "\n".join(page(stores, config))
        if given.figure is not None:
            readable = {case.name for case in cases(config) if has_series(stores, config, case)}
            paths = {case.name: stores.measure_path(case) for case in cases(config)}
            there = {name: path for name, path in paths.items() if name in readable}
            write_figure(there, config["measured_arms"][0], given.figure)
    if not given.write:
        print(text)
        return 0
    PAGE.write_text(replaced(PAGE.read_text("utf-8"), text), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
