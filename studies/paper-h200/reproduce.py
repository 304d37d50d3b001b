"""The page that compares the one-GPU study with the paper, from the stores that are kept here, and its picture.

    PYTHONPATH=src python studies/paper-h200/reproduce.py [--text WORDS] [--stores DIR] [--out FILE] [--figure FILE]

The stores are `paper-h200.sqlite` and, as far as they are there, those of its companions (`-constants`, `-measured`,
`-horizon`), in `stores.tar.gz` beside this file or in the folder DIR. The page is what `widthwise study claims` prints
of them, with the records of small measurements under `benchmarks/results`; the picture is the report's of exponents, of
Adam's prescriptions in `paper-h200`.
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from widthwise.analysis import ArmLabel
from widthwise.cli.labels import arm_labels
from widthwise.report import study_page_data
from widthwise.report.exponent_figure import exponent_figure
from widthwise.report.write import figure_images

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ARCHIVE = HERE / "stores.tar.gz"
TEXT = HERE / "text.txt"
PAGE = ROOT / "docs" / "reproduction.md"
FIGURE = ROOT / "docs" / "reproduction.png"
STORES = tuple(f"paper-h200{part}.sqlite" for part in ("", "-constants", "-measured", "-horizon"))
RECORDS = ("wide_check.json", "claims_check.json")


@contextmanager
def unpacked(folder: Path | None) -> Iterator[Path]:
    """The folder, or one with what the archive holds."""
    if folder is not None:
        yield folder
        return
    if not ARCHIVE.exists():
        raise SystemExit(f"there is no {ARCHIVE}; give --stores DIR, with {STORES[0]} in it")
    with tempfile.TemporaryDirectory() as made:
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(made, filter="data")
        yield Path(made)


def page(folder: Path, text: str | None) -> str:
    """What the command prints of a folder's stores.

    Args:
        text: what was trained on, in words; what `text.txt` beside this file says unless given, if it is there.
    """
    stores = [folder / name for name in STORES if (folder / name).exists()]
    records = [
        part for name in RECORDS for part in ("--evidence", str(ROOT / "benchmarks" / "results" / name))
    ]
    if text is None and TEXT.exists():
        text = TEXT.read_text(encoding="utf-8").strip()
    words = [] if text is None else ["--text", text]
    command = [sys.executable, "-m", "widthwise", "study", "claims", *map(str, stores), *records, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def figure(store: Path) -> bytes:
    """Adam's exponents beside theory and the paper, as PNG: one epsilon, default constants, every kind of rates."""
    data = study_page_data(store, labels=arm_labels(store))
    told = ArmLabel("", "adam", "")
    kept = tuple(
        result
        for result in data.analysis.results
        if replace(data.labels[result.prescription], parameterization="", prescription="") == told
    )
    drawn = exponent_figure(replace(data, analysis=replace(data.analysis, results=kept)))
    assert drawn is not None
    return figure_images(drawn)[0]


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--text", default=None)
    parser.add_argument("--stores", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=PAGE)
    parser.add_argument("--figure", type=Path, default=FIGURE)
    asked = parser.parse_args(argv)
    with unpacked(asked.stores) as folder:
        words, picture = page(folder, asked.text), figure(folder / STORES[0])
    asked.out.write_text(words, encoding="utf-8")
    asked.figure.write_bytes(picture)
    print(asked.out, asked.figure, sep="\n")


if __name__ == "__main__":
    main()
