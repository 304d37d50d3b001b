"""The README's tables of the population engine, from the records that were kept.

    PYTHONPATH=src python benchmarks/_readme_table.py            prints them
    PYTHONPATH=src python benchmarks/_readme_table.py --write    puts them into README.md, between the two marks

Figures in brackets are what was asked for. A test holds the README against the records. A record that is not there
leaves its rows out.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from _record import RESULTS, ROOT, Record, Row

NAMES = ("population-h200.json", "population-h200-vocabulary.json", "population-cpu.json")
BEGIN, END = "<!-- population: made by benchmarks/_readme_table.py -->", "<!-- /population -->"
PLAIN = "plain compiled loop"
CROWD = re.compile(r"(?:small|large): .+: P=\d+: member-tokens")
ALONE = re.compile(r"single: .+: P=1: model arithmetic")
SHOWN = ("processes: ", "thousand: ", "fidelity: ", "cpu: ")
LEFT_OUT = ": slowest round of P=1 over fastest"
HEADS: dict[str, tuple[str, ...]] = {
    "crowd": (
        "population", "million member-tokens a second", "times a plain compiled loop, one model at a time",
        "times this engine with one model", "of its roofline",
    ),
    "alone": ("one model", "TFLOP/s", "of a large product's rate", "plain compiled loop"),
    "other": ("what", "figure", "against", "ratio", "asked for"),
}  # fmt: skip


def number(value: float | None, digits: int = 3) -> str:
    """A figure as the README writes it; a dash for what was not measured.

    Example:
        >>> number(12.6132), number(0.5), number(1170.0), number(0), number(None)
        ('12.6', '0.5', '1,170', '0', '-')
    """
    if value is None:
        return "-"
    if round(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def tables(records: Sequence[Mapping[str, Any]]) -> str:
    """All tables of all records, each record under a line that says where it was measured."""
    return "\n".join(text for record in records for text in _record_tables(record))


def _record_tables(record: Mapping[str, Any]) -> Iterator[str]:
    rows: list[Row] = [row for row in record["rows"] if "error" not in row]
    found = {(row["name"], row["baseline"]): row for row in rows}
    threads = f"{record['threads']} thread{'s' * (record['threads'] > 1)}"
    yield f"{record['machine']}, {threads}, torch {record['versions']['torch']}, commit `{record['commit']}`:\n"
    lines: dict[str, list[tuple[str, ...]]] = {kind: [] for kind in HEADS}
    for row in rows:
        name = str(row["name"])
        if CROWD.fullmatch(name) and row["baseline"] == PLAIN:
            lines["crowd"].append(_crowd_line(name, row, found))
        elif ALONE.fullmatch(name):
            lines["alone"].append(_alone_line(name, row, found))
        elif name.startswith(SHOWN) and not name.endswith(LEFT_OUT):
            against = "-" if row["baseline"] in ("none", None) else str(row["baseline"])
            figure = f"{number(row['value'])} {row['unit']}"
            target = "-" if row["target"] is None else str(row["target"])
            lines["other"].append((name, figure, against, number(row["ratio"]), target))
    for kind, cells in lines.items():
        if cells:
            yield _markdown(HEADS[kind], cells)


def _asked(row: Row, digits: int = 3) -> str:
    """A ratio, and what was asked for in brackets."""
    asked = "" if row["target"] is None else f" ({row['target']})"
    return number(row["ratio"], digits) + asked


def _crowd_line(name: str, row: Row, found: Mapping[tuple[str, object], Row]) -> tuple[str, ...]:
    label = name.removesuffix(": member-tokens")
    alone = found[name, "engine at P=1"]
    # Kernels that hold a large vocabulary's logits a piece at a time are measured by what they have to move.
    kernels = "fused MLP and loss" if label.startswith("large") else "unfused"
    roofline = found.get((f"{label}: roofline, {kernels}", "a step"))
    shown = label.partition(": ")[2]
    return (
        shown,
        number(row["value"]),
        _asked(row),
        _asked(alone),
        "-" if roofline is None else f"{number(roofline['ratio'], 2)} (0.8)",
    )


def _alone_line(name: str, row: Row, found: Mapping[tuple[str, object], Row]) -> tuple[str, ...]:
    label = name.removesuffix(": P=1: model arithmetic")
    plain = found[f"{label}: {PLAIN}: model arithmetic", row["baseline"]]
    return (label.partition(": ")[2], number(row["value"]), _asked(row, 2), _asked(plain, 2))


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n"


def kept_records() -> list[Record]:
    """The records under benchmarks/results that the tables are made from."""
    paths = [RESULTS / name for name in NAMES]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def replaced(readme: str, text: str) -> str:
    """A README with a text between the marks.

    Raises:
        ValueError: the marks are not there, once each and in order.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(
            f"README.md must hold {BEGIN!r} and then {END!r}, once each; add them where tables belong"
        )
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def main(arguments: Sequence[str]) -> None:
    """Print, or write."""
    text = tables(kept_records())
    if "--write" not in arguments:
        print(text)
        return
    path: Path = ROOT / "README.md"
    path.write_text(replaced(path.read_text(encoding="utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
